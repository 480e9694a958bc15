import * as v from 'valibot';
import { bytes, db, millis } from '../base/units.ts';
import type { Bytes, Db, Millis } from '../base/units.ts';
import type { KeyNote } from './schema-tree.ts';

/**
 * The kinds of value that keys of the configuration have, each with its limits, its default and what `baton config
 * explain` says of it. The table of all keys is config-schema.ts.
 */

/** A schema of a value that has a default. */
export type Defaulted<In, Out> = v.OptionalSchema<v.GenericSchema<In, Out>, In>;

/** Ties what is known of a key to its schema. */
export const note = <T>(value: KeyNote): v.MetadataAction<T, { readonly note: KeyNote }> =>
  v.metadata({ note: value });

/** A key with a range of whole numbers. */
export interface RangeNote {
  readonly meaning: string;
  readonly example: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
}

/** A whole number within limits. */
export const whole = (range: RangeNote): v.GenericSchema<number, number> =>
  v.pipe(
    v.number(),
    v.safeInteger(),
    v.minValue(range.min),
    v.maxValue(range.max),
    note<number>({
      expected: `a whole number${range.unit === '' ? '' : ` of ${range.unit}`} from ${range.min} to ${range.max}`,
      meaning: range.meaning,
      example: String(range.example),
      ...(range.unit === '' ? {} : { unit: range.unit }),
    }),
  );

/** Milliseconds with a default. */
export const duration = (
  min: number,
  max: number,
  byDefault: number,
  meaning: string,
): Defaulted<number, Millis> =>
  v.optional(
    v.pipe(whole({ meaning, min, max, example: byDefault, unit: 'ms' }), v.transform(millis)),
    byDefault,
  );

/** Octets with a default. */
export const octets = (
  min: number,
  max: number,
  byDefault: number,
  meaning: string,
): Defaulted<number, Bytes> =>
  v.optional(
    v.pipe(whole({ meaning, min, max, example: byDefault, unit: 'bytes' }), v.transform(bytes)),
    byDefault,
  );

/** One of some numbers, with a default. */
export const among = (
  values: readonly number[],
  unit: string,
  byDefault: number,
  meaning: string,
): Defaulted<number, number> =>
  v.optional(
    v.pipe(
      v.number(),
      v.values(values),
      note<number>({
        expected: `one of ${values.join(', ')}`,
        meaning,
        example: String(byDefault),
        ...(unit === '' ? {} : { unit }),
      }),
    ),
    byDefault,
  );

/** A level difference in steps of half a dB (3GPP TS 38.331 6.3.2). */
export const halfDb = (min: number, max: number, byDefault: number, meaning: string): Defaulted<number, Db> =>
  v.optional(
    v.pipe(
      v.number(),
      v.minValue(min),
      v.maxValue(max),
      v.multipleOf(0.5),
      note<number>({
        expected: `a number of dB from ${min} to ${max} in steps of 0.5`,
        meaning,
        example: String(byDefault),
        unit: 'dB',
      }),
      v.transform(db),
    ),
    byDefault,
  );

/** One of some words. */
export const choice = <const T extends readonly [string, ...string[]]>(
  values: T,
  meaning: string,
): v.GenericSchema<T[number], T[number]> =>
  v.pipe(
    v.picklist(values),
    note<T[number]>({ expected: `one of ${values.join(', ')}`, meaning, example: values[0] }),
  );

/** Text of a pattern. */
export const text = (
  pattern: RegExp,
  expected: string,
  example: string,
  meaning: string,
): v.GenericSchema<string, string> =>
  v.pipe(v.string(), v.regex(pattern), note<string>({ expected, meaning, example }));

/** True or false, with a default. */
export const flag = (byDefault: boolean, meaning: string): Defaulted<boolean, boolean> =>
  v.optional(
    v.pipe(v.boolean(), note<boolean>({ expected: 'true or false', meaning, example: String(byDefault) })),
    byDefault,
  );

/** A name that an operator gives. */
export const name = (example: string, meaning: string): v.GenericSchema<string, string> =>
  text(/^[A-Za-z0-9._-]{1,32}$/u, '1 to 32 letters, digits, dots, hyphens or underscores', example, meaning);

/** A path in the file system. */
export const path = (example: string, meaning: string): v.GenericSchema<string, string> =>
  text(/^[^\p{Cc}]{1,1024}$/u, 'a path of 1 to 1024 characters', example, meaning);

/** A list of one to `max` items. */
export const filled = <Item, Out>(
  item: v.GenericSchema<Item, Out>,
  max: number,
): v.GenericSchema<Item[], Out[]> => v.pipe(v.array(item), v.minLength(1), v.maxLength(max));
