/**
 * Finds out what a CSE can do. The first contact costs one to three requests and changes nothing there: it reads the CSEBase,
 * with the option numbers of Release 3 and CBOR, then with JSON, then with the older numbers, until something comes back that
 * is an answer. A refusal (4103) is one. Everything else is tried when it is asked for, inside a container that is made for it
 * below an AE and deleted at the end; where the originator has no AE at the CSE, one is registered for as long. Both carry an
 * expiration, so that a probe that dies leaves nothing for good. Each trial says what it costs (`probeCosts`); requests are
 * below 200 octets but for the block-wise trial.
 */
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Clock } from '../host/clock.ts';
import { aeIdStem } from './address.ts';
import type { CseCapabilities, Finding, FirstContact, ProbeDialect } from './capabilities.ts';
import type { CapabilityName } from './capability-names.ts';
import { capabilityTrials } from './capability-trials.ts';
import type { TrialBench } from './capability-trials.ts';
import { CseClient, isRejectedWith } from './cse-client.ts';
import type { CallOptions, CseFailure, CseOutcome } from './cse-client.ts';
import type { Binding } from './binding.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from './enums.ts';
import { encodeTimestamp, parseTimestamp } from './primitives.ts';
import { productOf } from './quirks.ts';
import type { CseBase } from './resources.ts';

/** What a probe works with. */
export interface ProbeOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** A way to the CSE; undefined where the dialect cannot be spoken. Closing it is up to the caller. */
  readonly bindingFor: (dialect: ProbeDialect) => Binding | undefined;
  readonly protocol: 'coap' | 'mqtt';
  /** AE-ID to act as; without one an AE is registered under a stem of its own. */
  readonly originator?: string;
  /** SP-relative CSE-ID where it is known; a CSE that does not let its CSEBase be read does not tell. */
  readonly cseId?: string;
  /** Time for one request. Default 3 s. */
  readonly deadlineMs?: Millis;
  /** A point of access at which `heard` listens, for the trial of notifications. */
  readonly pointOfAccess?: string;
  /** Resolves when a notification of the instance `resourceName` arrives there; rejects when `signal` aborts. */
  readonly heard?: (resourceName: string, signal: AbortSignal) => Promise<void>;
  /** Another MN-CSE, `/id-mn2`, for the trial of transit. */
  readonly siblingCseId?: string;
}

const dialects: readonly ProbeDialect[] = [
  { optionSet: 'r3', serialisation: 'cbor' },
  { optionSet: 'r3', serialisation: 'json' },
  { optionSet: 'r2', serialisation: 'json' },
];
const defaultDeadlineMs = millis(3_000);
const scratchMs = 10 * 60_000;

/** Probes one CSE; see the header of this file. */
export class CapabilityProbe {
  readonly #options: ProbeOptions;
  readonly #stem: string;
  #requests = 0;
  #contact: FirstContact | undefined;
  /** The time that the CSE told first. */
  #heardTime: string | undefined;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#stem = options.originator ?? `Sprobe${randomHex(options.entropy, 4)}`;
  }

  /** Requests sent so far. */
  get requests(): number {
    return this.#requests;
  }

  /** The dialect the CSE answers in, its identity and what the CSEBase tells; an error when nothing that answers is a CSE. */
  async contact(signal?: AbortSignal): Promise<Result<FirstContact, CseFailure>> {
    let last: CseFailure = { kind: 'unreachable', message: 'no way to speak to the CSE' };
    for (const dialect of dialects) {
      const client = this.#client(dialect);
      if (client === undefined) continue;
      const answered = await client.retrieve('-', this.#limits(signal));
      if (!answered.ok && answered.error.kind !== 'rejected') {
        last = answered.error;
        // Nobody there: another way to write does not help.
        if (last.kind === 'unreachable' || last.kind === 'cancelled' || last.kind === 'closed') break;
        continue;
      }
      if (!answered.ok && isFormatRefused(answered.error)) {
        last = answered.error;
        continue;
      }
      this.#contact = this.#read(dialect, answered);
      return ok(this.#contact);
    }
    return err(last);
  }

  /**
   * Tries the capabilities named, after the first contact. What cannot be tried is `unknown` with the reason. Never leaves
   * anything behind that it could delete.
   */
  async run(
    names: readonly CapabilityName[],
    signal?: AbortSignal,
  ): Promise<Result<CseCapabilities, CseFailure>> {
    const contacted = this.#contact === undefined ? await this.contact(signal) : ok(this.#contact);
    if (!contacted.ok) return contacted;
    let contact = contacted.value;
    const findings: Partial<Record<CapabilityName, Finding>> = { ...contact.findings };
    const client = this.#client(contact.dialect);
    const wanted = names.filter((name) => findings[name] === undefined || findings[name].value === 'unknown');
    if (client === undefined || wanted.length === 0) return ok({ identity: contact.identity, findings });
    const scratch = await this.#openScratch(client, contact, signal);
    try {
      if (contact.cseBase === undefined && scratch.container !== undefined) {
        // What is not for strangers may be for registered AEs: who the CSE is.
        const read = await client.retrieve('-', this.#limits(signal));
        if (read.ok) contact = this.#read(contact.dialect, read);
        this.#contact = contact;
        Object.assign(findings, contact.findings);
      }
      for (const name of wanted) {
        const trial = capabilityTrials[name];
        if (trial === undefined || signal?.aborted === true) continue;
        const { value, detail } = await trial({ ...scratch, contact, name });
        findings[name] = { value, how: 'probe', detail, foundMs: this.#options.clock.unixMs() };
      }
    } finally {
      await scratch.close();
    }
    return ok({ identity: contact.identity, findings });
  }

  #read(dialect: ProbeDialect, answered: CseOutcome): FirstContact {
    const { clock, cseId } = this.#options;
    const response = answered.ok ? answered.value : undefined;
    const cseBase = soundPart(response?.primitiveContent?.cseBase);
    const originatingTimestamp = response?.originatingTimestamp ?? this.#heardTime;
    const hasReleaseThreeOptions = dialect.optionSet === 'r3';
    const traces = {
      hasReleaseThreeOptions,
      ...(originatingTimestamp === undefined ? {} : { originatingTimestamp }),
      ...(cseBase === undefined ? {} : { cseBase }),
    };
    const foundMs = clock.unixMs();
    const said = answered.ok ? 'the CSEBase was read' : answered.error.message;
    const probe = (value: Finding['value'], detail: string): Finding => ({
      value,
      how: 'probe',
      detail,
      foundMs,
    });
    const declared = (value: Finding['value'], detail: string): Finding => ({
      value,
      how: 'declared',
      detail,
      foundMs,
    });
    const isTold = cseBase?.contentSerialization?.some((each) => each.includes('cbor')) === true;
    const findings: Partial<Record<CapabilityName, Finding>> = {};
    if (this.#options.protocol === 'coap') {
      const detail = `${said}, asked with the numbers of ${hasReleaseThreeOptions ? 'Release 3' : 'Releases 1 and 2'}`;
      findings.releaseThreeOptions = probe(hasReleaseThreeOptions ? 'yes' : 'no', detail);
    }
    if (dialect.serialisation === 'json')
      findings.cbor = probe('no', 'the answer came when JSON was asked for');
    else if (isTold) findings.cbor = declared('yes', 'the CSE lists application/cbor');
    if (cseBase?.pointOfAccess?.some((each) => each.startsWith('coaps:')) === true) {
      findings.dtls = declared('yes', 'the CSE lists a coaps point of access');
    }
    const toldTimeMs = parseTimestamp(cseBase?.currentTime ?? originatingTimestamp ?? '');
    return {
      dialect,
      identity: {
        cseId: cseBase?.cseId ?? cseId ?? 'unknown',
        supportedReleaseVersions: cseBase?.supportedReleaseVersions ?? [],
        product: productOf(traces),
      },
      findings,
      ...(cseBase === undefined ? {} : { cseBase }),
      clockLeadMs: toldTimeMs === undefined ? 0 : foundMs - toldTimeMs,
    };
  }

  /** The AE and the container that trials may use; where they cannot be made, why not. */
  async #openScratch(
    client: CseClient,
    contact: FirstContact,
    signal: AbortSignal | undefined,
  ): Promise<Omit<TrialBench, 'contact' | 'name'> & { close(): Promise<void> }> {
    const { clock, entropy, protocol, pointOfAccess, heard, siblingCseId } = this.#options;
    const limits = this.#limits(signal);
    const stem = aeIdStem(this.#stem);
    const registered = await this.#register(client, contact, stem, limits);
    const resourceName = `probe-${randomHex(entropy, 4)}`;
    const bench = {
      client,
      clock,
      entropy,
      limits,
      stem,
      ae: registered.kind === 'failed' ? '' : registered.address,
      protocol,
      isOwnAe: registered.kind === 'made',
      ...(pointOfAccess === undefined ? {} : { pointOfAccess }),
      ...(heard === undefined ? {} : { heard }),
      ...(siblingCseId === undefined ? {} : { siblingCseId }),
    };
    // To clean up is worth a time of its own, also after a withdrawal.
    const removing = this.#limits(undefined);
    if (registered.kind === 'failed') {
      return { ...bench, container: undefined, obstacle: registered.reason, close: () => Promise.resolve() };
    }
    const to = registered.address;
    const made = await client.create(
      to,
      ResourceType.container,
      { container: { resourceName, expirationTime: this.#expiry(contact) } },
      limits,
    );
    const remove = (address: string) => async (): Promise<void> => {
      for (let tries = 0; tries < 2; tries++) {
        const removed = await client.delete(address, { ...removing, resultContent: ResultContent.nothing });
        if (removed.ok || removed.error.kind === 'rejected') return;
      }
    };
    const container = `${to}/${resourceName}`;
    const close = remove(registered.kind === 'made' ? to : container);
    if (!made.ok) return { ...bench, container: undefined, obstacle: made.error.message, close };
    return { ...bench, container, obstacle: '', close };
  }

  async #register(
    client: CseClient,
    contact: FirstContact,
    stem: string,
    limits: CallOptions,
  ): Promise<{ kind: 'made' | 'found'; address: string } | { kind: 'failed'; reason: string }> {
    const { originator } = this.#options;
    const base = contact.cseBase?.resourceName ?? '-';
    const before = originator === undefined ? undefined : await client.retrieve(stem, limits);
    const found = before?.ok === true ? before.value.primitiveContent?.ae?.resourceName : undefined;
    if (found !== undefined) return { kind: 'found', address: `${base}/${found}` };
    const resourceName = `probe-${stem}`;
    const ae = {
      resourceName,
      appId: 'Nbaton.probe',
      requestReachability: false,
      supportedReleaseVersions: ['4'],
      labels: ['baton:probe'],
      expirationTime: this.#expiry(contact),
    };
    const made = await client.create(base, ResourceType.ae, { ae }, limits);
    if (made.ok) return { kind: 'made', address: `${base}/${resourceName}` };
    const isTaken = isRejectedWith(made.error, ResponseStatusCode.originatorHasAlreadyRegistered);
    const reason = isTaken ? 'the AE-ID is registered there, but its AE cannot be read' : made.error.message;
    return { kind: 'failed', reason: `no AE to try it with: ${reason}` };
  }

  #expiry(contact: FirstContact): string {
    return encodeTimestamp(this.#options.clock.unixMs() - contact.clockLeadMs + scratchMs);
  }

  #limits(signal: AbortSignal | undefined): CallOptions & { deadlineMs: Millis } {
    const deadlineMs = this.#options.deadlineMs ?? defaultDeadlineMs;
    return { deadlineMs, ...(signal === undefined ? {} : { signal }) };
  }

  #client(dialect: ProbeDialect): CseClient | undefined {
    const binding = this.#options.bindingFor(dialect);
    if (binding === undefined) return undefined;
    const counted: Binding = {
      send: async (request, options) => {
        this.#requests += 1;
        const sent = await binding.send(request, options);
        // Refusals carry the time of the CSE as well.
        if (sent.ok) this.#heardTime ??= sent.value.originatingTimestamp;
        return sent;
      },
      close: () => Promise.resolve(),
    };
    const { entropy } = this.#options;
    const deadlineMs = this.#options.deadlineMs ?? defaultDeadlineMs;
    return new CseClient({ binding: counted, originator: this.#stem, entropy, deadlineMs });
  }
}

const textAttributes = [
  'cseId',
  'resourceName',
  'resourceId',
  'creationTime',
  'lastModifiedTime',
  'currentTime',
] as const;
const listAttributes = ['contentSerialization', 'pointOfAccess', 'supportedReleaseVersions'] as const;

/** A CSEBase without what is not of its kind among the attributes that are looked at: nonsense tells nothing. */
function soundPart(cseBase: unknown): CseBase | undefined {
  if (typeof cseBase !== 'object' || cseBase === null) return undefined;
  const sound: Record<string, unknown> = { ...cseBase };
  for (const name of textAttributes) if (typeof sound[name] !== 'string') delete sound[name];
  for (const name of listAttributes) {
    const list = sound[name];
    const isSound = Array.isArray(list) && list.every((each) => typeof each === 'string');
    if (!isSound) delete sound[name];
  }
  return sound;
}

/** The CSE is there and does not take what is written like this. */
function isFormatRefused(failure: CseFailure): boolean {
  const { unsupportedMediaType, notAcceptable } = ResponseStatusCode;
  return isRejectedWith(failure, unsupportedMediaType) || isRejectedWith(failure, notAcceptable);
}
