/** What is known of one key. */
export interface KeyNote {
  /** What a value must be, as it completes "is not …": `a whole number of ms from 100 to 60000`. */
  readonly expected: string;
  readonly meaning: string;
  /** A value that is valid. */
  readonly example: string;
  readonly unit?: string;
}

/** A node of the schema: a group of keys, a list, or a single value. */
export interface SchemaNode {
  readonly kind: 'group' | 'list' | 'value';
  readonly note?: KeyNote;
  /** The default as JSON; undefined for a key that must or may be given. */
  readonly byDefault?: string;
  readonly isOptional: boolean;
  /** Keys of a group. */
  readonly keys: ReadonlyMap<string, SchemaNode>;
  /** What a list holds. */
  readonly item?: SchemaNode;
}

/** What this needs to know of a schema. */
export interface LooseSchema {
  readonly type: string;
  readonly entries?: Readonly<Record<string, LooseSchema>>;
  readonly item?: LooseSchema;
  readonly wrapped?: LooseSchema;
  readonly default?: unknown;
  readonly pipe?: readonly unknown[];
}

/** A schema as a tree, with the notes of its keys. */
export function describeSchema(given: LooseSchema): SchemaNode {
  if (given.wrapped !== undefined) {
    const inner = describeSchema(given.wrapped);
    const isGroup = inner.kind === 'group';
    const byDefault =
      isGroup || given.default === undefined ? {} : { byDefault: JSON.stringify(given.default) };
    return { ...inner, ...byDefault, isOptional: true };
  }
  const found = noteOf(given);
  const base = { ...(found === undefined ? {} : { note: found }), isOptional: false };
  if (given.entries !== undefined) {
    const keys = new Map(Object.entries(given.entries).map(([key, entry]) => [key, describeSchema(entry)]));
    return { kind: 'group', ...base, keys };
  }
  const keys = new Map<string, SchemaNode>();
  return given.item === undefined
    ? { kind: 'value', ...base, keys }
    : { kind: 'list', ...base, keys, item: describeSchema(given.item) };
}

function noteOf(given: LooseSchema): KeyNote | undefined {
  for (const action of given.pipe ?? []) {
    const { metadata, pipe } = action as { metadata?: { note?: KeyNote }; pipe?: readonly unknown[] };
    const found = metadata?.note ?? (pipe === undefined ? undefined : noteOf(action as LooseSchema));
    if (found !== undefined && action !== given) return found;
  }
  return undefined;
}
