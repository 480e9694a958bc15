import { didYouMean, printable } from '../base/text.ts';
import { reservedPaths } from './bundle-of.ts';
import { isRecord } from './control-protocol.ts';
import type { RuleProblem, Step } from './yaml-source.ts';

/** Lists of resources that an AE of the bundle can have, and whether something can be below such a resource. */
const kinds = {
  policies: false,
  containers: true,
  flexContainers: true,
  timeSeries: true,
  subscriptions: false,
  groups: true,
} as const;

/**
 * What no single key of a bundle can tell: names given twice, AEs that nothing declares, dependencies in a circle, resources
 * whose parent is not there. `config` is the whole configuration, `aes` its list of AEs, wherever that was read from; `at` is
 * where the list is in its file. Takes any values, valid or not.
 */
export function bundleProblems(config: unknown, aes: unknown, at: readonly Step[]): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const list = entriesOf(aes, at);
  const device = textOf(get(config, 'device')) ?? '';
  const names = list.map(({ value }) => textOf(get(value, 'name')));
  const known = new Set([device, ...names.filter((name) => name !== undefined)]);
  const isFromFile = aes === undefined && get(get(config, 'bundle'), 'file') !== undefined;
  if (!isFromFile) problems.push(...streamProblems(config, known));
  const taken = new Map<string, readonly Step[]>();
  for (const { value, path } of list) {
    const name = textOf(get(value, 'name'));
    if (name === undefined) continue;
    const isOwn = name === device;
    const aeId = textOf(get(value, 'aeId'));
    if (isOwn && aeId !== undefined) {
      problems.push({
        path: [...path, 'aeId'],
        message: `is that of the gateway itself, S${device}; remove it`,
      });
    }
    for (const [key, text] of [
      ['name', name],
      ['aeId', aeId ?? `S${name}`],
    ] as const) {
      const first = taken.get(text);
      const message = `"${printable(text, 60)}" is taken by another AE; each needs a name and an AE-ID of its own`;
      if (first === undefined && (isOwn || (text !== `S${device}` && text !== `${device}-home`)))
        taken.set(text, path);
      else problems.push({ path: [...path, get(value, key) === undefined ? 'name' : key], message });
    }
    problems.push(...resourceProblems(value, path, reservedPaths(streamsUnder(config, name), isOwn)));
  }
  problems.push(...dependencyProblems(list, known));
  return problems;
}

/** Streams and sensors that name an AE which is not there. */
function streamProblems(config: unknown, known: ReadonlySet<string>): RuleProblem[] {
  const problems: RuleProblem[] = [];
  for (const sensor of entriesOf(get(config, 'sensors'), ['sensors'])) {
    const streams = entriesOf(get(sensor.value, 'streams'), [...sensor.path, 'streams']);
    for (const { value, path } of [sensor, ...streams]) {
      const ae = textOf(get(value, 'ae'));
      if (ae === undefined || known.has(ae)) continue;
      const hint = didYouMean(ae, [...known]);
      problems.push({
        path: [...path, 'ae'],
        message: `no AE "${printable(ae, 60)}" is in bundle.aes, ${hint}`,
      });
    }
  }
  return problems;
}

function dependencyProblems(list: readonly Entry[], known: ReadonlySet<string>): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const needs = new Map(
    list.map(({ value }) => [
      textOf(get(value, 'name')) ?? '',
      entriesOf(get(value, 'dependsOn'), []).map((each) => textOf(each.value) ?? ''),
    ]),
  );
  const reaches = (from: string, to: string, seen: Set<string>): boolean => {
    if (seen.has(from)) return false;
    seen.add(from);
    return (needs.get(from) ?? []).some((next) => next === to || reaches(next, to, seen));
  };
  for (const { value, path } of list) {
    const name = textOf(get(value, 'name')) ?? '';
    for (const [index, needed] of (needs.get(name) ?? []).entries()) {
      const at = [...path, 'dependsOn', index];
      if (!known.has(needed)) {
        const hint = didYouMean(needed, [...known]);
        problems.push({ path: at, message: `no AE "${printable(needed, 60)}" is in the bundle, ${hint}` });
      } else if (needed === name || reaches(needed, name, new Set())) {
        const message = `"${needed}" depends on "${name}" in turn; one of them must come first: remove one of the two`;
        problems.push({ path: at, message });
      }
    }
  }
  return problems;
}

/** Paths given twice or reserved, parents and policies that are not there. */
function resourceProblems(ae: unknown, at: readonly Step[], reserved: readonly string[]): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const found: { path: string; step: readonly Step[]; canHold: boolean; policy: string | undefined }[] = [];
  for (const [kind, canHold] of Object.entries(kinds)) {
    for (const { value, path } of entriesOf(get(ae, kind), [...at, kind])) {
      const key = kind === 'policies' ? 'name' : 'path';
      const text = textOf(get(value, key));
      if (text === undefined) continue;
      found.push({ path: text, step: [...path, key], canHold, policy: textOf(get(value, 'policy')) });
    }
  }
  const policies = entriesOf(get(ae, 'policies'), []).map(({ value }) => textOf(get(value, 'name')));
  const taken = new Set(reserved);
  for (const { path, step } of found) {
    if (taken.has(path)) {
      const whose = reserved.includes(path) ? 'the gateway itself' : 'another resource of the AE';
      problems.push({
        path: step,
        message: `"${printable(path, 60)}" is taken by ${whose}; choose another name`,
      });
    }
    taken.add(path);
  }
  const holders = new Set([
    ...reserved.filter((path) => path !== 'acp'),
    ...found.filter(({ canHold }) => canHold).map(({ path }) => path),
  ]);
  for (const { path, step, policy } of found) {
    const parent = path.split('/').slice(0, -1).join('/');
    if (parent !== '' && !holders.has(parent)) {
      const hint = didYouMean(parent, [...holders]);
      problems.push({ path: step, message: `nothing of this AE is at "${printable(parent, 60)}", ${hint}` });
    }
    if (policy !== undefined && !policies.includes(policy)) {
      const hint = didYouMean(
        policy,
        policies.filter((each) => each !== undefined),
      );
      problems.push({
        path: [...step.slice(0, -1), 'policy'],
        message: `no policy "${printable(policy, 60)}" is in policies of this AE, ${hint}`,
      });
    }
  }
  return problems;
}

/** Streams whose containers are under an AE. */
function streamsUnder(config: unknown, name: string): string[] {
  const device = textOf(get(config, 'device'));
  return entriesOf(get(config, 'sensors'), []).flatMap(({ value: sensor }) =>
    entriesOf(get(sensor, 'streams'), []).flatMap(({ value: stream }) => {
      const ae = textOf(get(stream, 'ae')) ?? textOf(get(sensor, 'ae')) ?? device;
      const text = textOf(get(stream, 'name'));
      return ae === name && text !== undefined ? [text] : [];
    }),
  );
}

interface Entry {
  readonly value: unknown;
  readonly path: readonly Step[];
}

function entriesOf(list: unknown, at: readonly Step[]): Entry[] {
  return Array.isArray(list) ? list.map((value: unknown, index) => ({ value, path: [...at, index] })) : [];
}

function get(value: unknown, key: string): unknown {
  return isRecord(value) ? value[key] : undefined;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= 1024 ? value : undefined;
}
