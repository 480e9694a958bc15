import { Agent, createServer, request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { epoch, cseId, millis, seq, streamName, unixMillis } from '../../../src/base/units.ts';
import type { StoredRecord } from '../../../src/buffer/record.ts';
import { CoapBinding } from '../../../src/coap/coap-binding.ts';
import { CoapEndpoint } from '../../../src/coap/endpoint.ts';
import { NodeClock } from '../../../src/host/clock.ts';
import { NodeEntropy } from '../../../src/host/entropy.ts';
import { NodeNetwork } from '../../../src/host/network.ts';
import { MqttBinding } from '../../../src/mqtt/mqtt-binding.ts';
import { MqttPresence } from '../../../src/mqtt/mqtt-presence.ts';
import { MqttSession } from '../../../src/mqtt/mqtt-session.ts';
import { parsePointOfAccess } from '../../../src/onem2m/address.ts';
import type { Binding } from '../../../src/onem2m/binding.ts';
import { CseClient } from '../../../src/onem2m/cse-client.ts';
import { CseType, ResourceType } from '../../../src/onem2m/enums.ts';
import type { CseTransport } from '../../../src/testbed/cse/cse-transport.ts';
import { TestbedCse } from '../../../src/testbed/cse/testbed-cse.ts';
import { MqttTransport } from '../../../src/testbed/cse/transports/mqtt-transport.ts';
import { OwnCoapTransport } from '../../../src/testbed/cse/transports/own-coap-transport.ts';
import { MqttBroker } from '../../../src/testbed/mqtt-broker.ts';
import { nextBatch } from '../../../src/uplink/batch.ts';
import { encodePayload } from '../../../src/uplink/instance.ts';
import { sendBatch } from '../../../src/uplink/send-batch.ts';

/** Address of the gateway: what it sends and receives is counted; the peers have another one. */
export const gatewayAddress = '127.0.0.2';
const peerAddress = '127.0.0.1';

const network = new NodeNetwork();
const clock = new NodeClock();
const entropy = new NodeEntropy();
const stream = streamName('temperature');
const device = 'gw1';
const answerMs = millis(5000);

/** A way to deliver readings. */
export interface Way {
  /** What the first connection takes; nothing where there is none. */
  connect(): Promise<void>;
  /** Delivers so many readings, `batchMax` in one instance. */
  deliver(count: number, batchMax: number): Promise<void>;
  close(): Promise<void>;
}

/** The readings of a thermometer, ten in a second. */
function recordsOf(count: number): StoredRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    stream,
    seq: seq(100_001 + index - (100_001 % 64) + 64),
    logId: '0a1b2c3d',
    runId: '00000001',
    payload: encodePayload(Math.round(2150 + 300 * Math.sin(index / 20)) / 100),
    monotonicMs: millis(index * 100),
    wall: { unixMs: unixMillis(1_800_000_000_000 + index * 100), source: 'ntp', errorBoundMs: millis(8) },
    producerSeq: 100_001 + index,
  }));
}

async function serve(transport: CseTransport): Promise<{ cse: TestbedCse; pointOfAccess: string }> {
  const cse = new TestbedCse({
    ...{ cseId: '/id-mn1', cseBaseName: 'cse-mn1', cseType: CseType.mnCse, adminOriginator: 'CAdmin' },
    ...{ clock, entropy, spId: '//baton.example', transports: [transport] },
  });
  await cse.start();
  return { cse, pointOfAccess: cse.pointsOfAccess[0] ?? '' };
}

/** The way that the gateway's own uplink takes, over whichever binding. */
function wayOver(binding: Binding, connect: () => Promise<void>, close: () => Promise<void>): Way {
  const client = new CseClient({ binding, originator: `S${device}`, entropy, deadlineMs: answerMs });
  return {
    connect: async () => {
      await connect();
      const made = [
        await client.create('cse-mn1', ResourceType.ae, {
          ae: {
            ...{ resourceName: device, appId: 'Nbaton', requestReachability: false },
            supportedReleaseVersions: ['4'],
          },
        }),
        await client.create(`cse-mn1/${device}`, ResourceType.container, {
          container: { resourceName: stream },
        }),
      ];
      for (const outcome of made) if (!outcome.ok) throw new Error(outcome.error.message);
    },
    deliver: async (count, batchMax) => {
      const destination = {
        cseId: cseId('/id-mn1'),
        epoch: epoch(3),
        client,
        aeAddress: `cse-mn1/${device}`,
      };
      const rule = { max: batchMax, spanMs: millis(3_600_000), lateMs: millis(0) };
      const bounds = {
        singlyThrough: seq(0),
        partThrough: Number.POSITIVE_INFINITY,
        runId: '',
        nowMs: millis(0),
      };
      for (let rest = recordsOf(count); rest.length > 0;) {
        const batch = nextBatch(rest, { ...bounds, rule: batchMax === 1 ? undefined : rule });
        if (batch === undefined) throw new Error('nothing is left to send');
        const { outcome } = await sendBatch({
          ...{ clock, stream, batch, destination, answerMs, unit: 'Cel', part: 'live', labels: [] },
          signal: new AbortController().signal,
        });
        if (!outcome.ok) throw new Error(outcome.error.message);
        rest = rest.slice(batch.records.length);
      }
    },
    close,
  };
}

/** CoAP with CBOR, as the gateway does it. */
export async function openCoap(): Promise<Way> {
  const { cse, pointOfAccess } = await serve(new OwnCoapTransport({ network, clock, entropy }));
  const socket = await network.openDatagram({ localAddress: gatewayAddress });
  const endpoint = new CoapEndpoint({ socket, clock, entropy });
  const peer = { address: peerAddress, port: parsePointOfAccess(pointOfAccess)?.port ?? 0 };
  const binding = new CoapBinding({ endpoint, clock, peer, serialisation: 'cbor' });
  return wayOver(
    binding,
    () => Promise.resolve(),
    async () => {
      await endpoint.close();
      await cse.stop();
    },
  );
}

/** MQTT with CBOR, as the gateway does it, through aedes. */
export async function openMqtt(): Promise<Way> {
  const broker = await MqttBroker.open();
  const where = { host: peerAddress, port: broker.port };
  const { cse } = await serve(new MqttTransport({ network, clock, cseId: '/id-mn1', broker: where }));
  const presence = new MqttPresence({
    clock,
    clientId: 'A::Sgw1',
    isTransient: true,
    open: ({ signal }) =>
      MqttSession.open({
        ...{ network, clock, deadlineMs: answerMs, protocolVersion: 4, clean: true, signal },
        endpoint: { ...where, localAddress: gatewayAddress, clientId: 'A::Sgw1' },
      }),
  });
  const binding = new MqttBinding({ presence, clock, cseId: '/id-mn1', serialisation: 'cbor' });
  return wayOver(
    binding,
    async () => {
      const attached = await binding.attach(`S${device}`, { deadlineMs: answerMs });
      if (!attached.ok) throw new Error(attached.error.message);
    },
    async () => {
      await presence.close();
      await cse.stop();
      await broker.close();
    },
  );
}

/**
 * HTTP with JSON as a common client sends it (TS-0009): Node's own client, one request a reading, the whole resource in
 * the answer. The other side is a server that answers as ACME CSE does, and keeps nothing.
 */
export async function openHttp({ isKeptAlive }: { isKeptAlive: boolean }): Promise<Way> {
  const server = createServer((incoming, answer) => {
    void bodyOf(incoming).then((body) => {
      const { con } = (JSON.parse(body) as { 'm2m:cin': { con: unknown } })['m2m:cin'];
      const resource = {
        ...{ con, ri: 'cin8362920574401948', pi: 'cnt372093488200174', rn: 'cin_4Hs81KdLq0' },
        ...{ ct: '20270115T080000,123456', lt: '20270115T080000,123456', et: '20280115T080000,123456' },
        ...{ ty: 4, cs: JSON.stringify(con).length, st: 100_001 },
      };
      answer.writeHead(201, {
        'Content-Type': 'application/json',
        'X-M2M-RSC': '2001',
        'X-M2M-RI': incoming.headers['x-m2m-ri'] ?? '',
        'X-M2M-RVI': '4',
      });
      answer.end(JSON.stringify({ 'm2m:cin': resource }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, peerAddress, resolve));
  const { port } = server.address() as AddressInfo;
  const agent = new Agent({ keepAlive: isKeptAlive, maxSockets: 1 });
  const post = async (record: StoredRecord): Promise<void> => {
    const { v, q, t } = { v: 21.5 + (record.seq % 7) / 100, q: record.seq, t: record.wall.unixMs };
    const body = JSON.stringify({ 'm2m:cin': { con: { v, q, t } } });
    await new Promise<void>((resolve, reject) => {
      const outgoing = httpRequest(
        {
          ...{ host: peerAddress, port, localAddress: gatewayAddress, agent, method: 'POST' },
          path: `/cse-mn1/${device}/${stream}`,
          headers: {
            'X-M2M-Origin': `S${device}`,
            'X-M2M-RI': record.seq.toString(16).padStart(12, '0'),
            'X-M2M-RVI': '4',
            'Content-Type': 'application/json;ty=4',
            'Accept': 'application/json',
            'Content-Length': Buffer.byteLength(body),
          },
        },
        (answer) => void bodyOf(answer).then(() => resolve(), reject),
      );
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  };
  return {
    connect: () => (isKeptAlive ? post(recordsOf(1)[0] as StoredRecord) : Promise.resolve()),
    deliver: async (count) => {
      for (const record of recordsOf(count)) await post(record);
    },
    close: async () => {
      agent.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function bodyOf(message: IncomingMessage): Promise<string> {
  let body = '';
  for await (const chunk of message) body += String(chunk);
  return body;
}
