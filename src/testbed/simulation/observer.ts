/**
 * What can be seen of a run from outside the gateway: what the CSEs were given and hold, whose claims the serving record
 * has, what became of commands. Judges while it happens what can be judged at once (I2, I3, I4, I6, I7); the rest is for
 * `invariants.ts` when the run has come to rest.
 */
import { decodeServingEntry } from '../../handover/serving-record.ts';
import type { ServingEntry } from '../../handover/serving-record.ts';
import { Operation } from '../../onem2m/enums.ts';
import { readingsOf } from '../../uplink/batch-instance.ts';
import type { InstanceReading } from '../../uplink/batch-instance.ts';
import { parseInstanceName } from '../../uplink/batch.ts';
import { inDoubtLabel } from '../../uplink/stream-lane.ts';
import { fakeSensorValue } from '../sensor/fake-sensor.ts';
import type { CseEvent } from '../cse/cse-core.ts';

/** Something that must not happen: the invariant of DESIGN and what was seen. */
export interface Violation {
  readonly invariant: string;
  readonly text: string;
  readonly atMs: number;
}

/** What is known of one command. */
export interface CommandFate {
  readonly cseId: string;
  /** The CSE that took it lost its memory before the result was seen, so that it may never take effect. */
  mayBeLost: boolean;
  /** Record names under which results arrived; more than one says that it took effect more than once. */
  readonly results: Set<string>;
}

interface Copy {
  readonly cseId: string;
  readonly path: string;
  readonly isLabelled: boolean;
}

/** Names of the things that are looked for. */
export interface ObserverOptions {
  readonly seed: number;
  readonly device: string;
  /** Names of the AEs of the bundle, the gateway's own first. */
  readonly aes: readonly string[];
  /** Whether the gateway may write at a CSE before it has claimed the epoch. */
  readonly isDeferred: boolean;
  readonly streams: readonly string[];
  readonly nowMs: () => number;
  /** Whether a CSE holds a resource at this moment. */
  readonly holds: (cseId: string, path: string) => boolean;
}

type Instance = Extract<CseEvent, { kind: 'instanceCreated' }>;
type Answered = Extract<CseEvent, { kind: 'answered' }>;

/** Sees and judges; see the header of this file. */
export class Observer {
  readonly violations: Violation[] = [];
  readonly claims: Map<number, ServingEntry> = new Map();
  readonly commands: Map<string, CommandFate> = new Map();
  readonly #options: ObserverOptions;
  /** By stream and the sensor's number: the names of the records that were stored of it. */
  readonly #namesOf = new Map<string, string>();
  /** By record: where copies were created. */
  readonly #copies = new Map<string, Copy[]>();
  /** By CSE and container: the last number that arrived. */
  readonly #lastNumbers = new Map<string, { number: number; epoch: number }>();
  /** By stream: numbers of the sensor that some CSE has taken. */
  readonly #arrived = new Map<string, Set<number>>();
  /** CSEs that were used without a claim, as the gateway told. */
  readonly #provisional = new Set<string>();
  readonly #evicted = new Map<string, number>();
  #newest: ServingEntry | undefined;
  #fencedMs: number | undefined;
  /** Copies across CSEs that say of themselves that they were in doubt. */
  labelledDoubles: number = 0;
  instances: number = 0;

  constructor(options: ObserverOptions) {
    this.#options = options;
  }

  /** The claim with the highest epoch. */
  get newest(): ServingEntry | undefined {
    return this.#newest;
  }

  /** Numbers of the sensor that some CSE has taken. */
  arrived(stream: string): ReadonlySet<number> {
    return this.#arrived.get(stream) ?? new Set();
  }

  /** The gateway told that it gave up so many records. */
  noteEvicted(stream: string, count: number): void {
    this.#evicted.set(stream, this.evicted(stream) + count);
  }

  /** The gateway told that it uses a CSE before its claim is made: what it writes there says epoch 0. */
  noteProvisional(cseId: string): void {
    this.#provisional.add(cseId);
  }

  /** Records of a stream that the gateway told to have given up. */
  evicted(stream: string): number {
    return this.#evicted.get(stream) ?? 0;
  }

  /** From now on the gateway must not write; undefined when it was reset by its operator. */
  setFenced(fencedMs: number | undefined): void {
    this.#fencedMs = fencedMs;
  }

  /** A CSE starts again without what it held. */
  forget(cseId: string): void {
    for (const [key] of this.#lastNumbers) if (key.startsWith(`${cseId} `)) this.#lastNumbers.delete(key);
    this.excuseCommands(cseId);
  }

  /** What a CSE holds of commands may never take effect. */
  excuseCommands(cseId: string): void {
    for (const fate of this.commands.values()) {
      if (fate.cseId === cseId && fate.results.size === 0) fate.mayBeLost = true;
    }
  }

  violate(invariant: string, text: string): void {
    this.violations.push({ invariant, text, atMs: this.#options.nowMs() });
  }

  /** One event of one CSE. */
  see(event: CseEvent): void {
    if (event.kind === 'instanceCreated') this.#seeInstance(event);
    else if (event.kind === 'answered') this.#seeAnswer(event);
  }

  #seeInstance(event: Instance): void {
    const [, owner, container = '', name = ''] = event.path.split('/');
    const { device, aes } = this.#options;
    if (owner === `${device}-home` && container === 'serving') this.#seeClaim(event, name);
    if (!aes.includes(owner ?? '') || container === 'cmd') return;
    this.instances += 1;
    this.#seeInstanceOf(event, container, name);
  }

  #seeClaim(event: Instance, name: string): void {
    if (!/^e\d+$/u.test(name)) return;
    const entry = decodeServingEntry(event.content);
    const before = this.#newest?.epoch ?? 0;
    if (entry.epoch <= before) {
      this.violate('I6', `epoch ${entry.epoch} was claimed after epoch ${before}`);
    }
    if (name !== `e${entry.epoch}`) this.violate('I6', `${name} claims epoch ${entry.epoch}`);
    this.claims.set(entry.epoch, entry);
    this.#newest = entry;
  }

  #seeInstanceOf(event: Instance, container: string, name: string): void {
    const isLabelled = event.labels.includes(inDoubtLabel);
    const logId = parseInstanceName(name)?.logId ?? '';
    for (const reading of readingsOf(name, event.content)) {
      this.#seeRecord(event, container, `${logId}-${reading.seq}`, reading, isLabelled);
    }
  }

  #seeRecord(
    { cseId, path }: Instance,
    container: string,
    name: string,
    reading: InstanceReading,
    isLabelled: boolean,
  ): void {
    const stream = container.replace(/\.history$/u, '');
    this.#judgeEpoch(cseId, path, reading.epoch);
    const number = stream === 'results' ? reading.seq : (reading.producerSeq ?? 0);
    this.#judgeOrder(cseId, container, number, reading.epoch);
    const copies = this.#copies.get(`${stream}/${name}`) ?? [];
    for (const copy of copies) {
      const isLive = (): boolean => this.#options.holds(copy.cseId, copy.path);
      if (copy.cseId === cseId) {
        if (copy.path !== path && isLive())
          this.violate('I2', `${path} at ${cseId} is there as ${copy.path}`);
      } else if (isLabelled || copy.isLabelled) this.labelledDoubles += 1;
      else if (isLive()) this.violate('I2', `${path} at ${cseId} is an unlabelled double of ${copy.cseId}`);
    }
    copies.push({ cseId, path, isLabelled });
    this.#copies.set(`${stream}/${name}`, copies);
    if (stream === 'results') this.#seeResult(reading.value, name);
    else this.#seeReading(stream, reading, name);
  }

  #seeReading(stream: string, { producerSeq: n, value }: InstanceReading, name: string): void {
    if (!this.#options.streams.includes(stream) || n === undefined) {
      this.violate('I1', `a reading of ${stream} that no sensor made`);
      return;
    }
    const key = `${stream}/${n}`;
    const known = this.#namesOf.get(key);
    if (known !== undefined && known !== name) {
      this.violate('I2', `reading ${n} of ${stream} was stored twice, as ${known} and ${name}`);
    }
    this.#namesOf.set(key, name);
    if (value !== fakeSensorValue(this.#options.seed, stream, n)) {
      this.violate('I1', `reading ${n} of ${stream} has another value than the sensor sent`);
    }
    const arrived = this.#arrived.get(stream) ?? new Set<number>();
    arrived.add(n);
    this.#arrived.set(stream, arrived);
  }

  #seeResult(value: unknown, name: string): void {
    const id = String((value as { id?: unknown } | null)?.id).replace(/#.*$/u, '');
    const fate = this.commands.get(id);
    if (fate === undefined) {
      this.violate('I7', `a result of command ${id}, which nobody gave`);
      return;
    }
    fate.results.add(name);
    if (fate.results.size === 2) this.violate('I7', `command ${id} took effect twice`);
  }

  /** What is written under an epoch goes to the CSE that the record names for it (I4, I6). */
  #judgeEpoch(cseId: string, path: string, epoch: number): void {
    const claim = this.claims.get(epoch);
    if (epoch === 0 && this.#options.isDeferred) {
      if (!this.#provisional.has(cseId))
        this.violate('I4', `${path} at ${cseId} says it is provisional, which nobody told`);
    } else if (claim === undefined)
      this.violate('I6', `${path} was written under epoch ${epoch}, which nobody claimed`);
    else if (claim.cse.cseId !== cseId) {
      const holder = claim.cse.cseId;
      this.violate('I4', `${path} was written at ${cseId} under epoch ${epoch}, which belongs to ${holder}`);
    }
    if (this.#fencedMs !== undefined) this.violate('I6', `${path} was written by a fenced gateway`);
  }

  /** The sensor's own numbers tell the order: the log's begin again where class C lost what was in memory. */
  #judgeOrder(cseId: string, container: string, number: number, epoch: number): void {
    const key = `${cseId} ${container}`;
    const last = this.#lastNumbers.get(key);
    if (last !== undefined && number <= last.number) {
      const text = `${container} at ${cseId}: ${number} (epoch ${epoch}) came after ${last.number} (${last.epoch})`;
      this.violate('I3', text);
    }
    this.#lastNumbers.set(key, { number: Math.max(number, last?.number ?? 0), epoch });
  }

  /** The AE of the CSE that the record names must not be given up (I4, I5): a source is released after the claim only. */
  #seeAnswer({ cseId, request, responseStatusCode }: Answered): void {
    const { device } = this.#options;
    if (responseStatusCode === undefined || responseStatusCode >= 4000) return;
    if (!request.to.endsWith(`/${device}`) || this.#newest?.cse.cseId !== cseId) return;
    // Where a rival says it serves is not for us to hold.
    if (this.#newest.nonce.startsWith('rival-')) return;
    const labels = request.primitiveContent?.ae?.labels;
    const isLabelledMoved = Array.isArray(labels) && labels.includes('baton:state=moved');
    if (request.operation === Operation.delete || isLabelledMoved) {
      this.violate('I4', `${cseId} was released while the record names it (epoch ${this.#newest.epoch})`);
    }
  }
}
