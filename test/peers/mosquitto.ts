// Proves of the gateway's way over MQTT (`LinkAccess`, with sessions, credentials and all), against mosquitto from Debian and a
// CSE of the testbed behind it: requests go up and notifications come down over plain TCP, with a password, over TLS with and
// without a certificate of the gateway, in MQTT 5 and 3.1.1; messages are published with QoS 1 and never retained; what is wrong
// with a certificate, a key or a password is told with the file and the way out, and no secret is told; a broker that restarts
// in mid-delivery loses and doubles nothing; a client that is thrown out by another with its identifier comes back ever more
// slowly; a half-open connection is noticed by the deadlines of requests; what is stale is not carried out. And the gateway
// process works over two brokers (mosquitto-gateway.ts).
import assert from 'node:assert/strict';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { millis } from '../../src/base/units.ts';
import type { MqttConfig, SecurityConfig } from '../../src/gateway/config.ts';
import { LinkAccess } from '../../src/gateway/link-access.ts';
import { sleep } from '../../src/host/clock.ts';
import { MqttSession } from '../../src/mqtt/mqtt-session.ts';
import { encodeTimestamp } from '../../src/onem2m/primitives.ts';
import type { CseClient } from '../../src/onem2m/cse-client.ts';
import { isRejectedWith } from '../../src/onem2m/cse-client.ts';
import { CseType, ResourceType, ResponseStatusCode, ResultContent } from '../../src/onem2m/enums.ts';
import { encodeBody, encodeRequest } from '../../src/onem2m/serialisation.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { MqttTransport } from '../../src/testbed/cse/transports/mqtt-transport.ts';
import { TcpRelay } from '../../src/testbed/network/tcp-relay.ts';
import { makeAuthority, makeCertificate } from './certificates.ts';
import type { Pair } from './certificates.ts';
import { Mosquitto, brokerAddress, user } from './mosquitto-broker.ts';
import { runGatewayAtBrokers } from './mosquitto-gateway.ts';
import type { PeerBench, PeerPart } from './peer-bench.ts';

const cseId = '/id-mn1';
const base = 'cse-mn1';
const within = { deadlineMs: millis(5_000) };
const brief = { resultContent: ResultContent.nothing } as const;

/** mosquitto, and openssl for the certificates. */
export const mosquittoPart: PeerPart = {
  name: 'mosquitto',
  programs: [
    { command: 'mosquitto', debianPackage: 'mosquitto' },
    { command: 'openssl', debianPackage: 'openssl' },
  ],
  run: async (bench) => {
    const run = new MosquittoRun(bench, await makeWorld(bench));
    await run.transports();
    await run.refusals();
    await run.messages();
    await run.troubles();
    await run.gateway();
  },
};

interface World {
  readonly broker: Mosquitto;
  /** Certificates of the listeners of a broker. */
  readonly listeners: Parameters<typeof Mosquitto.start>[2];
  readonly directory: string;
  readonly authority: Pair;
  readonly stranger: Pair;
  readonly gateway: Pair;
  readonly expired: Pair;
  readonly foreign: Pair;
  readonly passwordFile: string;
}

async function makeWorld(bench: PeerBench): Promise<World> {
  const directory = await bench.directory();
  const [authority, stranger] = await Promise.all([
    makeAuthority(directory, 'authority'),
    makeAuthority(directory, 'stranger'),
  ]);
  const host = brokerAddress;
  const [tls, expiredTls, foreignHostTls, gateway, expired, foreign] = await Promise.all([
    makeCertificate(directory, 'broker', authority, { host }),
    makeCertificate(directory, 'broker-expired', authority, { host, isExpired: true }),
    makeCertificate(directory, 'broker-elsewhere', authority, { host: 'elsewhere.example' }),
    makeCertificate(directory, 'gateway', authority),
    makeCertificate(directory, 'gateway-expired', authority, { isExpired: true }),
    makeCertificate(directory, 'gateway-foreign', stranger),
  ]);
  const passwordFile = join(directory, 'password');
  await fs.writeFile(passwordFile, `${user.password}\n`);
  const listeners = { tls, clientTls: tls, expiredTls, foreignHostTls };
  const broker = await Mosquitto.start(bench, authority, listeners);
  return { broker, listeners, directory, authority, stranger, gateway, expired, foreign, passwordFile };
}

/** An AE with its link, as the gateway has them. */
interface Party {
  readonly access: LinkAccess;
  readonly client: CseClient;
  readonly ae: string;
  /** Names of the instances it was notified of. */
  readonly notified: string[];
  readonly failures: string[];
}

class MosquittoRun {
  readonly #bench: PeerBench;
  readonly #world: World;
  #parties = 0;

  constructor(bench: PeerBench, world: World) {
    this.#bench = bench;
    this.#world = world;
  }

  /** Every kind of listener takes a gateway that has what it wants. */
  async transports(): Promise<void> {
    const { broker, authority, gateway, passwordFile } = this.#world;
    await this.#startCse();
    const login = { username: user.name, passwordFile };
    const caFile = authority.certFile;
    const ways: readonly [string, string, Partial<MqttConfig>, SecurityConfig][] = [
      ['plain', broker.url('plain'), {}, {}],
      ['password', broker.url('password'), login, {}],
      ['TLS', broker.url('tls'), {}, { tls: { caFile } }],
      ['TLS with a certificate of the gateway', broker.url('clientTls'), {}, { tls: { caFile, ...gateway } }],
    ];
    for (const [name, url, mqtt, security] of ways) {
      await this.#bench.check(`${name}: a request up, its notification down`, async () => {
        const party = await this.#party(url, mqtt, security);
        await this.#roundTrip(party, 'c1');
        await party.access.close();
      });
    }
    await this.#bench.check('what one broker needs stands under mqtt.brokers', async () => {
      const brokers = [{ url: broker.url('clientTls'), tls: { caFile, ...gateway } }];
      const party = await this.#party(broker.url('clientTls'), { brokers }, {});
      await this.#roundTrip(party, 'c1');
      await party.access.close();
    });
    await this.#bench.check('both protocol levels, each the one asked for', async () => {
      for (const protocolVersion of [5, 4] as const) {
        const session = await this.#session(`level${protocolVersion}`, protocolVersion);
        assert.equal(session.protocolVersion, protocolVersion);
        const level = protocolVersion === 5 ? 'p5' : 'p2';
        assert.match(broker.log, new RegExp(`as level${protocolVersion} \\(${level},`, 'u'));
        await session.close();
      }
    });
  }

  /** What does not fit is told with the file and the way out, and without the secret. */
  async refusals(): Promise<void> {
    const { broker, authority, stranger, gateway, expired, foreign, directory } = this.#world;
    const caFile = authority.certFile;
    const wrong = join(directory, 'wrong-password');
    await fs.writeFile(wrong, 'open-sesame');
    const away = join(directory, 'away.pem');
    // prettier-ignore
    const cases: readonly [string, string, Partial<MqttConfig>, SecurityConfig, RegExp][] = [
      ['an authority that did not sign', broker.url('tls'), {}, { tls: { caFile: stranger.certFile } }, /not signed by .*stranger\.pem; give the authority/u],
      ['an expired broker', broker.url('expiredTls'), {}, { tls: { caFile } }, /certificate of mqtts:.* has expired; renew it there, or set the clock/u],
      ['another host', broker.url('foreignHostTls'), {}, { tls: { caFile } }, /is not for 127\.0\.0\.1; set serverName/u],
      ['no certificate where one is wanted', broker.url('clientTls'), {}, { tls: { caFile } }, /wants a certificate of this gateway; give security\.tls\.certFile/u],
      ['a certificate of a stranger', broker.url('clientTls'), {}, { tls: { caFile, ...foreign } }, /does not know who signed .*gateway-foreign\.pem/u],
      ['an expired certificate of the gateway', broker.url('clientTls'), {}, { tls: { caFile, ...expired } }, /certificate .*gateway-expired\.pem expired on .*; renew it/u],
      ['a key that does not fit', broker.url('clientTls'), {}, { tls: { caFile, certFile: gateway.certFile, keyFile: foreign.keyFile } }, /the key .*gateway-foreign\.key does not fit the certificate .*gateway\.pem/u],
      ['a file that is not there', broker.url('tls'), {}, { tls: { caFile: away } }, /away\.pem .* is not there/u],
      ['TLS at a plain port', broker.url('plain').replace('mqtt:', 'mqtts:'), {}, { tls: { caFile } }, /TLS at this port.* use mqtt:\/\/ or its other port/u],
      ['a wrong password', broker.url('password'), { username: user.name, passwordFile: wrong }, {}, /check username and .*wrong-password/u],
      ['no password where one is wanted', broker.url('password'), {}, {}, /client without username/u],
      ['mqtts without any credentials', broker.url('tls'), {}, {}, /there are no credentials for TLS; give security\.tls/u],
    ];
    for (const [name, url, mqtt, security, told] of cases) {
      await this.#bench.check(`refused: ${name}`, async () => {
        const failures: string[] = [];
        const access = await this.#open(mqtt, security, failures);
        const client = access.cseClient({ cseId, pointOfAccess: url }, 'Crefused');
        const outcome = await client.retrieve(base, within);
        await access.close();
        assert.ok(!outcome.ok);
        assert.match(outcome.error.message, told);
        for (const text of [outcome.error.message, ...failures]) {
          assert.doesNotMatch(text, /PRIVATE|BEGIN [A-Z]+ KEY|let-me-in|open-sesame/u);
        }
        return [outcome.error.message];
      });
    }
    await this.#bench.check('a name that the certificate carries makes another host good', async () => {
      const url = broker.url('foreignHostTls');
      const brokers = [{ url, serverName: 'elsewhere.example' }];
      const party = await this.#party(url, { brokers }, { tls: { caFile } });
      await this.#roundTrip(party, 'c1');
      await party.access.close();
    });
  }

  async messages(): Promise<void> {
    const { broker } = this.#world;
    const url = broker.url('plain');
    await this.#bench.check(
      'published with QoS 1, not retained; one session for all CSEs behind a broker',
      async () => {
        const party = await this.#party(url, {}, {});
        await this.#roundTrip(party, 'c1');
        const id = `A::${party.client.originator}::lte0`;
        const published = broker.log
          .split('\n')
          .filter((line) => line.includes(`Received PUBLISH from ${id} `));
        assert.ok(published.length > 3);
        for (const line of published) assert.match(line, /\(d0, q1, r0, /u);
        const other = party.access.cseClient(
          { cseId: '/id-mn9', pointOfAccess: url },
          party.client.originator,
        );
        const nobody = await other.retrieve('cse-mn9', within);
        assert.ok(!nobody.ok);
        assert.match(nobody.error.message, /nobody is subscribed/u);
        assert.equal(broker.log.split('\n').filter((line) => line.includes(` as ${id} (`)).length, 1);
        await party.access.close();
      },
    );
    await this.#bench.check('many requests at once are all answered', async () => {
      const party = await this.#party(url, {}, {});
      const names = Array.from({ length: 60 }, (_, index) => `w${index}`);
      const outcomes = await Promise.all(names.map((name) => this.#put(party, name)));
      for (const outcome of outcomes) assert.ok(outcome.ok, outcome.ok ? '' : outcome.error.message);
      assert.doesNotMatch(broker.log, /receive maximum|exceeded/iu);
      await party.access.close();
      return ['60 at once'];
    });
    await this.#bench.check('retained and expired requests are not carried out, what waited is', () =>
      this.#stale(),
    );
  }

  async troubles(): Promise<void> {
    await this.#bench.check('a restart of the broker in mid-delivery loses and doubles nothing', () =>
      this.#restart(),
    );
    await this.#bench.check('thrown out by a second client with its identifier', () => this.#kicked());
    await this.#bench.check('a half-open connection is noticed by the deadlines of requests', () =>
      this.#halfOpen(),
    );
    await this.#bench.check('a broker that is left keeps nothing, one that is lost for a while does', () =>
      this.#left(),
    );
  }

  /** The whole gateway, with two brokers of its own: the CSE of the other checks has the name of one of its CSEs. */
  async gateway(): Promise<void> {
    const { authority, gateway, listeners } = this.#world;
    await this.#bench.check(
      'the gateway between CSEs at two brokers, over TLS with certificates of both sides',
      async () => {
        const near = await Mosquitto.start(this.#bench, authority, listeners);
        const far = await Mosquitto.start(this.#bench, authority, listeners);
        const scene = { brokers: [near, far] as const, caFile: authority.certFile, gateway };
        return runGatewayAtBrokers(this.#bench, scene);
      },
    );
  }

  async #stale(): Promise<void> {
    const { broker } = this.#world;
    const originator = 'Sstale';
    const topic = `/oneM2M/req/id-mn1/${originator}/json`;
    const notification = (name: string, expiresMs?: number): Buffer =>
      Buffer.from(
        encodeBody(
          encodeRequest({
            operation: 5,
            to: originator,
            from: cseId,
            requestIdentifier: name,
            ...(expiresMs === undefined ? {} : { requestExpirationTimestamp: encodeTimestamp(expiresMs) }),
            primitiveContent: {
              notification: {
                notificationEvent: { representation: { contentInstance: { resourceName: name } } },
              },
            },
          }),
          'json',
        ),
      );
    // It is there before the first subscription: later it would be news to a session that lasts.
    await this.#retain(topic, notification('retained'));
    const party = await this.#party(broker.url('plain'), {}, {}, originator);
    await this.#roundTrip(party, 'c1');
    assert.deepEqual(party.notified, ['c1']);
    await party.access.close();
    const publisher = await this.#session('publisher', 5);
    const nowMs = this.#bench.host.clock.unixMs();
    for (const payload of [notification('expired', nowMs - 2_000), notification('waiting', nowMs + 60_000)])
      assert.ok((await publisher.publish(topic, payload, within)).ok);
    const back = await this.#party(broker.url('plain'), {}, {}, originator);
    await this.#roundTrip(back, 'c2');
    await this.#bench.until('what waited', () => back.notified.includes('waiting'));
    assert.deepEqual([...back.notified].sort(), ['c2', 'waiting']);
    await this.#retain(topic, Buffer.alloc(0));
    await publisher.close();
    await back.access.close();
  }

  async #restart(): Promise<readonly string[]> {
    const { broker } = this.#world;
    const { clock } = this.#bench.host;
    const party = await this.#party(broker.url('plain'), {}, {});
    const names = Array.from({ length: 150 }, (_, index) => `r${index}`);
    let repeats = 0;
    let delivered = 0;
    const lane = async (mine: readonly string[]): Promise<void> => {
      for (const name of mine) {
        for (;;) {
          const outcome = await this.#put(party, name, millis(1_000));
          if (outcome.ok || isRejectedWith(outcome.error, ResponseStatusCode.conflict)) break;
          repeats++;
          await sleep(clock, millis(50));
        }
        delivered++;
      }
    };
    const lanes = [0, 1, 2, 3].map((index) => lane(names.filter((_, at) => at % 4 === index)));
    await this.#bench.until('half of them', () => delivered >= 60, 20_000);
    await broker.stop();
    await sleep(clock, millis(700));
    const backMs = clock.monotonicMs();
    await broker.run();
    await Promise.all(lanes);
    const tookMs = Math.round(clock.monotonicMs() - backMs);
    const held = (await this.#children(party)).filter((name) => name.startsWith('r'));
    assert.deepEqual([...held].sort(), [...names].sort());
    assert.ok(repeats > 0, 'the restart was not noticed');
    await this.#roundTrip(party, 'after');
    await party.access.close();
    return [
      `150 held once each, ${repeats} tries in vain, all delivered ${tookMs} ms after the broker was back`,
    ];
  }

  async #kicked(): Promise<readonly string[]> {
    const { broker } = this.#world;
    const { clock } = this.#bench.host;
    const party = await this.#party(broker.url('plain'), {}, {});
    await this.#roundTrip(party, 'c1');
    const id = `A::${party.client.originator}::lte0`;
    const comings = (): number => broker.log.split(` as ${id} (`).length - 1;
    const before = comings();
    const endMs = clock.monotonicMs() + 4_000;
    let kicks = 0;
    while (clock.monotonicMs() < endMs) {
      const intruder = await this.#session(id, 5);
      kicks++;
      await this.#bench.until('its return', () => !intruder.isOpen || clock.monotonicMs() > endMs, 6_000);
      await intruder.close();
    }
    const returns = comings() - before - kicks;
    // 0.25, 0.5, 1, 2 s and so on, each up to half shorter: at most six begin in 4 s.
    assert.ok(kicks > 1 && returns <= 6, `${kicks} kicks, ${returns} returns`);
    assert.match(party.failures.at(-1) ?? '', /another client with the identifier A::/u);
    await this.#bench.until('its last return', async () => (await this.#put(party, 'c2')).ok, 15_000);
    await this.#bench.until('the notification', () => party.notified.includes('c2'));
    await party.access.close();
    return [`thrown out ${kicks} times in 4 s, came back ${returns} times`];
  }

  async #halfOpen(): Promise<readonly string[]> {
    const { broker } = this.#world;
    const { clock } = this.#bench.host;
    const target = { address: brokerAddress, port: broker.port('plain') };
    const relay = await TcpRelay.open({ clock, localAddress: brokerAddress, target });
    this.#bench.defer(() => relay.close());
    const url = `mqtt://${brokerAddress}:${relay.local.port}`;
    const party = await this.#party(url, { brokers: [{ url, advertise: broker.url('plain') }] }, {});
    await this.#roundTrip(party, 'c1');
    relay.setConditions({ blackhole: true });
    const beganMs = clock.monotonicMs();
    const isLost = (): boolean => party.failures.some((text) => /has not been heard for \d+ ms/u.test(text));
    while (!isLost() && clock.monotonicMs() - beganMs < 20_000) await this.#put(party, 'c2', millis(500));
    const noticedMs = Math.round(clock.monotonicMs() - beganMs);
    assert.ok(isLost() && noticedMs < 4_000, `noticed after ${noticedMs} ms: ${party.failures.join('; ')}`);
    relay.setConditions({ blackhole: false });
    const healedMs = clock.monotonicMs();
    await this.#bench.until('its return', async () => (await this.#put(party, 'c3')).ok, 15_000);
    await this.#bench.until('the notification', () => party.notified.includes('c3'));
    const returnMs = Math.round(clock.monotonicMs() - healedMs);
    await party.access.close();
    return [`noticed after ${noticedMs} ms, back ${returnMs} ms after the path was`];
  }

  async #left(): Promise<void> {
    const { broker } = this.#world;
    const url = broker.url('plain');
    const party = await this.#party(url, {}, {});
    await this.#roundTrip(party, 'c1');
    const { originator } = party.client;
    await party.access.close();
    const operator = await this.#party(url, {}, {}, 'CAdmin');
    const put = (name: string): Promise<unknown> =>
      operator.client.create(
        `${party.ae}/data`,
        ResourceType.contentInstance,
        { contentInstance: { resourceName: name, content: 1 } },
        brief,
      );
    await put('waits');
    const back = await this.#party(url, {}, {}, originator);
    await this.#bench.until('what came meanwhile', () => back.notified.includes('waits'));
    await back.access.leave({ cseId, pointOfAccess: url });
    await put('late');
    await sleep(this.#bench.host.clock, millis(300));
    const again = await this.#party(url, {}, {}, originator);
    await this.#roundTrip(again, 'c2');
    assert.deepEqual(again.notified, ['c2']);
    await Promise.all([back.access.close(), again.access.close(), operator.access.close()]);
  }

  async #startCse(): Promise<void> {
    const { clock, network, entropy } = this.#bench.host;
    const broker = { host: brokerAddress, port: this.#world.broker.port('plain') };
    const cse = new TestbedCse({
      cseId,
      cseBaseName: base,
      cseType: CseType.mnCse,
      adminOriginator: 'CAdmin',
      spId: '//sp.example',
      serialisation: 'cbor',
      clock,
      entropy,
      transports: [new MqttTransport({ network, clock, cseId, broker })],
    });
    await cse.start();
    this.#bench.defer(() => cse.stop());
  }

  #open(
    mqtt: Partial<MqttConfig>,
    security: SecurityConfig,
    failures: string[],
    notified: string[] = [],
  ): Promise<LinkAccess> {
    return LinkAccess.open({
      host: this.#bench.host,
      link: { name: 'lte0', localAddress: brokerAddress },
      deadlineMs: within.deadlineMs,
      mqtt: { keepaliveS: 60, brokers: [], ...mqtt },
      security,
      handler: ({ requestIdentifier, primitiveContent }) => {
        const name = nameIn(primitiveContent);
        if (name !== undefined) notified.push(name);
        return Promise.resolve({ responseStatusCode: ResponseStatusCode.ok, requestIdentifier });
      },
      onBroker: (_, failure) => {
        if (failure !== undefined) failures.push(failure);
      },
    });
  }

  /** An AE with a container that it is notified of; one of the same name goes on with what is there. */
  async #party(
    url: string,
    mqtt: Partial<MqttConfig>,
    security: SecurityConfig,
    originator = `Sparty${this.#parties++}`,
  ): Promise<Party> {
    const notified: string[] = [];
    const failures: string[] = [];
    const access = await this.#open(mqtt, security, failures, notified);
    this.#bench.defer(() => access.close());
    const cse = { cseId, pointOfAccess: url };
    const client = access.cseClient(cse, originator);
    const ae = `${base}/${originator}`;
    const party = { access, client, ae, notified, failures };
    if (originator === 'CAdmin') return party;
    const pointOfAccess = [access.pointOfAccessFor(cse).replace('mqtts:', 'mqtt:')];
    const plain = [this.#world.broker.url('plain')];
    const registered = await client.create(base, ResourceType.ae, {
      ae: {
        resourceName: originator,
        appId: 'Ntest',
        requestReachability: true,
        supportedReleaseVersions: ['4'],
        // The CSE speaks plain MQTT at its broker, which is one broker whatever the listener.
        pointOfAccess:
          url.startsWith('mqtts:') || url === this.#world.broker.url('password') ? plain : pointOfAccess,
      },
    });
    if (!registered.ok) {
      assert.ok(
        isRejectedWith(registered.error, ResponseStatusCode.originatorHasAlreadyRegistered),
        registered.error.message,
      );
      return party;
    }
    const made = await client.create(ae, ResourceType.container, { container: { resourceName: 'data' } });
    assert.ok(made.ok, made.ok ? '' : made.error.message);
    const subscribed = await client.create(`${ae}/data`, ResourceType.subscription, {
      subscription: {
        resourceName: 'sub',
        eventNotificationCriteria: { notificationEventType: [3] },
        notificationUri: [originator],
        notificationContentType: 1,
      },
    });
    assert.ok(subscribed.ok, subscribed.ok ? '' : subscribed.error.message);
    return party;
  }

  /** An instance goes up; its notification comes down. */
  async #roundTrip(party: Party, name: string): Promise<void> {
    const created = await this.#put(party, name);
    assert.ok(created.ok, created.ok ? '' : created.error.message);
    await this.#bench.until(`the notification of ${name}`, () => party.notified.includes(name));
  }

  #put(party: Party, name: string, deadlineMs = within.deadlineMs): ReturnType<CseClient['create']> {
    const contentInstance = { resourceName: name, content: 1 };
    return party.client.create(
      `${party.ae}/data`,
      ResourceType.contentInstance,
      { contentInstance },
      { ...brief, deadlineMs },
    );
  }

  async #children(party: Party): Promise<string[]> {
    const found = await party.client.discover(
      `${party.ae}/data`,
      { resourceType: [ResourceType.contentInstance] },
      within,
    );
    assert.ok(found.ok, found.ok ? '' : found.error.message);
    return found.value.map((address) => address.split('/').pop() ?? '');
  }

  async #session(clientId: string, protocolVersion: 4 | 5): Promise<MqttSession> {
    const { network, clock } = this.#bench.host;
    const endpoint = { host: brokerAddress, port: this.#world.broker.port('plain'), clientId };
    const opened = await MqttSession.open({
      network,
      clock,
      endpoint,
      clean: true,
      protocolVersion,
      ...within,
    });
    if (!opened.ok) throw new Error(opened.error.message);
    return opened.value;
  }

  /** Has the broker keep a message for whoever subscribes; Baton has no way to say that. */
  async #retain(topic: string, payload: Uint8Array): Promise<void> {
    const { connectAsync } = await import('mqtt');
    const client = await connectAsync(this.#world.broker.url('plain'), {
      clientId: 'retainer',
      reconnectPeriod: 0,
    });
    await client.publishAsync(topic, Buffer.from(payload), { qos: 1, retain: true });
    await client.endAsync();
  }
}

function nameIn(content: unknown): string | undefined {
  const found = /"resourceName":"([^"]+)"/u.exec(JSON.stringify(content ?? null));
  return found?.[1];
}
