import { LimitError } from '../base/errors.ts';
import type { ReadingLog } from '../buffer/reading-log.ts';
import type { Host } from '../host/host.ts';
import type { DeviceReport } from '../host/reopening-line.ts';
import type { Reading } from '../sensor/reading.ts';
import { SerialLineSource } from '../sensor/serial-line-source.ts';
import { encodePayload } from '../uplink/instance.ts';
import type { SensorConfig } from './config.ts';
import type { SensorStatus } from './status.ts';

interface Sensor {
  readonly name: string;
  readonly source: SerialLineSource;
  report: DeviceReport;
}

/**
 * Stores a reading; resolves when its class allows to tell its producer: when it is durable, or in class C also when it is
 * held in memory. Throws `LimitError` when it is not stored, so that its producer repeats it.
 */
export async function storeReading(log: ReadingLog, reading: Reading): Promise<void> {
  const { value, ...rest } = reading;
  const result = await log.append({ ...rest, payload: encodePayload(value) });
  if (result.kind === 'refused') {
    throw new LimitError(`reading of ${reading.stream} is not stored (${result.reason}): ${result.message}`);
  }
}

/** The sensors of the gateway: each reading goes to the log and is acknowledged to its sensor as its class says. */
export class Intake {
  readonly #sensors: readonly Sensor[];

  constructor(options: {
    host: Host;
    sensors: readonly SensorConfig[];
    log: ReadingLog;
    onState: (sensor: string, report: DeviceReport) => void;
  }) {
    const { host, log, onState } = options;
    this.#sensors = options.sensors.map(({ name, serialLine, streams }) => {
      const source = new SerialLineSource({
        serialLines: host.serialLines,
        clock: host.clock,
        entropy: host.entropy,
        name,
        path: serialLine.path,
        baudRate: serialLine.baudRate,
        format: serialLine.format,
        acknowledge: serialLine.acknowledge,
        streams: streams.map((stream) => stream.name),
        onReading: (reading) => storeReading(log, reading),
        onState: (report) => {
          sensor.report = report;
          onState(name, report);
        },
      });
      const sensor: Sensor = { name, source, report: { state: 'opening', reason: '' } };
      return sensor;
    });
  }

  start(): void {
    for (const { source } of this.#sensors) source.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#sensors.map(({ source }) => source.stop()));
  }

  status(): SensorStatus[] {
    return this.#sensors.map(({ name, source, report }) => ({
      name,
      state: report.state,
      ...(report.state === 'ready' ? {} : { reason: report.reason }),
      rejected: source.counters.refused,
    }));
  }
}
