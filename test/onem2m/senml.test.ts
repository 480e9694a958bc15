// Proves SenML-CBOR: the example of RFC 8428 section 6 is read, and written as short, its base fields resolved as in 5.1.3; packs
// written by the kpn-senml package for Python are read; what we write is what hand encoding gives, floats in their shortest
// exact form; malformed packs are refused with the reason; and whatever is encoded comes back.
import * as fc from 'fast-check';
import t from 'tap';
import { DecodeError, EncodeError } from '../../src/base/errors.ts';
import { decodeSenml, encodeSenml, nearestHalf, resolveSenml } from '../../src/onem2m/senml.ts';
import type { SenmlRecord } from '../../src/onem2m/senml.ts';

const octets = (hex: string): Uint8Array => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const hexOf = (pack: readonly SenmlRecord[]): string => Buffer.from(encodeSenml(pack)).toString('hex');

/** RFC 8428 section 6. */
const exampleHex =
  '87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b0010622361412005' +
  '0067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333' +
  'a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666' +
  'a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999a' +
  'a3006763757272656e74060002fb3ffb333333333333';

void t.test('the example of the standard', (t) => {
  const pack = decodeSenml(octets(exampleHex));
  t.same(pack[0], {
    baseName: 'urn:dev:ow:10e2073a0108006:',
    baseTime: 1276020076.001,
    baseUnit: 'A',
    baseVersion: 5,
    name: 'voltage',
    unit: 'V',
    value: 120.1,
  });
  t.same(pack[1], { name: 'current', time: -5, value: 1.2 });
  t.equal(pack.length, 7);
  const resolved = resolveSenml(pack);
  t.same(resolved[0], {
    name: 'urn:dev:ow:10e2073a0108006:voltage',
    unit: 'V',
    time: 1276020076.001,
    value: 120.1,
  });
  t.same(resolved[6], {
    name: 'urn:dev:ow:10e2073a0108006:current',
    unit: 'A',
    time: 1276020076.001,
    value: 1.7,
  });
  t.equal(hexOf(pack).length, exampleHex.length, 'as short as theirs, though the keys have another order');
  t.same(decodeSenml(encodeSenml(pack)), pack);
  t.end();
});

void t.test('what another implementation writes', (t) => {
  // kpn-senml 1.0.1 (PyPI): SenmlPack('gw1/temperature') with base time and unit, a number, a text at 1, a truth value at 2.
  const hex =
    '83a402fb4035800000000000216f6777312f74656d7065726174757265236343656c221a6b49d200' +
    'a2036178063a6b49d1fea204f5063a6b49d1fd';
  const pack = resolveSenml(decodeSenml(octets(hex)));
  t.match(pack, [
    { name: 'gw1/temperature', time: 1_800_000_000, unit: 'Cel', value: 21.5 },
    { name: 'gw1/temperature', time: 1, stringValue: 'x' },
    { name: 'gw1/temperature', time: 2, booleanValue: true },
  ]);
  t.end();
});

void t.test('what is written', (t) => {
  const rows: readonly (readonly [SenmlRecord, string])[] = [
    [{ value: 21.5 }, '81 a1 02 f94d60'],
    [{ value: 0.1 }, '81 a1 02 fb3fb999999999999a'],
    [{ value: 3.4028234663852886e38 }, '81 a1 02 fa7f7fffff'],
    [{ value: 65504.5 }, '81 a1 02 fa477fe080'],
    [{ value: -7 }, '81 a1 02 26'],
    [{ value: 100_000 }, '81 a1 02 1a000186a0'],
    [{ value: 2 ** 40 }, '81 a1 02 1b0000010000000000'],
    [{ baseTime: 1_800_000_000, time: 0.125 }, '81 a2 22 1a6b49d200 06 f93000'],
    [{ stringValue: 'é', extensions: { be: 3 } }, '81 a2 03 62c3a9 62 6265 03'],
    [{ dataValue: Uint8Array.of(0x80) }, '81 a1 08 41 80'],
    [{ booleanValue: false, name: 'x' }, '81 a2 00 6178 04 f4'],
  ];
  for (const [record, hex] of rows) {
    t.equal(hexOf([record]), hex.replaceAll(' ', ''), JSON.stringify(record));
    t.same(decodeSenml(octets(hex)), [record]);
  }
  t.throws(() => encodeSenml([{ value: Number.NaN }]), EncodeError);
  t.end();
});

void t.test('what is refused', (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    ['80', /filled array/],
    ['a0', /filled array/],
    ['8101', /is no map/],
    ['81a10261 78', /value of record 0/],
    ['81a1626d5f01', /m_ .*must be understood/],
    ['81a1c00101', /a map key that is not text/],
    ['81a1', /truncated|beyond the end/],
    ['81a10201 00', /after the end/],
    ['9f', /indefinite/],
  ];
  for (const [hex, reason] of rows) {
    t.throws(() => decodeSenml(octets(hex)), DecodeError, hex);
    t.throws(() => decodeSenml(octets(hex)), { message: reason }, hex);
  }
  t.throws(() => resolveSenml([{ baseVersion: 11, value: 1 }]), { message: /version 11/ });
  t.same(
    resolveSenml(decodeSenml(octets('81a2 1820 01 02 05'))),
    [{ name: '', time: 0, value: 5 }],
    'unknown labels',
  );
  t.end();
});

void t.test('base value and base sum', (t) => {
  const pack = resolveSenml([
    { baseValue: 20, baseSum: 5, baseName: 'a/', name: 'b', value: 1.5, sum: 2 },
    { name: 'c' },
    { baseValue: 0, name: 'd', stringValue: 'x' },
  ]);
  t.same(pack, [
    { name: 'a/b', time: 0, value: 21.5, sum: 7 },
    { name: 'a/c', time: 0, value: 20, sum: 5 },
    { name: 'a/d', time: 0, stringValue: 'x', sum: 5 },
  ]);
  t.end();
});

void t.test('everything comes back', (t) => {
  const number = fc
    .double({ noNaN: true, noDefaultInfinity: true })
    .map((value) => (value === 0 ? 0 : value));
  const record = fc.record(
    {
      baseName: fc.string(),
      baseTime: number,
      value: fc.oneof(number, fc.maxSafeInteger()),
      stringValue: fc.string(),
      booleanValue: fc.boolean(),
      dataValue: fc.uint8Array({ maxLength: 300 }),
      time: number,
      extensions: fc.record({ be: fc.maxSafeInteger() }),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 40 }), (pack) => {
      t.same(decodeSenml(encodeSenml(pack)), pack);
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 60_000, noNaN: true }), (value) => {
      const half = nearestHalf(value);
      return Math.abs(half - value) <= value / 2048 && encodeSenml([{ value: half }]).length <= 6;
    }),
  );
  t.end();
});
