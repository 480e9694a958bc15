import { assert } from '../base/assert.ts';
import type { StreamName } from '../base/units.ts';
import { LimitError } from '../base/errors.ts';
import { hex32, streamIdMax } from './record.ts';

/** Who wrote a record: the run, and the log as which it wrote. */
export interface RunIdentity {
  readonly runId: string;
  readonly logId: string;
  /** Boot of the machine in which the run was; undefined when it is not known. */
  readonly bootId: string | undefined;
}

/** The part of the identities that the cursor keeps. */
export interface IdentityState {
  /** Number of the newest run; its 8 hexadecimal digits are its id. */
  readonly run: number;
  /** From which run on records bear which log id, ascending. */
  readonly logIds: readonly (readonly [sinceRun: number, logId: string])[];
  readonly streamIds: readonly (readonly [id: number, name: string])[];
}

const logIdsMax = 128;

/**
 * What the short numbers in frames stand for: streams and runs. Known twice on the disk: in the cursor for the whole
 * log, and in each slot for what it holds.
 */
export class Identities {
  #run = 0;
  #bootIdOf: (run: number) => string | undefined = () => undefined;
  #logIds: (readonly [number, string])[] = [];
  readonly #names = new Map<number, StreamName>();
  readonly #ids = new Map<StreamName, number>();

  constructor(state: IdentityState | undefined) {
    if (state === undefined) return;
    this.#run = state.run;
    this.#logIds = [...state.logIds];
    for (const [id, name] of state.streamIds) this.noteStream(id, name as StreamName);
  }

  /** Newest run seen. */
  get run(): number {
    return this.#run;
  }
  get runId(): string {
    return hex32(this.#run);
  }
  /** Log id of the newest run. */
  get logId(): string | undefined {
    return this.#logIds.at(-1)?.[1];
  }

  /** Whether records of this log were ever named by it, as far back as is remembered. */
  hasLogId(logId: string): boolean {
    return this.#logIds.some(([, known]) => known === logId);
  }

  /** Notes that a run has been. */
  noteRunNumber(run: number): void {
    this.#run = Math.max(this.#run, run);
  }

  /** Notes what a slot tells of a run; what the cursor knows is not overruled. */
  noteRun(run: number, logId: string): void {
    this.noteRunNumber(run);
    if (this.#logIds.length === 0 || run < (this.#logIds[0]?.[0] ?? 0)) this.#logIds.unshift([run, logId]);
  }

  /** Begins a run after all seen so far. */
  beginRun(logId: string): void {
    this.#run += 1;
    if (logId !== this.logId) this.#logIds = [...this.#logIds, [this.#run, logId] as const].slice(-logIdsMax);
  }

  noteStream(id: number, name: StreamName): void {
    if (this.#names.has(id) || this.#ids.has(name)) return;
    this.#names.set(id, name);
    this.#ids.set(name, id);
  }

  /** The number of a stream, given now if it has none. Throws `LimitError` when all are taken. */
  idOf(name: StreamName): number {
    const known = this.#ids.get(name);
    if (known !== undefined) return known;
    for (let id = 0; id <= streamIdMax; id++) {
      if (this.#names.has(id)) continue;
      this.noteStream(id, name);
      return id;
    }
    throw new LimitError(`${streamIdMax + 1} streams have had records here; no number is left for ${name}`);
  }

  nameOf(id: number): StreamName | undefined {
    return this.#names.get(id);
  }

  /** The number of the newest run that ends with these 16 bits. */
  expandRun(lowBits: number): number {
    const run = this.#run - ((this.#run - lowBits) & 0xffff);
    return run < 0 ? lowBits : run;
  }

  identityOf(run: number): RunIdentity | undefined {
    const entry = this.#logIds.findLast(([since]) => since <= run);
    if (entry === undefined) return undefined;
    return { runId: hex32(run), logId: entry[1], bootId: this.#bootIdOf(run) };
  }

  /** Where the boot of a run is asked for that no slot tells. */
  askBoots(bootIdOf: (run: number) => string | undefined): void {
    this.#bootIdOf = bootIdOf;
  }

  /** `names` are the streams that the log still knows; the others give their numbers back. */
  state(names: ReadonlySet<string>): IdentityState {
    const streamIds = [...this.#names].filter(([, name]) => names.has(name));
    assert(this.#run >= (this.#logIds.at(-1)?.[0] ?? 0), 'a log id of a later run');
    return { run: this.#run, logIds: this.#logIds, streamIds };
  }
}
