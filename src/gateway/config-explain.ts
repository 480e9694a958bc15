import { UsageError } from '../base/errors.ts';
import { didYouMean } from '../base/text.ts';
import { schemaTree } from './config-schema.ts';
import type { SchemaNode } from './schema-tree.ts';

/**
 * What a key means, its type, unit, limits and default. `key` is written like `decision.a3.offsetDb`,
 * `sensors[].streams[].class` or `links.name`; a group lists its keys, the empty key lists all. Throws `UsageError`
 * with the nearest key for an unknown one.
 */
export function explainKey(key: string): string {
  const all = allKeys(schemaTree, '');
  if (key === '') return listing([...all]);
  const wanted = key.replace(/\[\d*\]/gu, '');
  const found = [...all].find(([known]) => known.replaceAll('[]', '') === wanted);
  if (found === undefined) {
    const names = [...all.keys()];
    // The last word alone is enough when only one key ends with it.
    const endings = names.filter((name) => name.split('.').at(-1)?.toLowerCase() === wanted.toLowerCase());
    const hint =
      endings.length > 0
        ? `did you mean ${endings.map((name) => `"${name}"`).join(' or ')}?`
        : near(key, names);
    throw new UsageError(`unknown configuration key "${key}", ${hint}`);
  }
  const [name, node] = found;
  const inside = [...all].filter(([known]) => known.startsWith(`${name}.`) || known.startsWith(`${name}[].`));
  return explainNode(name, node) + (inside.length === 0 ? '' : `\n${listing(inside)}`);
}

function near(key: string, names: readonly string[]): string {
  const hint = didYouMean(key, names);
  return hint.startsWith('did') ? hint : '"baton config explain" lists all keys';
}

function allKeys(node: SchemaNode, key: string): Map<string, SchemaNode> {
  const found = new Map<string, SchemaNode>();
  if (key !== '') found.set(key, node);
  if (node.item !== undefined)
    for (const [name, child] of allKeys(node.item, `${key}[]`)) found.set(name, child);
  for (const [name, child] of node.keys) {
    for (const [inner, grandchild] of allKeys(child, key === '' ? name : `${key}.${name}`))
      found.set(inner, grandchild);
  }
  for (const name of found.keys()) if (name.endsWith('[]')) found.delete(name);
  return found;
}

function explainNode(name: string, node: SchemaNode): string {
  const rows: [string, string][] = [['type', node.note?.expected ?? 'a group of keys']];
  if (node.note?.unit !== undefined) rows.push(['unit', node.note.unit]);
  rows.push(['default', defaultText(node)]);
  if (node.note !== undefined) rows.push(['example', node.note.example]);
  const width = Math.max(...rows.map(([label]) => label.length));
  const meaning = node.note === undefined ? [] : [`  ${node.note.meaning}`];
  return [name, ...meaning, ...rows.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`), ''].join(
    '\n',
  );
}

function defaultText(node: SchemaNode): string {
  if (node.byDefault !== undefined) return node.byDefault;
  if (!node.isOptional) return 'none; must be given';
  return [...node.keys.values()].some((child) => !child.isOptional) || node.kind !== 'group'
    ? 'none; may be left out'
    : 'those of its keys';
}

function listing(keys: readonly (readonly [string, SchemaNode])[]): string {
  const values = keys.filter(([, node]) => node.kind !== 'group');
  const width = Math.max(...values.map(([name]) => name.length));
  return values.map(([name, node]) => `${name.padEnd(width)}  ${node.note?.meaning ?? ''}\n`).join('');
}
