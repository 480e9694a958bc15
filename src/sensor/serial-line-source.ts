import { ConfigError } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';
import { millis, streamName } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import type { WallStamp } from '../base/wall-stamp.ts';
import type { CancelTimer, Clock } from '../host/clock.ts';
import type { Entropy } from '../host/entropy.ts';
import { LineSplitter } from '../host/line-splitter.ts';
import { ReopeningLine } from '../host/reopening-line.ts';
import type { DeviceReport, ServeEnd } from '../host/reopening-line.ts';
import type { SerialLine, SerialLines } from '../host/serial-line.ts';
import type { Reading } from './reading.ts';
import { formatAcknowledgement, parseCsvLine, parseJsonLine } from './sensor-line.ts';
import type { LineFault, LineReading, LineResult } from './sensor-line.ts';
import { StreamOrder } from './stream-order.ts';

/** How a sensor speaks. */
export interface SerialSensorOptions {
  readonly serialLines: SerialLines;
  readonly clock: Clock;
  readonly entropy: Entropy;
  /** Name of the sensor in the configuration, used in messages. */
  readonly name: string;
  readonly path: string;
  /** The default is 115200. */
  readonly baudRate?: number;
  readonly format: 'json' | 'csv';
  /** Stream names of the columns of a CSV line; without them a line is `stream,value`. */
  readonly columns?: readonly string[];
  /** Whether the sensor repeats a line until it is acknowledged (see `sensor-line.ts`); JSON only. */
  readonly acknowledge?: boolean;
  /** The only streams that are taken; without it any, up to a bound. */
  readonly streams?: readonly string[];
  /** The time that a reading is stamped with; without it the system's clock. */
  readonly wallStamp?: () => WallStamp;
  /** A sensor without a usable line for so long is silent and its port is opened again; the default is 30 s. */
  readonly silenceMs?: Millis;
  readonly reopenMsMin?: Millis;
  readonly reopenMsMax?: Millis;
  /** Readings handed over and not yet stored; further ones are refused. The default is 256. */
  readonly inFlightMax?: number;
  /** Resolves when the reading is stored. A rejection leaves it unacknowledged, so that the sensor repeats it. */
  readonly onReading: (reading: Reading) => Promise<void>;
  readonly onState: (report: DeviceReport) => void;
}

/** Why a line or a reading did not become a stored reading. */
export type RefusalReason =
  | LineFault
  | 'tooLong'
  | 'partial'
  | 'unknownStream'
  | 'tooManyStreams'
  | 'overload'
  | 'gap'
  | 'reusedCount'
  | 'storeFailed';

/** What a source has done so far. */
export interface SerialSensorCounters {
  readonly stored: number;
  readonly acknowledged: number;
  /** Lines of the sensor that repeated a reading already stored or on its way. */
  readonly repeated: number;
  readonly refused: Readonly<Partial<Record<RefusalReason, number>>>;
}

const lineBytesMax = 1024;
const streamsMax = 64;
/** Acknowledgements that may wait for a sensor that does not read; further ones are left to its repetition. */
const acknowledgementsMax = 64;

/** A sensor on a serial line as a source of readings. Nothing that it sends, and no unplugging, shows as a throw. */
export class SerialLineSource {
  readonly #options: SerialSensorOptions;
  readonly #device: ReopeningLine;
  readonly #inFlightMax: number;
  readonly #orders = new Map<string, StreamOrder>();
  readonly #refused: Partial<Record<RefusalReason, number>> = {};
  readonly #progress = { stored: 0, acknowledged: 0, repeated: 0 };
  #inFlight = 0;
  #waitingAcknowledgements = 0;

  /** Throws `ConfigError` for options that contradict each other. */
  constructor(options: SerialSensorOptions) {
    if (options.acknowledge === true && options.format !== 'json') {
      throw new ConfigError(
        `sensor ${options.name}: acknowledge needs format json, got ${options.format}; remove one of the two`,
      );
    }
    this.#options = options;
    this.#inFlightMax = options.inFlightMax ?? 256;
    const { reopenMsMin, reopenMsMax } = options;
    this.#device = new ReopeningLine({
      serialLines: options.serialLines,
      clock: options.clock,
      entropy: options.entropy,
      path: options.path,
      baudRate: options.baudRate ?? 115_200,
      ...(reopenMsMin !== undefined && { reopenMsMin }),
      ...(reopenMsMax !== undefined && { reopenMsMax }),
      serve: (line, signal) => this.#serve(line, signal),
      onState: options.onState,
    });
  }

  get counters(): SerialSensorCounters {
    return { ...this.#progress, refused: { ...this.#refused } };
  }

  start(): void {
    this.#device.start();
  }

  stop(): Promise<void> {
    return this.#device.stop();
  }

  #serve(line: SerialLine, signal: AbortSignal): Promise<ServeEnd> {
    const { name, path, clock, silenceMs = millis(30_000) } = this.#options;
    return new Promise((resolve) => {
      let worked = false;
      let ended = false;
      let lastFault: string | undefined;
      let cancelSilence: CancelTimer = () => undefined;
      const end = (state: ServeEnd['state'], reason: string): void => {
        if (ended) return;
        ended = true;
        cancelSilence();
        signal.removeEventListener('abort', onAbort);
        resolve({ state, reason, worked });
      };
      const onAbort = (): void => end('lost', 'stopped');
      const onSilence = (): void => {
        const heard = lastFault === undefined ? 'nothing was received' : `last refused for: ${lastFault}`;
        end(
          'silent',
          `sensor ${name} on ${path} sent no usable line for ${silenceMs} ms (${heard}); check its power, ` +
            `baud rate ${this.#options.baudRate ?? 115_200} and format ${this.#options.format}`,
        );
      };
      const rearm = (): void => {
        cancelSilence();
        cancelSilence = clock.schedule(silenceMs, onSilence);
      };
      // A line opened in the middle of a sentence starts with the tail of one; without a checksum that tail could
      // pass.
      let isFirst = this.#options.format === 'csv';
      const take = (fault: RefusalReason | undefined): void => {
        lastFault = fault ?? lastFault;
        if (ended || fault !== undefined) return;
        worked = true;
        rearm();
        this.#device.tell('ready', `sensor ${name} on ${path} delivers`);
      };
      const splitter = new LineSplitter({
        lengthMax: lineBytesMax,
        onLine: (octets) => {
          const partial = isFirst;
          isFirst = false;
          take(partial ? this.#refuse('partial') : this.#takeLine(octets, line));
        },
        onOverlong: () => take(this.#refuse('tooLong')),
      });
      signal.addEventListener('abort', onAbort, { once: true });
      rearm();
      line.onData((data) => {
        if (!ended) splitter.push(data);
      });
      line.onClose((error) => {
        end(
          'lost',
          `sensor ${name} lost: ${error?.message ?? `${path} closed`}; check its cable, it is opened again`,
        );
      });
    });
  }

  /** Why the line was refused, or undefined when it made sense. */
  #takeLine(octets: Uint8Array, line: SerialLine): RefusalReason | undefined {
    const result = this.#parse(octets);
    if (!result.ok) return this.#refuse(result.fault);
    let fault: RefusalReason | undefined;
    for (const reading of result.readings) fault ??= this.#takeReading(reading, line);
    // A repeated, early or surplus line still shows a sensor that works.
    return fault === 'gap' || fault === 'overload' ? undefined : fault;
  }

  #parse(octets: Uint8Array): LineResult {
    const { format, acknowledge = false, columns } = this.#options;
    return format === 'json' ? parseJsonLine(octets, { acknowledge }) : parseCsvLine(octets, columns);
  }

  #takeReading(lineReading: LineReading, line: SerialLine): RefusalReason | undefined {
    const { stream, value, count } = lineReading;
    if (this.#options.streams?.includes(stream) === false) return this.#refuse('unknownStream');
    const order = this.#orderOf(stream);
    if (order === undefined) return this.#refuse('tooManyStreams');
    if (this.#options.acknowledge === true && count !== undefined) {
      const verdict = order.judge(count, lineReading.oldest ?? count, JSON.stringify(value));
      if (verdict === 'gap' || verdict === 'reusedCount') return this.#refuse(verdict);
      if (verdict !== 'next') {
        this.#progress.repeated++;
        if (verdict === 'stored') this.#acknowledge(stream, count, line);
        return undefined;
      }
    }
    if (this.#inFlight >= this.#inFlightMax) return this.#refuse('overload');
    this.#inFlight++;
    void this.#store(lineReading, order, line);
    return undefined;
  }

  async #store(lineReading: LineReading, order: StreamOrder, line: SerialLine): Promise<void> {
    const { stream, value, count } = lineReading;
    const { clock, wallStamp, onReading, acknowledge } = this.#options;
    if (acknowledge === true && count !== undefined) order.begin(count, JSON.stringify(value));
    try {
      await onReading({
        stream: streamName(stream),
        value,
        // Only a sensor that keeps its counts for good gives them; a counter that starts over would look like repeats.
        ...(acknowledge === true && count !== undefined && { producerSeq: count }),
        monotonicMs: clock.monotonicMs(),
        wall: wallStamp?.() ?? { unixMs: clock.unixMs(), source: 'system' },
      });
    } catch {
      // The store reports its own failure; here it means that the sensor has to keep the reading.
      this.#refuse('storeFailed');
      if (count !== undefined) order.fail(count);
      return;
    } finally {
      this.#inFlight--;
    }
    this.#progress.stored++;
    if (acknowledge !== true || count === undefined) return;
    order.finish(count);
    this.#acknowledge(stream, count, line);
  }

  #acknowledge(stream: string, count: number, line: SerialLine): void {
    if (this.#waitingAcknowledgements >= acknowledgementsMax) return;
    this.#waitingAcknowledgements++;
    line
      .write(Buffer.from(formatAcknowledgement(stream, count)))
      .then(
        () => {
          this.#progress.acknowledged++;
        },
        () => undefined, // the sensor repeats what it was not told
      )
      .finally(() => {
        this.#waitingAcknowledgements--;
      });
  }

  #orderOf(stream: string): StreamOrder | undefined {
    let order = this.#orders.get(stream);
    if (order === undefined && this.#orders.size < streamsMax) {
      order = new StreamOrder();
      this.#orders.set(stream, order);
    }
    return order;
  }

  #refuse(reason: RefusalReason): RefusalReason {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
    return reason;
  }
}

/** Throws `ConfigError` unless `format` is one that `SerialLineSource` reads. */
export function parseSensorFormat(format: string): 'json' | 'csv' {
  if (format === 'json' || format === 'csv') return format;
  throw new ConfigError(
    `unknown sensor format "${printable(format, 32)}": ${didYouMean(format, ['json', 'csv'])}`,
  );
}
