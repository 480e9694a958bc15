import { millis, seq, unixMillis } from '../../src/base/units.ts';
import type { StreamName } from '../../src/base/units.ts';
import { openReadingLog } from '../../src/buffer/reading-log.ts';
import type { ReadingLog } from '../../src/buffer/reading-log.ts';
import type { StoredRecord } from '../../src/buffer/record.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import type { Entropy } from '../../src/host/entropy.ts';
import type { Filesystem } from '../../src/host/filesystem.ts';
import { idOf, payloadOf } from './facts.ts';
import type { Witness } from './facts.ts';
import { streamsOf } from './log-workloads.ts';
import type { LogAction, LogWorkload } from './log-workloads.ts';

/** What one session of a log is driven with. */
export interface LogSession {
  readonly filesystem: Filesystem;
  readonly directory: string;
  readonly workload: LogWorkload;
  /** Tells the records of this session from those of others. */
  readonly session: number;
  readonly witness: Witness;
  readonly entropy: Entropy;
}

const clock = new NodeClock();

/** Uses a log by chance, telling the witness everything that a power cut may or must not change. */
export class LogDriver {
  readonly #log: ReadingLog;
  readonly #options: LogSession;
  readonly #streams: readonly StreamName[];
  readonly #settled: Map<StreamName, number>;
  /** What was noted as stored, by stream and number. */
  readonly #noted = new Set<string>();
  #count = 0;

  private constructor(log: ReadingLog, options: LogSession, settled: Map<StreamName, number>) {
    this.#log = log;
    this.#options = options;
    this.#settled = settled;
    this.#streams = streamsOf(options.workload);
  }

  /** Opens the log and notes what is pending in it: as it may be delivered now, it must stay. */
  static async open(options: LogSession): Promise<LogDriver> {
    const { filesystem, directory, workload, witness } = options;
    const settled = new Map<StreamName, number>();
    witness.allow({ kind: 'opening' });
    const log = await openReadingLog({
      filesystem,
      clock,
      entropy: new NodeEntropy(),
      directory,
      limits: workload.limits,
      streams: workload.streams,
      onEviction: ({ stream, toSeq }) => {
        witness.allow({ kind: 'evicted', stream, through: toSeq });
        settled.set(stream, Math.max(toSeq, settled.get(stream) ?? 0));
      },
      onDamage: ({ kind, message }) => {
        if (kind === 'account' || kind === 'space') throw new Error(message);
      },
    });
    const driver = new LogDriver(log, options, settled);
    for (const stream of driver.#streams) {
      for (const record of await readPending(log, stream)) await driver.#noteStored(record);
    }
    await witness.oblige({ kind: 'opened' });
    return driver;
  }

  /** Goes through the actions of the session. */
  async work(): Promise<void> {
    for (let index = 0; index < this.#options.workload.actions; index++) await this.#act(this.#drawAction());
    const { stored, evicted, flash } = this.#log.stats();
    const { commits, deviceBytes } = flash;
    await this.#options.witness.oblige({
      kind: 'worked',
      figures: { stored, evicted, commits, deviceBytes },
    });
  }

  /** Ends the session in order. */
  async close(): Promise<void> {
    await this.#log.close();
  }

  /** Leaves appends and an unsaved acknowledgement in flight. */
  async leaveInFlight(): Promise<void> {
    for (const stream of this.#streams) void this.#append(stream);
    await this.#deliver(this.#drawStream());
    await sleep(clock, millis(this.#draw(3)));
  }

  #draw(bound: number): number {
    return this.#options.entropy.uint32() % bound;
  }

  #drawStream(): StreamName {
    const stream = this.#streams[this.#draw(this.#streams.length)];
    if (stream === undefined) throw new Error('a workload without streams');
    return stream;
  }

  #drawAction(): LogAction {
    const rows = Object.entries(this.#options.workload.weights) as [LogAction, number][];
    let left = this.#draw(rows.reduce((sum, [, weight]) => sum + weight, 0));
    for (const [action, weight] of rows) {
      if (left < weight) return action;
      left -= weight;
    }
    return 'single';
  }

  async #act(action: LogAction): Promise<void> {
    switch (action) {
      case 'single':
        return this.#append(this.#drawStream());
      case 'group': {
        const count = 2 + this.#draw(this.#options.workload.groupMax - 1);
        await Promise.all(Array.from({ length: count }, () => this.#append(this.#drawStream())));
        return;
      }
      case 'deliver':
        return this.#deliver(this.#drawStream());
      case 'sync':
        return this.#sync();
      case 'giveUp': {
        const stream = this.#drawStream();
        const [, record] = await this.#log.peek(stream, 2);
        if (record !== undefined) this.#log.giveUp(stream, record.seq);
        return;
      }
      case 'pause':
        return sleep(clock, millis(this.#draw(40)));
    }
  }

  async #append(stream: StreamName): Promise<void> {
    const { workload, session, witness } = this.#options;
    const id = `${stream}#${session}.${this.#count++}:${this.#draw(workload.payloadMax + 1)}`;
    witness.allow({ kind: 'appending', stream, id });
    const result = await this.#log.append({
      stream,
      payload: payloadOf(id),
      monotonicMs: clock.monotonicMs(),
      wall: { unixMs: unixMillis(1e12), source: 'system' },
    });
    if (result.kind === 'stored') await this.#noteStored(result.record);
    else if (result.kind !== 'refused' || result.reason !== 'full')
      throw new Error(`${id}: ${JSON.stringify(result)}`);
  }

  async #noteStored({ stream, seq: number, logId, payload }: StoredRecord): Promise<void> {
    if (this.#noted.has(`${stream} ${number}`)) return;
    this.#noted.add(`${stream} ${number}`);
    await this.#options.witness.oblige({ kind: 'stored', stream, id: idOf(payload), seq: number, logId });
  }

  async #deliver(stream: StreamName): Promise<void> {
    const window = await this.#log.peek(stream, 1 + this.#draw(2 * this.#options.workload.groupMax));
    await Promise.all(window.map((record) => this.#noteStored(record)));
    const through = window.at(-1)?.seq ?? 0;
    if (through === 0) return;
    this.#options.witness.allow({ kind: 'acknowledging', stream, through });
    this.#log.acknowledge(stream, seq(through));
    this.#settled.set(stream, Math.max(through, this.#settled.get(stream) ?? 0));
  }

  async #sync(): Promise<void> {
    const settled = [...this.#settled];
    if (!(await this.#log.sync())) throw new Error('the disk refuses the cursor');
    for (const [stream, through] of settled) {
      await this.#options.witness.oblige({ kind: 'durable', stream, through });
    }
  }
}

/** Everything pending in a stream, read in windows. */
export async function readPending(log: ReadingLog, stream: StreamName): Promise<StoredRecord[]> {
  const all: StoredRecord[] = [];
  for (;;) {
    const window = await log.peek(stream, 32, all.at(-1)?.seq);
    if (window.length === 0) return all;
    all.push(...window);
  }
}
