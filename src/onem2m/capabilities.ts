/**
 * What a CSE can do, as far as that is known: each capability yes, no or unknown, with how and when it was found. Found by
 * probing (capability-probe.ts), by use, from what the CSE says of itself, or, where none of that is at hand, from the
 * table of known products (quirks.ts). Kept for each CSE under its identity: another product, or another set of releases,
 * behind the same CSE-ID begins anew.
 */
import { DecodeError } from '../base/errors.ts';
import { unixMillis } from '../base/units.ts';
import type { UnixMillis } from '../base/units.ts';
import { capabilityNames, products } from './capability-names.ts';
import type { CapabilityName, Product } from './capability-names.ts';
import type { Serialisation } from './primitives.ts';
import { quirksOf } from './quirks.ts';
import type { CseBase } from './resources.ts';

/** What is known of one capability. */
export interface Finding {
  readonly value: 'yes' | 'no' | 'unknown';
  /** Tried, seen in use, said by the CSE, or known of the product. */
  readonly how: 'probe' | 'use' | 'declared' | 'quirk';
  /** What was seen, or why it is not known. */
  readonly detail: string;
  /** Wall time; absent for what is known of the product. */
  readonly foundMs?: UnixMillis;
}

/** Who a CSE is, as far as it says so. */
export interface CseIdentity {
  /** SP-relative, `/id-mn1`. */
  readonly cseId: string;
  readonly supportedReleaseVersions: readonly string[];
  readonly product: Product;
}

/** What is known of one CSE. */
export interface CseCapabilities {
  readonly identity: CseIdentity;
  readonly findings: Readonly<Partial<Record<CapabilityName, Finding>>>;
}

/** How requests to a CSE are written. */
export interface ProbeDialect {
  readonly optionSet: 'r3' | 'r2';
  readonly serialisation: Serialisation;
}

/** What the first contact gave. */
export interface FirstContact {
  readonly dialect: ProbeDialect;
  readonly identity: CseIdentity;
  readonly findings: CseCapabilities['findings'];
  /** Its CSEBase, when it may be read. */
  readonly cseBase?: CseBase;
  /** Our wall clock minus that of the CSE in ms, to a second or so; 0 when it told no time. */
  readonly clockLeadMs: number;
}

/** How long a finding counts. What a CSE cannot do it may learn with its next version. */
export const findingLifetimeMs: Readonly<Record<Finding['value'], number>> = {
  yes: 7 * 24 * 3_600_000,
  no: 24 * 3_600_000,
  unknown: 3_600_000,
};

/** CSEs that are remembered; the one that was heard of longest ago makes room. */
export const rememberedCsesMax = 64;

/** What is in force for a CSE: what was found of it and is not too old, else what is known of its product. */
export function effectiveCapabilities(
  known: CseCapabilities,
  nowMs: UnixMillis,
): Readonly<Record<CapabilityName, Finding>> {
  const quirks = quirksOf(known.identity.product);
  const entries = capabilityNames.map((name): [CapabilityName, Finding] => {
    const found = known.findings[name];
    if (found !== undefined && found.value !== 'unknown' && isFresh(found, nowMs)) return [name, found];
    const quirk = quirks[name];
    if (quirk !== undefined) {
      const { value, what, instead } = quirk;
      return [name, { value, how: 'quirk', detail: `${what}; Baton: ${instead}` }];
    }
    return [name, found ?? { value: 'unknown', how: 'declared', detail: 'not tried yet' }];
  });
  return Object.fromEntries(entries) as Record<CapabilityName, Finding>;
}

/** A finding from the future is as old as one from long ago: the clock has stepped since. */
function isFresh({ value, foundMs }: Finding, nowMs: UnixMillis): boolean {
  if (foundMs === undefined) return false;
  const ageMs = nowMs - foundMs;
  return ageMs >= 0 && ageMs < findingLifetimeMs[value];
}

/** The same CSE as before: what was found of it still counts. */
export function isSameCse(one: CseIdentity, other: CseIdentity): boolean {
  return (
    one.cseId === other.cseId &&
    one.product === other.product &&
    [...one.supportedReleaseVersions].sort().join() === [...other.supportedReleaseVersions].sort().join()
  );
}

/** What is known of the CSEs that were met, by CSE-ID. A value: every change gives another one. */
export class CapabilityMemory {
  readonly #cses: ReadonlyMap<string, CseCapabilities>;

  constructor(cses: readonly CseCapabilities[] = []) {
    this.#cses = new Map(cses.slice(-rememberedCsesMax).map((each) => [each.identity.cseId, each]));
  }

  /** All that are remembered, the one heard of last at the end. */
  get all(): readonly CseCapabilities[] {
    return [...this.#cses.values()];
  }

  of(cseId: string): CseCapabilities | undefined {
    return this.#cses.get(cseId);
  }

  /** What is in force for a CSE; all unknown for one that was never met. */
  effective(cseId: string, nowMs: UnixMillis): Readonly<Record<CapabilityName, Finding>> {
    return effectiveCapabilities(this.of(cseId) ?? strangerAt(cseId), nowMs);
  }

  /** With what was found of a CSE; findings of another product or version behind the same CSE-ID are dropped. */
  with(known: CseCapabilities): CapabilityMemory {
    const { cseId } = known.identity;
    const before = this.of(cseId);
    const kept = before !== undefined && isSameCse(before.identity, known.identity) ? before.findings : {};
    const others = this.all.filter(({ identity }) => identity.cseId !== cseId);
    return new CapabilityMemory([...others, { ...known, findings: { ...kept, ...known.findings } }]);
  }

  /** With one thing that was seen in use at a CSE, whoever it is. */
  learnt(cseId: string, name: CapabilityName, finding: Finding): CapabilityMemory {
    const { identity } = this.of(cseId) ?? strangerAt(cseId);
    return this.with({ identity, findings: { [name]: finding } });
  }
}

function strangerAt(cseId: string): CseCapabilities {
  return { identity: { cseId, supportedReleaseVersions: [], product: 'unknown' }, findings: {} };
}

/** What a durable state keeps, as plain JSON. */
export function encodeCapabilityMemory(memory: CapabilityMemory): unknown {
  return { cses: memory.all };
}

/** The inverse; what this version does not know any more is left out. Throws `DecodeError` for another shape. */
export function decodeCapabilityMemory(value: unknown): CapabilityMemory {
  const { cses } = fieldsOf(value, 'the memory of capabilities');
  if (!Array.isArray(cses)) throw new DecodeError('the memory of capabilities: cses is no list');
  return new CapabilityMemory(cses.map(decodeCse));
}

function decodeCse(value: unknown): CseCapabilities {
  const { identity, findings } = fieldsOf(value, 'capabilities of a CSE');
  const { cseId, supportedReleaseVersions, product } = fieldsOf(identity, 'identity of a CSE');
  if (typeof cseId !== 'string' || !isTexts(supportedReleaseVersions)) {
    throw new DecodeError('identity of a CSE: cseId or supportedReleaseVersions is missing');
  }
  const known = fieldsOf(findings, `capabilities of ${cseId}`);
  const decoded: Partial<Record<CapabilityName, Finding>> = {};
  for (const name of capabilityNames) {
    if (known[name] !== undefined) decoded[name] = decodeFinding(known[name], `${cseId}, ${name}`);
  }
  return {
    identity: {
      cseId,
      supportedReleaseVersions,
      product: products.find((each) => each === product) ?? 'unknown',
    },
    findings: decoded,
  };
}

function decodeFinding(value: unknown, what: string): Finding {
  const { value: found, how, detail, foundMs } = fieldsOf(value, what);
  const isValue = found === 'yes' || found === 'no' || found === 'unknown';
  const isHow = how === 'probe' || how === 'use' || how === 'declared' || how === 'quirk';
  if (!isValue || !isHow || typeof detail !== 'string') throw new DecodeError(`${what}: no finding`);
  const time =
    typeof foundMs === 'number' && Number.isFinite(foundMs) ? { foundMs: unixMillis(foundMs) } : {};
  return { value: found, how, detail, ...time };
}

function fieldsOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError(`${what}: an object is expected`);
  }
  return value as Record<string, unknown>;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}
