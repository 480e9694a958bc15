// Proves: every entry of the sample collection decodes to the meaning that stands there: to the expectation that was checked
// against it by hand, and, as a check of that, to each level that the meaning states in words; entries whose meaning is
// disputed stand in a table with the reason, none is skipped. `baton radio parse` prints the same, one object a line, in
// order; it reads on after bad lines, names each with its number, and holds no more than its longest line. The maker of a
// modem is found by what the modem says of itself, else by its USB id.
import t from 'tap';
import { readFile } from 'node:fs/promises';
import { parseLineBytesMax, parseStream } from '../../src/gateway/radio-parse.ts';
import { parseReply } from '../../src/radio/parse-reply.ts';
import type { ModemReport, Vendor } from '../../src/radio/modem-report.ts';
import type { CellMeasurement, Metric } from '../../src/radio/radio-sample.ts';
import { vendorOf, vendors } from '../../src/radio/vendor-table.ts';
import { corpusDisputes, corpusExpectations } from './corpus-expectations-table.ts';
import { problemsOf } from './report-checks.ts';

interface Entry {
  readonly id: string;
  readonly vendor: string;
  readonly command: string;
  readonly response: string;
  readonly meaning: string;
}

/** `rat*` serving, mcc-mnc/area/cell/pci@channel:band, rsrp rsrq sinr rssi rscp ecno: `?` suspect, `-` not known, `.` absent. */
function show(cell: CellMeasurement): string {
  const { mcc, mnc, tac = '', cellId = '', pci = '', arfcn = '', band = '' } = cell.identity;
  const levels = [cell.rsrpDbm, cell.rsrqDb, cell.sinrDb, cell.rssiDbm, cell.rscpDbm, cell.ecnoDb];
  const suspects = cell.suspectIdentity === undefined ? '' : ` !${cell.suspectIdentity.join(',')}`;
  const plmn = mcc === undefined ? '' : `${mcc}-${mnc}`;
  return `${cell.rat}${cell.serving ? '*' : ''} ${plmn}/${tac}/${cellId}/${pci}@${arfcn}:${band} ${levels.map(showMetric).join(' ')}${suspects}`;
}

function showMetric(metric: Metric<number> | undefined): string {
  if (metric === undefined) return '.';
  return metric.suspect === true ? '?' : metric.value === undefined ? '-' : String(metric.value);
}

function showMore(report: ModemReport, result: string | undefined): Record<string, string | number> {
  const {
    modemState,
    operator,
    sim,
    failureCause,
    registrations,
    rssiDbm,
    position,
    temperatures,
    contexts,
  } = report;
  const { identity, carriers, antennas, connectionEvaluation: evaluation } = report;
  const more: Record<string, string | number | undefined> = {
    modemState,
    operator,
    sim,
    registration: registrations?.map(({ domain, stat }) => `${domain}:${stat}`).join(' '),
    rssiDbm: (report.cells ?? []).length === 0 ? rssiDbm?.value : undefined,
    position:
      position && `${round(position.latitudeDeg)} ${round(position.longitudeDeg)} ${position.fixTime}`,
    temperaturesC: temperatures?.map(({ temperatureC }) => temperatureC).join(' '),
    contexts: contexts
      ?.map(
        ({ contextId, addresses = [], active }) =>
          `${contextId}:${addresses.length > 0 ? addresses.join(',') : active === true ? 'active' : ''}`,
      )
      .join(' '),
    identity:
      identity &&
      [identity.manufacturer, identity.model, identity.revision].map((part) => part ?? '').join('|'),
    carriers: carriers
      ?.map(
        ({ role, rat, identity: { band, arfcn, pci } }) =>
          `${role.slice(0, 1)}${rat}:${band ?? 'None'}@${arfcn ?? 'None'}/${pci ?? 'None'}`,
      )
      .join(' '),
    antennas: antennas?.map(({ rsrpDbm = [] }) => rsrpDbm.map(showMetric).join(',')).join(' '),
    evaluation:
      evaluation &&
      [
        evaluation.result,
        evaluation.energyEstimate,
        evaluation.coverageLevel,
        evaluation.txPowerDbm,
        evaluation.pathLossDb,
      ].join(' '),
    failureCause,
    result: result?.includes('ERROR') === true ? result : undefined,
  };
  return Object.fromEntries(
    Object.entries(more).filter(
      (pair): pair is [string, string | number] => pair[1] !== undefined && pair[1] !== '',
    ),
  );
}

function round(value: number): number {
  return Number(value.toPrecision(6));
}

/** Levels that a meaning states as `rsrp -104`, `rsrq 65 -> -11.0`: name and value. */
function statedLevels(meaning: string): [name: 'rsrpDbm' | 'rsrqDb' | 'sinrDb' | 'rssiDbm', value: number][] {
  const names = { rsrp: 'rsrpDbm', rsrq: 'rsrqDb', sinr: 'sinrDb', rssi: 'rssiDbm' } as const;
  const levels: [(typeof names)[keyof typeof names], number][] = [];
  for (const [, name = '', , value] of meaning.matchAll(
    /\b(rsrp|rsrq|sinr|rssi) (?:(?:raw |idx )?(\d+) ?(?:->|\() ?)?(-\d+(?:\.\d+)?)/gi,
  ))
    levels.push([names[name.toLowerCase() as keyof typeof names], Number(value)]);
  return levels;
}

const corpusFile = new URL('../../../../shared/corpus/at/vendor.jsonl', import.meta.url);
const corpusText = await readFile(corpusFile, 'utf8').catch(() => undefined);

await t.test('every entry of the sample collection', (t) => {
  if (corpusText === undefined) {
    t.pass(`not run: the sample collection ${corpusFile.pathname} is not on this machine`);
    t.end();
    return;
  }
  const entries = corpusText
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry);
  let stated = 0;
  for (const { id, vendor, command, response, meaning } of entries) {
    const expected = corpusExpectations[id];
    const { report, result } = parseReply({ vendor: vendor as Vendor, command, response });
    if (expected === undefined) t.fail(`${id} has no expectation`);
    t.same((report.cells ?? []).map(show), expected?.cells ?? [], `${id}: cells`);
    t.same(showMore(report, result), expected?.more ?? {}, `${id}: the rest`);
    t.same(problemsOf(report, response), [], `${id}: nothing invented`);
    if (
      corpusDisputes[id] !== undefined ||
      /RX2|QENG at the same|QENG in the same|\^MONSC at the time|good \(|allowed/.test(meaning)
    )
      continue;
    for (const [name, value] of statedLevels(meaning)) {
      const values = [...(report.cells ?? []), ...(report.carriers ?? [])].map(
        (cell) => (cell as Partial<CellMeasurement>)[name]?.value,
      );
      if (!values.includes(value as never))
        t.fail(`${id}: ${name} ${value} is stated, read was ${values.join(', ')}`);
      stated++;
    }
  }
  t.ok(entries.length >= 274 && stated >= 25, `${entries.length} entries, ${stated} levels stated in words`);
  for (const id of Object.keys(corpusDisputes))
    t.ok(
      entries.some((entry) => entry.id === id),
      `${id} is disputed with a reason`,
    );
  t.end();
});

async function parseLines(
  chunks: readonly (string | Uint8Array)[],
  vendor?: Vendor,
): Promise<{ out: string[]; err: string[]; bad: number; lines: number }> {
  const out: string[] = [];
  const err: string[] = [];
  async function* input(): AsyncGenerator<Uint8Array> {
    for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
  }
  const counts = await parseStream({
    input: input(),
    vendor,
    stdout: { write: (text) => void out.push(text), isBroken: false },
    stderr: { write: (text) => void err.push(text) },
  });
  return {
    out: out
      .join('')
      .split('\n')
      .filter((line) => line !== ''),
    err,
    ...counts,
  };
}

await t.test('baton radio parse', async (t) => {
  const line = JSON.stringify({ id: 'x', command: 'AT+CESQ', response: '+CESQ: 99,99,255,255,20,98' });
  const { out, err, bad } = await parseLines([
    `${line}\r\n\n{"command": 3}\n[]\nnonsense\n{"command":"AT"}\n`,
    '{"vendor":"quektel","command":"","response":""}\n',
    `${line.slice(0, 20)}`,
    `${line.slice(20)}\n${'x'.repeat(parseLineBytesMax + 10)}\n${line}`,
  ]);
  t.equal(out.length, 3, 'good lines before, between and after bad ones; the last without an end');
  t.match(JSON.parse(out[0] ?? ''), {
    line: 1,
    id: 'x',
    vendor: null,
    understood: ['+CESQ'],
    rsrpDbm: null,
    rsrqDb: -10,
    pci: null,
    suspect: ['rsrpDbm'],
    cells: [],
  });
  t.match(JSON.parse(out[2] ?? ''), { line: 10 });
  t.equal(bad, 6);
  const reasons = [
    /^line 3: "response" is missing/,
    /^line 4: no object/,
    /^line 5: no JSON/,
    /^line 6: "response"/,
    /^line 7: vendor "quektel" is unknown, did you mean "quectel"/,
    /^line 9: longer than 262144 bytes/,
  ];
  for (const [index, reason] of reasons.entries()) t.match(err[index], reason);
  const serving = {
    vendor: 'quectel',
    command: 'AT+QENG="servingcell"',
    response:
      '+QENG: "servingcell","NOCONN","LTE","FDD",262,01,1A2B3C4,123,1300,3,5,5,1A2B,-95,-11,-63,255,30',
  };
  const cell = JSON.parse((await parseLines([JSON.stringify(serving)])).out[0] ?? '') as object;
  t.match(cell, {
    rat: 'lte', mcc: '262', mnc: '01', tac: 0x1a2b, cellId: 0x1a2b3c4, pci: 123, arfcn: 1300, band: 3,
    rsrpDbm: -95, rsrqDb: -11, rssiDbm: -63, sinrDb: null, rscpDbm: null, suspect: ['sinrDb'], modemState: 'idle', operator: null,
    cells: [{ serving: true, identity: { mcc: '262' }, rsrpDbm: { value: -95, raw: '-95', suspect: false }, sinrDb: { value: null, raw: '255', suspect: true }, ecnoDb: null }],
  }); // prettier-ignore
  const nordic = JSON.stringify({ command: 'AT+CESQ', response: '+CESQ: 99,99,255,255,31,62' });
  t.match(
    JSON.parse((await parseLines([nordic], 'nordic')).out[0] ?? ''),
    { rsrpDbm: -78 },
    '--vendor is for lines that name none',
  );
  t.match(JSON.parse((await parseLines([nordic])).out[0] ?? ''), { rsrpDbm: -79 });
  if (corpusText !== undefined) {
    const all = await parseLines([corpusText]);
    t.equal(
      all.out.length,
      corpusText.trim().split('\n').length,
      'one object for each entry of the sample collection',
    );
    t.equal(all.bad, 0);
  }
});

await t.test('makers', (t) => {
  const rows: readonly (readonly [string, string, string | undefined, Vendor])[] = [
    ['Quectel', 'RM500U-CNV', undefined, 'quectel'],
    ['', 'EC25', undefined, 'quectel'],
    ['QUALCOMM INCORPORATED', '0', '2c7c', 'quectel'],
    ['SIMCOM INCORPORATED', 'SIMCOM_SIM7600E', undefined, 'simcom'],
    ['', 'A7672E-FASE', undefined, 'simcom'],
    ['u-blox', 'SARA-R510S', undefined, 'ublox'],
    ['Sierra Wireless, Incorporated', 'EM9191', undefined, 'sierra'],
    ['Telit', 'LM960A18', undefined, 'telit'],
    ['huawei', 'E398', undefined, 'huawei'],
    ['Fibocom Wireless Inc.', 'FM350-GL', '0e8d', 'fibocom'],
    ['Nordic Semiconductor ASA', 'nRF9160-SICA', undefined, 'nordic'],
    ['', 'Air724UG', undefined, 'openluat'],
    ['Baton', 'Test modem', undefined, 'generic'],
    ['', '', 'ffff', 'generic'],
  ];
  for (const [manufacturer, model, usb, expected] of rows)
    t.equal(vendorOf({ manufacturer, model }, usb), expected, `${manufacturer} ${model} ${usb ?? ''}`);
  t.equal(vendors.length, 11);
  t.end();
});
