import type { RadioPosition } from './radio-sample.ts';
import { present, readDecimal, readWhole } from './reply-fields.ts';
import type { Field } from './reply-fields.ts';

/** A fix as fields of a reply; latitude and longitude in any of the forms that modems print. */
export interface FixFields {
  readonly latitude: Field | undefined;
  readonly longitude: Field | undefined;
  /** Hemispheres where they stand in fields of their own. */
  readonly northSouth?: Field | undefined;
  readonly eastWest?: Field | undefined;
  readonly altitude?: Field | undefined;
  readonly speedKmh?: Field | undefined;
  readonly speedKnots?: Field | undefined;
  readonly course?: Field | undefined;
  readonly hdop?: Field | undefined;
  readonly satellites?: Field | undefined;
  /** `hhmmss.sss`. */
  readonly time?: Field | undefined;
  /** `ddmmyy`, or `yyyymmdd`. */
  readonly date?: Field | undefined;
}

const kmhPerKnot = 1.852;

/**
 * The position of a fix; undefined without one, and when a coordinate lies beyond the globe. Coordinates are signed
 * degrees, degrees with a hemisphere, or degrees and minutes as in NMEA (`1234.5678S`).
 */
export function readFix(fields: FixFields): RadioPosition | undefined {
  const latitudeDeg = readCoordinate(fields.latitude, fields.northSouth, 90);
  const longitudeDeg = readCoordinate(fields.longitude, fields.eastWest, 180);
  if (latitudeDeg === undefined || longitudeDeg === undefined) return undefined;
  // Receivers without a fix print zeros.
  if (latitudeDeg === 0 && longitudeDeg === 0) return undefined;
  const knots = readDecimal(fields.speedKnots, 0, 2000);
  return {
    latitudeDeg,
    longitudeDeg,
    ...present({
      altitudeM: readDecimal(fields.altitude, -1000, 50_000),
      speedKmh:
        readDecimal(fields.speedKmh, 0, 4000) ??
        (knots === undefined ? undefined : Math.round(knots * kmhPerKnot * 1000) / 1000),
      courseDeg: readDecimal(fields.course, 0, 360),
      hdop: readDecimal(fields.hdop, 0, 99),
      satellites: readWhole(fields.satellites, 0, 99),
      fixTime: readTime(fields.date, fields.time),
    }),
  };
}

function readCoordinate(
  field: Field | undefined,
  hemisphere: Field | undefined,
  max: number,
): number | undefined {
  const parts = /^([+-]?)(\d{1,5})(\.\d{1,10})?\s*([NSEW]?)$/i.exec(field?.text ?? '');
  if (parts === null) return undefined;
  const [, sign = '', digits = '', fraction = '', side = ''] = parts;
  // Degrees have at most two (three) digits before the point; more of them are degrees and minutes.
  const isMinutes = digits.length > (max === 90 ? 2 : 3);
  const magnitude = isMinutes
    ? Number(digits.slice(0, -2)) + Number(digits.slice(-2) + fraction) / 60
    : Number(digits + fraction);
  if ((isMinutes && Number(digits.slice(-2)) >= 60) || magnitude > max) return undefined;
  const mark = side === '' ? (hemisphere?.text ?? '') : side;
  if (mark !== '' && !(max === 90 ? /^[NS]$/i : /^[EW]$/i).test(mark)) return undefined;
  const value = sign === '-' || /^[SW]$/i.test(mark) ? -magnitude : magnitude;
  return Math.round(value * 1e7) / 1e7 + 0;
}

function readTime(date: Field | undefined, time: Field | undefined): string | undefined {
  const day = /^(\d{2})(\d{2})(\d{2})$/.exec(date?.text ?? '');
  const long = /^(20\d{2})(\d{2})(\d{2})$/.exec(date?.text ?? '');
  const clock = /^(\d{2})(\d{2})(\d{2})(?:\.(\d{1,3})\d*)?$/.exec(time?.text ?? '');
  if ((day ?? long) === null || clock === null) return undefined;
  const [year, month, dayOfMonth] =
    long === null ? [`20${day?.[3]}`, day?.[2], day?.[1]] : [long[1], long[2], long[3]];
  const [, hours, minutes, seconds, milliseconds = '0'] = clock;
  const text = `${year}-${month}-${dayOfMonth}T${hours}:${minutes}:${seconds}.${milliseconds.padEnd(3, '0')}Z`;
  const unixMs = Date.parse(text);
  // `Date` moves the 31st of a short month on; such a date is none.
  return Number.isNaN(unixMs) || new Date(unixMs).toISOString() !== text ? undefined : text;
}
