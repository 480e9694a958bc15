import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';
import { errorText } from '../base/errors.ts';
import { randomHex } from '../host/entropy.ts';
import type { Host } from '../host/host.ts';
import { MqttBinding } from '../mqtt/mqtt-binding.ts';
import type { MqttEndpoint } from '../mqtt/mqtt-connect.ts';
import { MqttPresence } from '../mqtt/mqtt-presence.ts';
import type { MqttAttempt } from '../mqtt/mqtt-presence.ts';
import { MqttSession } from '../mqtt/mqtt-session.ts';
import { formatPointOfAccess, parsePointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { Binding, DeliveryError, RequestHandler } from '../onem2m/binding.ts';
import { CredentialError, explainBroker, loadBrokerCredentials } from './broker-credentials.ts';
import type { BrokerConfig, LinkConfig, MqttConfig, SecurityConfig } from './config.ts';
import { noWay } from './link-transport.ts';
import type { CseAddress, LinkTransport } from './link-transport.ts';

/** What the MQTT side of a link is made of. */
export interface MqttLinkTransportOptions {
  readonly host: Host;
  readonly link: LinkConfig;
  readonly mqtt: MqttConfig;
  readonly security: SecurityConfig;
  /** Answers what comes in; without it nothing is subscribed to but answers, and nothing is kept at the broker. */
  readonly handler?: RequestHandler;
  /** Told when the session at a broker is lost or cannot be opened, and, with `undefined`, when it is there. */
  readonly onState?: (broker: string, failure: string | undefined) => void;
}

interface Held {
  readonly presence: MqttPresence;
  /** Those that the presence is used for. */
  readonly cseIds: Set<string>;
}

const presencesMax = 32;

/**
 * MQTT over one link: one session for each broker and originator, shared by the ways to all CSEs behind the broker, that leaves
 * by the address of the link. Its client identifier is `A::<AE-ID>::<link>`: with the same one on two links the broker would
 * end the session of the first as soon as the second begins. CSEs are told to notify the broker by which they are reached.
 */
export class MqttLinkTransport implements LinkTransport {
  readonly schemes = ['mqtt', 'mqtts'] as const;
  readonly #options: MqttLinkTransportOptions;
  readonly #held = new Map<string, Held>();
  /** Sessions that are being ended for good, by their name. */
  readonly #leaving = new Map<string, Promise<void>>();
  readonly #suffix: string;

  constructor(options: MqttLinkTransportOptions) {
    this.#options = options;
    this.#suffix = randomHex(options.host.entropy, 4);
  }

  obstacleTo(pointOfAccess: PointOfAccess): string | undefined {
    if (pointOfAccess.scheme === 'mqtt') return undefined;
    if (this.#options.security.tls !== undefined || this.#brokerOf(pointOfAccess)?.tls !== undefined)
      return undefined;
    return 'there are no credentials for TLS; give security.tls, or tls of this broker under mqtt.brokers';
  }

  /** The presence is looked up for each request: whoever still asks a CSE that was left comes to it all the same. */
  bindingTo(cse: CseAddress, pointOfAccess: PointOfAccess, originator: string): Binding {
    return {
      send: async (request, options) => {
        try {
          return await this.#bindingNow(cse, pointOfAccess, originator).send(request, options);
        } catch (error) {
          return err({ kind: 'malformed', message: `request not sent: ${errorText(error)}` });
        }
      },
      close: () => Promise.resolve(),
    };
  }

  ownPointOfAccess(pointOfAccess: PointOfAccess): string {
    const { scheme, host, port, path } = pointOfAccess;
    const { advertise } = this.#brokerOf(pointOfAccess) ?? {};
    return advertise ?? `${formatPointOfAccess(scheme, host, port)}${path === '' ? '' : `/${path}`}`;
  }

  async leave(cse: CseAddress, pointOfAccess: PointOfAccess): Promise<void> {
    const broker = brokerName(pointOfAccess);
    const left = [...this.#held].filter(([name, { cseIds }]) => {
      return name.startsWith(`${broker} `) && cseIds.delete(cse.cseId) && cseIds.size === 0;
    });
    for (const [name, { presence }] of left) {
      this.#held.delete(name);
      const ended = presence.close({ forget: true }).finally(() => this.#leaving.delete(name));
      this.#leaving.set(name, ended);
    }
    await Promise.all(left.map(([name]) => this.#leaving.get(name) ?? Promise.resolve()));
  }

  async close(): Promise<void> {
    const held = [...this.#held.values()];
    this.#held.clear();
    await Promise.all([...held.map(({ presence }) => presence.close()), ...this.#leaving.values()]);
  }

  #bindingNow(cse: CseAddress, pointOfAccess: PointOfAccess, originator: string): Binding {
    const held = this.#presenceAt(pointOfAccess, originator);
    if (held === undefined) return noWay(`${presencesMax} MQTT sessions are in use`);
    held.cseIds.add(cse.cseId);
    return new MqttBinding({
      presence: held.presence,
      clock: this.#options.host.clock,
      cseId: cse.cseId,
      serialisation: 'cbor',
      topicPrefix: pointOfAccess.path,
      credentialId: this.#clientId(originator),
    });
  }

  #presenceAt(pointOfAccess: PointOfAccess, originator: string): Held | undefined {
    const broker = brokerName(pointOfAccess);
    const name = `${broker} ${originator}`;
    const known = this.#held.get(name);
    if (known !== undefined || this.#held.size >= presencesMax) return known;
    const { host, handler, onState } = this.#options;
    const presence = new MqttPresence({
      clock: host.clock,
      clientId: this.#clientId(originator),
      open: (attempt) => this.#open(pointOfAccess, originator, attempt),
      // With a clock that is not set yet nothing counts as expired.
      wallTime: () => host.clock.unixMs(),
      isTransient: handler === undefined,
      ...(handler === undefined ? {} : { handler }),
      ...(onState === undefined
        ? {}
        : { onState: (failure: string | undefined): void => onState(name, failure) }),
    });
    const held = { presence, cseIds: new Set<string>() };
    this.#held.set(name, held);
    return held;
  }

  async #open(
    pointOfAccess: PointOfAccess,
    originator: string,
    attempt: MqttAttempt,
  ): Promise<Result<MqttSession, DeliveryError>> {
    const { host, link, mqtt } = this.#options;
    const { scheme, port } = pointOfAccess;
    // The one that ends bears the same client identifier.
    await this.#leaving.get(`${brokerName(pointOfAccess)} ${originator}`);
    const settings = this.#settingsFor(pointOfAccess);
    let endpoint: MqttEndpoint;
    try {
      // Read each time: a certificate that was renewed counts from the next session on.
      const { tls, ...login } = await loadBrokerCredentials(host, settings);
      endpoint = {
        host: pointOfAccess.host,
        port,
        localAddress: link.localAddress,
        clientId: this.#clientId(originator),
        ...login,
        ...(scheme === 'mqtts'
          ? { tls: { ...tls, serverName: settings.serverName ?? pointOfAccess.host } }
          : {}),
      };
    } catch (error) {
      if (!(error instanceof CredentialError)) throw error;
      return err({ kind: 'reset', message: error.message });
    }
    const { network, clock } = host;
    const opened = await MqttSession.open({
      network,
      clock,
      endpoint,
      keepaliveS: mqtt.keepaliveS,
      explain: (error) => explainBroker(error, pointOfAccess, settings),
      ...attempt,
    });
    return opened.ok ? ok(opened.value) : opened;
  }

  #settingsFor(pointOfAccess: PointOfAccess): Omit<BrokerConfig, 'url' | 'advertise'> {
    const { mqtt, security } = this.#options;
    const { username, passwordFile } = mqtt;
    const broker = this.#brokerOf(pointOfAccess);
    return {
      ...(username === undefined ? {} : { username }),
      ...(passwordFile === undefined ? {} : { passwordFile }),
      ...(security.tls === undefined ? {} : { tls: security.tls }),
      ...broker,
    };
  }

  #brokerOf(pointOfAccess: PointOfAccess): BrokerConfig | undefined {
    const name = brokerName(pointOfAccess);
    return this.#options.mqtt.brokers.find(({ url }) => {
      const broker = parsePointOfAccess(url);
      return broker !== undefined && brokerName(broker) === name;
    });
  }

  /** TS-0010 6.3 has `A::<AE-ID>`. What is transient must not end the session of a gateway that runs meanwhile. */
  #clientId(originator: string): string {
    const { link, handler } = this.#options;
    return `A::${originator}::${link.name}${handler === undefined ? `::${this.#suffix}` : ''}`;
  }
}

function brokerName({ scheme, host, port }: PointOfAccess): string {
  return formatPointOfAccess(scheme, host, port);
}
