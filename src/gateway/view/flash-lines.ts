import type { CardStatus, DiskStatus, FlashStatus, GatewayStatus } from '../status.ts';
import { bytesText, shortNumber } from './format.ts';
import { safe, span } from './line.ts';
import type { Line, Span } from './line.ts';

/** What the buffer has left and what it costs the card: space, octets written, projected life. */
export function flashLines({ buffer, flash }: GatewayStatus): Line[] {
  const { hoursUntilFull, outageHours, capacityBytes } = buffer;
  const space: Line = [
    span(`  space ${bytesText(capacityBytes)}`),
    span(
      hoursUntilFull === undefined
        ? '  no rate yet'
        : `  full in ${hoursText(hoursUntilFull)} without delivery, empty it would last ${hoursText(outageHours)}`,
      hoursUntilFull === undefined ? 'dim' : undefined,
    ),
  ];
  if (flash === undefined) return [space];
  const { disk, card } = flash;
  return [space, writtenLine(flash), ...diskLines(disk), ...(card === undefined ? [] : cardLines(card))];
}

function writtenLine(flash: FlashStatus): Line {
  const { deviceBytes, payloadBytes, writeAmplification, slotsAside } = flash;
  const times = writeAmplification === undefined ? '' : `, ${shortNumber(writeAmplification)} times`;
  return [
    span(`  flash ${bytesText(deviceBytes)} written for ${bytesText(payloadBytes)} of readings${times}`),
    span(rateText(flash), 'dim'),
    span(slotsAside > 0 ? `  ${shortNumber(slotsAside)} slots set aside after failed writes` : '', 'bad'),
  ];
}

function diskLines(disk: DiskStatus): Line[] {
  if (disk.type === 'unknown') return [[span(`  disk unknown: ${safe(disk.reason ?? '', 200)}`, 'dim')]];
  const parts = [disk.name, disk.type === 'other' ? undefined : disk.type, disk.model];
  const name = parts.filter((part) => part !== undefined).map((part) => safe(part, 32));
  const first: Line = [span(`  disk ${name.join(' ')} ${bytesText(disk.sizeBytes ?? 0)}`)];
  const written: Line = [
    span(`    ${bytesText(disk.writtenBytes ?? 0)} written since ${dateText(disk.sinceUnixMs)}`),
    span(rateText(disk), 'dim'),
  ];
  const wear = wearSpans(disk);
  return [first, ...(disk.writtenBytes === undefined ? [] : [written]), ...(wear.length === 0 ? [] : [wear])];
}

function wearSpans({ lifeTime, preEol }: DiskStatus): Span[] {
  const used = Math.max(lifeTime?.typeA ?? 0, lifeTime?.typeB ?? 0);
  const text = used > 10 ? 'life time exceeded' : `at most ${shortNumber(10 * used)} % of its life used`;
  return [
    ...(used === 0 ? [] : [span(`    ${text}`, used >= 10 ? 'bad' : 'good')]),
    ...(preEol === undefined ? [] : [span(`    reserve ${preEol}`, preEol === 'normal' ? 'good' : 'bad')]),
  ];
}

function cardLines(card: CardStatus): Line[] {
  const { years, yearsOverall, wornShare, enduranceCycles, nandFactor, basis, capacityBytes } = card;
  const projected = years ?? yearsOverall;
  const rate = years === undefined ? 'mean' : 'present';
  const life =
    projected === undefined ? 'not known yet' : `${yearsText(projected)} at the ${rate} rate of the ${basis}`;
  const worn = wornShare === undefined ? '' : `${shareText(wornShare)} used so far, `;
  return [
    [span(`  card life ${life}`)],
    [
      span(
        `    ${worn}if ${bytesText(capacityBytes)} take ${shortNumber(enduranceCycles)} cycles at factor ${shortNumber(nandFactor)}`,
        'dim',
      ),
    ],
  ];
}

function rateText(rates: { readonly bytesPerDay?: number; readonly bytesPerDayOverall?: number }): string {
  const rate = rates.bytesPerDay ?? rates.bytesPerDayOverall;
  return rate === undefined ? '' : `  ${bytesText(rate)}/day`;
}

/** Hours for people: `0.4 h`, `52 h`, `12 days`. */
function hoursText(hours: number | undefined): string {
  if (hours === undefined || !Number.isFinite(hours)) return '-';
  if (hours >= 96) return `${shortNumber(Math.floor(hours / 24))} days`;
  return hours < 10 ? `${hours.toFixed(1)} h` : `${Math.floor(hours)} h`;
}

function yearsText(years: number | undefined): string {
  if (years === undefined || !Number.isFinite(years)) return '-';
  if (years > 100) return 'more than 100 years';
  return years < 1 ? `${Math.max(0, Math.floor(years * 365))} days` : `${years.toFixed(1)} years`;
}

function shareText(share: number): string {
  const percent = 100 * share;
  return percent > 0 && percent < 0.1 ? 'less than 0.1 %' : `${shortNumber(percent)} %`;
}

function dateText(unixMs = Number.NaN): string {
  const date = new Date(unixMs);
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString().slice(0, 10);
}
