// Octets on the wire for each reading that a CSE has taken and confirmed, both directions together.
//
//   npm run bench -- wire [--check] [--json]
//
// A stream of numbers with two decimals is delivered over loopback, one request after the other, from an address of its
// own, by the gateway's own code over CoAP and MQTT (through aedes), and by Node's HTTP client as a common client does it.
// All IP packets from and to that address are read at the interface and the lengths in their IP headers are added up: UDP,
// TCP and IP headers, acknowledgements and handshakes are in it, headers of a link are not. What the connection costs
// (for CoAP and MQTT with the AE and the container that are made over it, for HTTP with one request) stands beside it. Needs root and python3; exit
// code 2 where packets may not be read. --check ends with 1 when a bound is missed.
import { parseArgs } from 'node:util';
import { OctetCounter } from './wire/octet-counter.ts';
import { gatewayAddress, openCoap, openHttp, openMqtt } from './wire/ways.ts';
import type { Way } from './wire/ways.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, check: { type: 'boolean', default: false } },
});
/** Whole batches of each size. */
const readings = 1920;

interface Row {
  readonly way: string;
  readonly octets: number;
  readonly up: number;
  readonly down: number;
  readonly packets: number;
  readonly connectOctets: number;
}

const ways: readonly (readonly [way: string, open: () => Promise<Way>, batchMax: number])[] = [
  ['HTTP/JSON, a connection each', () => openHttp({ isKeptAlive: false }), 1],
  ['HTTP/JSON, kept alive', () => openHttp({ isKeptAlive: true }), 1],
  ['MQTT/CBOR', openMqtt, 1],
  ['MQTT/CBOR, batches of 8', openMqtt, 8],
  ['MQTT/CBOR, batches of 16', openMqtt, 16],
  ['MQTT/CBOR, batches of 64', openMqtt, 64],
  ['CoAP/CBOR', openCoap, 1],
  ['CoAP/CBOR, batches of 8', openCoap, 8],
  ['CoAP/CBOR, batches of 16', openCoap, 16],
  ['CoAP/CBOR, batches of 64', openCoap, 64],
];

const counter = await OctetCounter.open(gatewayAddress).catch((error: unknown) => {
  console.error(`NOT RUN: packets cannot be read here: ${String(error)}; run it as root, with python3`);
  process.exit(2);
});
const rows: Row[] = [];
for (const [way, open, batchMax] of ways) rows.push(await measure(way, await open(), batchMax));
counter.close();

const of = (name: string): number => rows.find(({ way }) => way === name)?.octets ?? Number.NaN;
const bounds = [
  bound('CoAP/CBOR, share of HTTP/JSON kept alive', of('CoAP/CBOR') / of('HTTP/JSON, kept alive'), 0.35),
  bound(
    'CoAP/CBOR in batches of 16, share of CoAP/CBOR',
    of('CoAP/CBOR, batches of 16') / of('CoAP/CBOR'),
    0.2,
  ),
  bound(
    'MQTT/CBOR in batches of 16, share of MQTT/CBOR',
    of('MQTT/CBOR, batches of 16') / of('MQTT/CBOR'),
    0.2,
  ),
];
if (values.json) console.log(JSON.stringify({ readings, rows, bounds }));
else print();
const missed = bounds.filter(({ isMet }) => !isMet);
for (const { name, value, limit } of values.check ? missed : []) {
  console.error(`missed: ${name}: ${value} instead of at most ${limit}`);
}
process.exit(values.check && missed.length > 0 ? 1 : 0);

function bound(name: string, exact: number, limit: number) {
  const value = Math.round(exact * 1000) / 1000;
  return { name, value, limit, isMet: value <= limit };
}

async function measure(way: string, open: Way, batchMax: number): Promise<Row> {
  const start = await counter.read();
  await open.connect();
  const connected = await counter.read();
  await open.deliver(readings, batchMax);
  const end = await counter.read();
  await open.close();
  await counter.read();
  const each = (total: number): number => Math.round((total / readings) * 10) / 10;
  const up = end.up - connected.up;
  const down = end.down - connected.down;
  return {
    way,
    ...{ octets: each(up + down), up: each(up), down: each(down) },
    packets: Math.round(((end.packets - connected.packets) / readings) * 100) / 100,
    connectOctets: connected.up + connected.down - start.up - start.down,
  };
}

function print(): void {
  console.log(`octets for each of ${readings} readings, IP headers included`);
  console.log(`${''.padEnd(30)}  octets      up    down  packets  connection`);
  for (const { way, octets, up, down, packets, connectOctets } of rows) {
    const figures = [octets, up, down].map((value) => value.toFixed(1).padStart(6)).join('  ');
    const rest = `${packets.toFixed(2).padStart(7)}  ${String(connectOctets).padStart(10)}`;
    console.log(`${way.padEnd(30)}  ${figures}  ${rest}`);
  }
  for (const { name, value, limit, isMet } of bounds) {
    console.log(`${isMet ? 'met   ' : 'MISSED'} ${name}: ${value} <= ${limit}`);
  }
}
