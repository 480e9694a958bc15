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
  return [
    space,
    writtenLine(flash),
    diskLine(flash.disk),
    ...(flash.card === undefined ? [] : [cardLine(flash.card)]),
  ];
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

function diskLine(disk: DiskStatus): Line {
  if (disk.type === 'unknown') return [span(`  disk unknown: ${safe(disk.reason ?? '', 200)}`, 'dim')];
  const model = disk.model === undefined ? '' : ` ${safe(disk.model, 40)}`;
  const since = disk.sinceUnixMs === undefined ? '' : ` since ${dateText(disk.sinceUnixMs)}`;
  const written = disk.writtenBytes === undefined ? '' : `, ${bytesText(disk.writtenBytes)} written${since}`;
  return [
    span(
      `  disk ${safe(disk.name ?? '', 32)} ${disk.type}${model} ${bytesText(disk.sizeBytes ?? 0)}${written}`,
    ),
    span(rateText(disk), 'dim'),
    ...wearSpans(disk),
  ];
}

function wearSpans({ lifeTime, preEol }: DiskStatus): Span[] {
  const used = Math.max(lifeTime?.typeA ?? 0, lifeTime?.typeB ?? 0);
  const text = used > 10 ? 'life time exceeded' : `${shortNumber(10 * used)} % of its life used at most`;
  return [
    span(used === 0 ? '' : `  ${text}`, used >= 10 ? 'bad' : 'good'),
    span(preEol === undefined ? '' : `  reserve ${preEol}`, preEol === 'normal' ? 'good' : 'bad'),
  ];
}

function cardLine(card: CardStatus): Line {
  const { years, yearsOverall, wornShare, enduranceCycles, nandFactor, basis } = card;
  const life =
    (years ?? yearsOverall) === undefined
      ? 'no rate yet'
      : `about ${yearsText(years ?? yearsOverall)} at the ${years === undefined ? 'mean' : 'present'} rate of the ${basis}`;
  const worn = wornShare === undefined ? '' : `, ${shareText(wornShare)} used since installed`;
  return [
    span(`  card life ${life}${worn}`),
    span(
      `  if ${bytesText(card.capacityBytes)} take ${shortNumber(enduranceCycles)} cycles at factor ${shortNumber(nandFactor)}`,
      'dim',
    ),
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

function dateText(unixMs: number): string {
  const date = new Date(unixMs);
  return Number.isNaN(date.getTime()) ? '-' : date.toISOString().slice(0, 10);
}
