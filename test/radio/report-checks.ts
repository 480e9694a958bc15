import type { ModemReport } from '../../src/radio/modem-report.ts';
import type { CellIdentity, CellMeasurement, Metric } from '../../src/radio/radio-sample.ts';

type Levels = Partial<
  Record<'rsrpDbm' | 'rsrqDb' | 'sinrDb' | 'rssiDbm' | 'rscpDbm' | 'ecnoDb' | 'rssnrDb', Metric<number>>
>;

/**
 * What is wrong with a report, whatever reply it was read from: a value outside what the quantity can be, a value that is
 * suspect at once, a sentinel taken for a level, and a value or a code that is nowhere in the reply.
 */
export function problemsOf(report: ModemReport, reply: string): string[] {
  const problems: string[] = [];
  const text = plain(reply);
  const complain = (what: string): void => void problems.push(what);
  for (const cell of report.cells ?? []) {
    checkLevels(cell, cell.rat === 'nr', text, complain);
    checkIdentity(cell.identity, cell.rat, text, complain);
    for (const part of cell.suspectIdentity ?? [])
      if (cell.identity[part] !== undefined) complain(`${part} is suspect and there`);
  }
  for (const carrier of report.carriers ?? []) {
    checkLevels(carrier, carrier.rat === 'nr', text, complain);
    checkIdentity(carrier.identity, carrier.rat ?? 'nr', text, complain);
    if ((carrier.bandwidthMhz ?? 1) < 1 || (carrier.bandwidthMhz ?? 1) > 400)
      complain(`bandwidth ${carrier.bandwidthMhz}`);
  }
  for (const { rat, ...antenna } of report.antennas ?? []) {
    for (const [name, metrics] of Object.entries(antenna))
      for (const metric of metrics) checkLevels({ [name]: metric }, rat === 'nr', text, complain);
  }
  const { ssRsrpDbm, ssRsrqDb, ssSinrDb, rxlevDbm, ...lte } = report.signalQuality ?? {};
  checkLevels(lte, false, text, complain);
  const nr = { rsrpDbm: ssRsrpDbm, rsrqDb: ssRsrqDb, sinrDb: ssSinrDb };
  checkLevels(definedOf(nr), true, text, complain);
  checkLevels(definedOf({ rssiDbm: rxlevDbm }), false, text, complain);
  checkLevels(definedOf({ rssiDbm: report.rssiDbm }), false, text, complain);
  for (const { tac, cellId } of report.registrations ?? []) {
    if ((tac ?? 0) > 0xfffffe || (cellId ?? 0) > 0xffffffffe) complain(`registration ${tac} ${cellId}`);
  }
  for (const { temperatureC } of report.temperatures ?? [])
    if (!(temperatureC >= -60 && temperatureC <= 150)) complain(`temperature ${temperatureC}`);
  const { position } = report;
  if (position !== undefined) {
    if (!(Math.abs(position.latitudeDeg) <= 90 && Math.abs(position.longitudeDeg) <= 180))
      complain('position off the globe');
    for (const [name, value] of Object.entries(position))
      if (typeof value === 'number' && !Number.isFinite(value)) complain(`${name} ${value}`);
  }
  return problems;
}

/** Without what tears a field apart or quotes it. */
function plain(text: string): string {
  return text.toLowerCase().replace(/[\s"\u201c\u201d\p{Cc}]/gu, '');
}

function definedOf(levels: Readonly<Record<string, Metric<number> | undefined>>): Levels {
  return Object.fromEntries(Object.entries(levels).filter(([, metric]) => metric !== undefined));
}

/** Lowest and highest of each level: those of the indices and those of the printed numbers together. */
const bounds: Readonly<Record<keyof Levels, readonly [number, number]>> = {
  rsrpDbm: [-157, -31],
  rsrqDb: [-43.5, 20],
  sinrDb: [-24, 40],
  rssiDbm: [-125, -20],
  rscpDbm: [-121, -24],
  ecnoDb: [-32.5, 0],
  rssnrDb: [-24, 40],
};

function checkLevels(
  levels: Levels | CellMeasurement,
  isNr: boolean,
  text: string,
  complain: (what: string) => void,
): void {
  for (const name of Object.keys(bounds) as (keyof Levels)[]) {
    const metric = (levels as Levels)[name];
    if (metric === undefined) continue;
    const { value, raw, suspect } = metric;
    if (!text.includes(plain(raw))) complain(`${name}: "${raw}" is not in the reply`);
    if (value === undefined) continue;
    const [min, max] = bounds[name];
    if (!(value >= min && value <= max)) complain(`${name} ${value}`);
    if (name === 'rsrpDbm' && !isNr && (value < -157 || value > -43)) complain(`LTE RSRP ${value}`);
    if (suspect === true) complain(`${name} ${value} is suspect`);
    if (Object.is(value, -0)) complain(`${name} is negative zero`);
    if (name === 'rsrpDbm' && /^-(?:140|44|32768|3276)$/.test(raw)) complain(`${name}: sentinel ${raw}`);
  }
}

function checkIdentity(
  identity: CellIdentity,
  rat: string,
  text: string,
  complain: (what: string) => void,
): void {
  const { mcc, mnc, tac, cellId, pci, arfcn, band } = identity;
  if (mcc !== undefined && (!/^\d{3}$/.test(mcc) || mcc === '000')) complain(`mcc ${mcc}`);
  if (mnc !== undefined && !/^\d{2,3}$/.test(mnc)) complain(`mnc ${mnc}`);
  if (tac !== undefined && !(tac > 0 && tac <= (rat === 'nr' || rat === 'lte' ? 0xfffffe : 0xfffd)))
    complain(`tac ${tac}`);
  if (cellId !== undefined && !(cellId >= 0 && cellId <= (rat === 'nr' ? 0xffffffffe : 0xffffffe)))
    complain(`cell ${cellId}`);
  if (pci !== undefined && !(pci >= 0 && pci <= (rat === 'nr' ? 1007 : 511))) complain(`pci ${pci}`);
  if (band !== undefined && !(band >= 1 && band <= 1024)) complain(`band ${band}`);
  for (const [name, code] of Object.entries({ tac, cellId, pci, arfcn })) {
    if (code === undefined) continue;
    if (!text.includes(String(code)) && !text.includes(code.toString(16)))
      complain(`${name} ${code} is not in the reply`);
  }
}
