// mosquitto with several listeners on loopback, all of one broker: plain for anybody, plain with password, TLS with and
// without a certificate of the client.
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../real/programs.ts';
import { MqttBroker } from '../../src/testbed/mqtt-broker.ts';
import type { Pair } from './certificates.ts';
import type { PeerBench, PeerProgram } from './peer-bench.ts';

export const brokerAddress = '127.0.0.1';
export const user = { name: 'gw1', password: 'let-me-in-4711' } as const;

const listeners = ['plain', 'password', 'tls', 'clientTls', 'expiredTls', 'foreignHostTls'] as const;
type Listener = (typeof listeners)[number];
type TlsListener = Exclude<Listener, 'plain' | 'password'>;

let brokers = 0;

/** A running broker. */
export class Mosquitto {
  readonly #bench: PeerBench;
  readonly #configFile: string;
  readonly #ports: Readonly<Record<Listener, number>>;
  #program: PeerProgram | undefined;

  private constructor(bench: PeerBench, configFile: string, ports: Readonly<Record<Listener, number>>) {
    this.#bench = bench;
    this.#configFile = configFile;
    this.#ports = ports;
  }

  /** Writes the configuration and starts it. */
  static async start(
    bench: PeerBench,
    authority: Pair,
    certificates: Readonly<Record<TlsListener, Pair>>,
  ): Promise<Mosquitto> {
    const directory = await bench.directory();
    const ports = await freePorts();
    const number = ++brokers;
    const passwords = join(directory, `passwords${number}`);
    await run('mosquitto_passwd', ['-b', '-c', passwords, user.name, user.password], 10_000);
    const section = (listener: Listener): string[] => [
      `listener ${ports[listener]} ${brokerAddress}`,
      ...(listener === 'password'
        ? ['allow_anonymous false', `password_file ${passwords}`]
        : ['allow_anonymous true']),
      ...(listener === 'plain' || listener === 'password'
        ? []
        : [
            `cafile ${authority.certFile}`,
            `certfile ${certificates[listener].certFile}`,
            `keyfile ${certificates[listener].keyFile}`,
            `require_certificate ${listener === 'clientTls'}`,
          ]),
    ];
    const lines = [
      'per_listener_settings true',
      'log_type all',
      'log_dest stderr',
      // Started by root it would become a user who cannot read the folder.
      `user ${process.getuid?.() === 0 ? 'root' : 'nobody'}`,
      ...listeners.flatMap(section),
    ];
    const configFile = join(directory, `mosquitto${number}.conf`);
    await fs.writeFile(configFile, `${lines.join('\n')}\n`);
    const broker = new Mosquitto(bench, configFile, ports);
    await broker.run();
    return broker;
  }

  port(listener: Listener): number {
    return this.#ports[listener];
  }

  url(listener: Listener): string {
    const scheme = listener === 'plain' || listener === 'password' ? 'mqtt' : 'mqtts';
    return `${scheme}://${brokerAddress}:${this.port(listener)}`;
  }

  /** What it said since its last start. */
  get log(): string {
    return this.#program?.output() ?? '';
  }

  async run(): Promise<void> {
    const program = this.#bench.start('mosquitto', ['-c', this.#configFile]);
    this.#program = program;
    await this.#bench.until('mosquitto', () => program.output().includes('running'), 10_000);
  }

  /** Ends it; what it kept for clients is gone. */
  async stop(): Promise<void> {
    await this.#program?.stop();
  }
}

async function freePorts(): Promise<Record<Listener, number>> {
  const held = await Promise.all(listeners.map(async (name) => [name, await MqttBroker.open()] as const));
  await Promise.all(held.map(([, broker]) => broker.close()));
  return Object.fromEntries(held.map(([name, { port }]) => [name, port])) as Record<Listener, number>;
}
