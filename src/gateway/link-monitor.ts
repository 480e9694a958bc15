import { millis } from '../base/units.ts';
import type { CancelTimer } from '../host/clock.ts';
import { every } from '../host/clock.ts';
import type { Host } from '../host/host.ts';
import { advanceLink, createLink, defaultLinkPolicy } from '../link/access-link.ts';
import type { AccessLink, LinkEvent, LinkInput } from '../link/access-link.ts';
import { ModemSource } from '../radio/modem-source.ts';
import type { CellMeasurement, RadioSample } from '../radio/radio-sample.ts';
import type { DeviceReport } from '../host/reopening-line.ts';
import type { LinkConfig } from './config.ts';
import type { CellStatus, LinkStatus } from './status.ts';

interface Monitored {
  readonly config: LinkConfig;
  readonly modem: ModemSource | undefined;
  link: AccessLink;
  sample?: RadioSample;
  report?: DeviceReport;
}

/** The access links of the gateway with their modems: samples in, link events and states out. */
export class LinkMonitor {
  readonly #host: Host;
  readonly #links: readonly Monitored[];
  readonly #onEvent: (event: LinkEvent) => void;
  #cancelTick: CancelTimer = () => undefined;

  constructor(options: {
    host: Host;
    links: readonly LinkConfig[];
    onSample: (link: string, sample: RadioSample) => void;
    onEvent: (event: LinkEvent) => void;
    onModem: (link: string, report: DeviceReport) => void;
  }) {
    const { host } = options;
    this.#host = host;
    this.#onEvent = options.onEvent;
    this.#links = options.links.map((config) => {
      const modem =
        config.modem === undefined
          ? undefined
          : new ModemSource({
              serialLines: host.serialLines,
              clock: host.clock,
              entropy: host.entropy,
              source: config.name,
              ...config.modem,
              onSample: (sample) => {
                monitored.sample = sample;
                this.#advance(monitored, { kind: 'sample', sample });
                options.onSample(config.name, sample);
              },
              onState: (report) => {
                monitored.report = report;
                this.#advance(monitored, { kind: 'device', atMs: host.clock.monotonicMs(), report });
                options.onModem(config.name, report);
              },
            });
      const link = createLink(config.name, host.clock.monotonicMs(), config.localAddress);
      const monitored: Monitored = { config, modem, link };
      return monitored;
    });
  }

  start(): void {
    for (const { modem } of this.#links) modem?.start();
    this.#cancelTick = every(this.#host.clock, millis(1000), () => {
      const atMs = this.#host.clock.monotonicMs();
      for (const monitored of this.#links) this.#advance(monitored, { kind: 'tick', atMs });
    });
  }

  async stop(): Promise<void> {
    this.#cancelTick();
    await Promise.all(this.#links.flatMap(({ modem }) => modem?.stop() ?? []));
  }

  status(): LinkStatus[] {
    const nowMs = this.#host.clock.monotonicMs();
    return this.#links.map(({ config, link, sample, report }) => ({
      name: config.name,
      // Without a radio there is nothing to be said against the link but what its sockets say.
      state: config.modem === undefined ? 'up' : link.state,
      localAddress: config.localAddress,
      ...(link.registration === undefined ? {} : { registration: link.registration }),
      ...(link.operator === undefined ? {} : { operator: link.operator }),
      ...(report === undefined ? {} : { modem: { state: report.state, reason: report.reason } }),
      cells: (sample?.cells ?? []).map(cellStatus),
      ...(sample === undefined ? {} : { sampleAgeMs: nowMs - sample.atMs }),
    }));
  }

  #advance(monitored: Monitored, input: LinkInput): void {
    const { link, events } = advanceLink(monitored.link, input, defaultLinkPolicy);
    monitored.link = link;
    for (const event of events) this.#onEvent(event);
  }
}

/** A cell for the status: numbers only where the modem knew them. */
export function cellStatus(cell: CellMeasurement): CellStatus {
  const { pci, arfcn } = cell.identity;
  const rsrpDbm = cell.rsrpDbm?.value;
  const rsrqDb = cell.rsrqDb?.value;
  const sinrDb = cell.sinrDb?.value;
  return {
    serving: cell.serving,
    rat: cell.rat,
    ...(pci === undefined ? {} : { pci }),
    ...(arfcn === undefined ? {} : { arfcn }),
    ...(rsrpDbm === undefined ? {} : { rsrpDbm }),
    ...(rsrqDb === undefined ? {} : { rsrqDb }),
    ...(sinrDb === undefined ? {} : { sinrDb }),
  };
}
