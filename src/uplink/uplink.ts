import type { Millis, Seq, StreamName } from '../base/units.ts';
import { createSharedAbort } from '../base/linked-abort.ts';
import { millis } from '../base/units.ts';
import type { Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import { containerName } from './destination.ts';
import type { Destination, StreamPart } from './destination.ts';
import type { Moved, RecordSource, StreamDelivery, UplinkObserver, UplinkSettings } from './lane-options.ts';
import { StreamLane } from './stream-lane.ts';

/** Delivers all streams of the gateway to the serving CSE, each in its own lane. */
export class Uplink {
  readonly #lanes: ReadonlyMap<StreamName, StreamLane>;
  /** By name of the container. */
  readonly #parts = new Map<string, { readonly lane: StreamLane; readonly part: StreamPart }>();
  readonly #clock: Clock;

  constructor(options: {
    streams: ReadonlyMap<StreamName, StreamDelivery>;
    source: RecordSource;
    clock: Clock;
    entropy: Entropy;
    settings: UplinkSettings;
    observer: UplinkObserver;
  }) {
    const { streams, ...rest } = options;
    this.#clock = options.clock;
    this.#lanes = new Map(
      [...streams].map(([stream, delivery]) => [stream, new StreamLane({ stream, delivery, ...rest })]),
    );
    for (const [stream, lane] of this.#lanes) {
      for (const part of ['live', 'backlog'] as const) {
        this.#parts.set(containerName(stream, part), { lane, part });
      }
    }
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

  /**
   * Records of an earlier run may be at `destination`, or at one nobody can ask. `throughSeqs` says up to which number, by
   * the name of the container in which they would be.
   */
  doubt(destination: Destination | undefined, throughSeqs: ReadonlyMap<string, Seq>): void {
    for (const [container, throughSeq] of throughSeqs) {
      const place = this.#parts.get(container);
      place?.lane.doubt(place.part, destination, throughSeq);
    }
  }

  /** All records of an earlier run that are pending may be at `destination`, or at one nobody can ask. */
  doubtAll(destination: Destination | undefined): void {
    for (const lane of this.#lanes.values()) lane.doubtAll(destination);
  }

  /**
   * Moves every stream to `destination` (to nowhere when undefined), each at its own quiet moment; what is unanswered
   * after `deadlineMs` moves as it is, in doubt. `sourceLost` says that the CSE left behind does not answer: then nothing is
   * waited for. Resolves when nothing is in doubt any more, at the latest after twice `deadlineMs`.
   */
  async switchTo(
    destination: Destination | undefined,
    options: { deadlineMs: Millis; sourceLost: boolean },
  ): Promise<Map<StreamName, Moved>> {
    const { deadlineMs, sourceLost } = options;
    const quiet = createSharedAbort();
    const settled = createSharedAbort();
    const cancelQuiet = this.#clock.schedule(deadlineMs, () => quiet.abort());
    const cancelSettled = this.#clock.schedule(millis(2 * deadlineMs), () => settled.abort());
    if (sourceLost) quiet.abort();
    const limits = { sourceLost, quiet: quiet.signal, settled: settled.signal };
    try {
      const moves = [...this.#lanes].map(async ([stream, lane]): Promise<[StreamName, Moved]> => [
        stream,
        await lane.switchTo(destination, limits),
      ]);
      return new Map(await Promise.all(moves));
    } finally {
      cancelQuiet();
      cancelSettled();
    }
  }
}
