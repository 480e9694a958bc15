import type { Millis } from '../../base/units.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import type { Operation } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { matchesWildcard } from './access-control.ts';

/** What a testbed CSE does instead of behaving. */
export type MisbehaviourAction =
  /** Executes later by `delayMs` plus a random part up to `jitterMs`. */
  | { readonly kind: 'delay'; readonly delayMs: Millis; readonly jitterMs?: Millis }
  /** Neither executes nor answers. */
  | { readonly kind: 'dropRequest' }
  /** Executes and does not answer. */
  | { readonly kind: 'dropAnswer' }
  /** Answers this code without executing. */
  | { readonly kind: 'answer'; readonly responseStatusCode: number; readonly debugInfo?: string }
  /** Executes and answers with a request identifier that nobody asked with. */
  | { readonly kind: 'wrongIdentifier' }
  /** Executes and answers with bytes that are no response; a transport carries it out. */
  | { readonly kind: 'corrupt'; readonly corruption: Corruption }
  /** Ends the process before or after executing; no answer. Starts again by itself when `restartAfterMs` is given. */
  | {
      readonly kind: 'crash';
      readonly when: 'beforeExecution' | 'afterExecution';
      readonly restartAfterMs?: Millis;
      readonly keepState?: boolean;
    };

/** How an answer is broken on the wire. */
export type Corruption = 'missingStatusCode' | 'garbageBody';

/** When a rule applies and what happens then. */
export interface MisbehaviourRule {
  readonly action: MisbehaviourAction;
  /** Requests that the CSE receives (the default), or those that it sends: notifications and transit. */
  readonly direction?: 'incoming' | 'outgoing';
  readonly operation?: Operation;
  /** Type to be created, or type of the resource that the request addresses. */
  readonly resourceType?: number;
  /** Originator; `*` stands for any text. */
  readonly originator?: string;
  /** Address in the request; `*` stands for any text. */
  readonly to?: string;
  /** Chance that a matching request is hit, 0 to 1; 1 when absent. */
  readonly probability?: number;
  /** Matching requests that pass before the rule begins to hit. */
  readonly skip?: number;
  /** Hits after which the rule is spent. */
  readonly count?: number;
}

interface ActiveRule {
  readonly rule: MisbehaviourRule;
  matches: number;
  hits: number;
}

/** The script of one CSE's misbehaviour; draws all chance from the entropy given, so a seed repeats it. */
export class Misbehaviour {
  readonly #entropy: Entropy;
  #rules: ActiveRule[] = [];

  constructor(options: { entropy: Entropy; rules?: readonly MisbehaviourRule[] }) {
    this.#entropy = options.entropy;
    for (const rule of options.rules ?? []) this.add(rule);
  }

  /** Adds a rule; the returned function takes it back. Rules added first are asked first, the first hit decides. */
  add(rule: MisbehaviourRule): () => void {
    const active: ActiveRule = { rule, matches: 0, hits: 0 };
    this.#rules.push(active);
    return () => {
      this.#rules = this.#rules.filter((each) => each !== active);
    };
  }

  /** Behaves from now on. */
  clear(): void {
    this.#rules = [];
  }

  /** Times a rule has hit so far, over all rules that are still there. */
  get hits(): number {
    return this.#rules.reduce((sum, { hits }) => sum + hits, 0);
  }

  /** What to do about this request; `resourceType` is that of its subject when known. */
  decide(
    direction: 'incoming' | 'outgoing',
    request: RequestPrimitive,
    resourceType: number | undefined,
  ): MisbehaviourAction | undefined {
    for (const active of this.#rules) {
      const { rule } = active;
      if ((rule.direction ?? 'incoming') !== direction || !concerns(rule, request, resourceType)) continue;
      if (rule.count !== undefined && active.hits >= rule.count) continue;
      active.matches++;
      if (active.matches <= (rule.skip ?? 0)) continue;
      if (rule.probability !== undefined && randomFraction(this.#entropy) >= rule.probability) continue;
      active.hits++;
      return rule.action;
    }
    return undefined;
  }
}

function concerns(
  rule: MisbehaviourRule,
  request: RequestPrimitive,
  resourceType: number | undefined,
): boolean {
  return (
    (rule.operation === undefined || rule.operation === request.operation) &&
    (rule.resourceType === undefined || rule.resourceType === resourceType) &&
    (rule.originator === undefined || matchesWildcard(rule.originator, request.from ?? '')) &&
    (rule.to === undefined || matchesWildcard(rule.to, request.to))
  );
}

// A symbol, because the serialisation of a response must not see it.
const corruptionKey = Symbol('corruption');

/** Marks an answer to be broken by the transport that sends it. */
export function markCorrupt(response: ResponsePrimitive, corruption: Corruption): ResponsePrimitive {
  return Object.assign({ ...response }, { [corruptionKey]: corruption });
}

/** How a transport must break this answer; undefined for an honest one. */
export function corruptionOf(response: ResponsePrimitive): Corruption | undefined {
  return (response as { [corruptionKey]?: Corruption })[corruptionKey];
}
