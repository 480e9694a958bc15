import type { Millis, Seq, StreamName } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import type { Destination } from './destination.ts';
import { StreamLane } from './stream-lane.ts';
import type { RecordSource, UplinkObserver, UplinkSettings } from './stream-lane.ts';

/** Delivers all streams of the gateway to the serving CSE, each in its own lane. */
export class Uplink {
  readonly #lanes: ReadonlyMap<StreamName, StreamLane>;
  readonly #clock: Clock;

  constructor(options: {
    streams: readonly StreamName[];
    source: RecordSource;
    clock: Clock;
    entropy: Entropy;
    settings: UplinkSettings;
    observer: UplinkObserver;
  }) {
    const { streams, ...rest } = options;
    this.#clock = options.clock;
    this.#lanes = new Map(streams.map((stream) => [stream, new StreamLane({ stream, ...rest })]));
  }

  /** Delivers until `stop`; rejects only for a defect or a log that cannot be read. */
  async run(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map((lane) => lane.run()));
  }

  stop(): void {
    for (const lane of this.#lanes.values()) lane.stop();
  }

  /** A record of this stream was stored. */
  notice(stream: StreamName): void {
    this.#lanes.get(stream)?.notice();
  }

  /** Records of an earlier run, up to the given numbers, may be at `destination`. */
  doubt(destination: Destination, throughSeqs: ReadonlyMap<StreamName, Seq>): void {
    for (const [stream, throughSeq] of throughSeqs) this.#lanes.get(stream)?.doubt(destination, throughSeq);
  }

  /**
   * Moves every stream to `destination` (to nowhere when undefined), each at its own quiet moment; what is unanswered
   * after `deadlineMs` moves as it is, in doubt. `sourceLost` says that the CSE left behind does not answer. Resolves to the
   * first number of each stream for the new destination when nothing is in doubt any more.
   */
  async switchTo(
    destination: Destination | undefined,
    options: { deadlineMs: Millis; sourceLost: boolean },
  ): Promise<Map<StreamName, Seq>> {
    const giveUp = new AbortController();
    const cancel = this.#clock.schedule(options.deadlineMs, () => giveUp.abort());
    try {
      const moves = [...this.#lanes].map(async ([stream, lane]): Promise<[StreamName, Seq]> => [
        stream,
        await lane.switchTo(destination, options.sourceLost, giveUp.signal),
      ]);
      return new Map(await Promise.all(moves));
    } finally {
      cancel();
    }
  }
}
