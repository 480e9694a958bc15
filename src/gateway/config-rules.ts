import { printable } from '../base/text.ts';
import { isRecord } from './control-protocol.ts';
import { bundleProblems } from './bundle-rules.ts';
import type { RuleProblem, Step } from './yaml-source.ts';

/** What no single key can tell: names given twice, a minimum above its maximum. Takes any value, valid or not. */
export function crossProblems(value: unknown): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const links = entries(value, ['links']);
  const sensors = entries(value, ['sensors']);
  const streams = sensors.flatMap(({ value: sensor, path }) =>
    entries(sensor, ['streams']).map((stream) => ({ ...stream, path: [...path, ...stream.path] })),
  );
  unique(problems, links, ['name'], 'each link needs a name of its own');
  unique(problems, sensors, ['name'], 'each sensor needs a name of its own');
  unique(problems, streams, ['name'], 'a stream belongs to one sensor; choose another name');
  const serialLines = [
    ...links.map(({ value: link, path }) => ({ value: get(link, 'modem'), path: [...path, 'modem'] })),
    ...sensors.map(({ value: sensor, path }) => ({
      value: get(sensor, 'serialLine'),
      path: [...path, 'serialLine'],
    })),
  ];
  unique(problems, serialLines, ['path'], 'a serial line has one owner');
  for (const { value: sensor, path } of sensors) {
    const line = get(sensor, 'serialLine');
    if (get(line, 'acknowledge') === true && get(line, 'format') === 'csv') {
      problems.push({
        path: [...path, 'serialLine', 'acknowledge'],
        message: 'true needs "format: json": a csv line carries no count to acknowledge',
      });
    }
  }
  problems.push(...bundleProblems(value, get(get(value, 'bundle'), 'aes'), ['bundle', 'aes']));
  const bundle = get(value, 'bundle');
  if (get(bundle, 'file') !== undefined && get(bundle, 'aes') !== undefined) {
    problems.push({
      path: ['bundle', 'file'],
      message: 'holds the list aes; give it there or here, not both',
    });
  }
  ordered(problems, value, 'uplink', ['retryMsMin', 200], ['retryMsMax', 10_000]);
  ordered(problems, value, 'buffer', ['segmentBytes', 4 * 1024 * 1024], ['quotaBytes', 512 * 1024 * 1024]);
  problems.push(...credentialProblems(value));
  const buffer = get(value, 'buffer');
  const [reserveBytes, quotaBytes] = [
    get(buffer, 'reserveBytes'),
    get(buffer, 'quotaBytes') ?? 512 * 1024 * 1024,
  ];
  if (typeof reserveBytes === 'number' && typeof quotaBytes === 'number' && 2 * reserveBytes > quotaBytes) {
    problems.push({
      path: ['buffer', 'reserveBytes'],
      message: `is ${reserveBytes}; use at most half of quotaBytes, ${Math.floor(quotaBytes / 2)}`,
    });
  }
  return problems;
}

/** Pairs that are nothing by halves, and brokers named twice. */
function credentialProblems(value: unknown): RuleProblem[] {
  const problems: RuleProblem[] = [];
  const brokers = entries(get(value, 'mqtt'), ['brokers']).map(({ value: broker, path }) => ({
    value: broker,
    path: ['mqtt', ...path],
  }));
  unique(problems, brokers, ['url'], 'say everything about a broker in one place');
  const keys = entries(get(value, 'security'), ['psk']).map(({ value: psk, path }) => ({
    value: isRecord(psk) && psk.host === undefined ? { host: 'no host' } : psk,
    path: ['security', ...path],
  }));
  unique(problems, keys, ['host'], 'a host has one key, and one key may be for all others');
  const pair = (group: unknown, path: readonly Step[], [one, other]: readonly [string, string]): void => {
    for (const [given, missing] of [
      [one, other],
      [other, one],
    ] as const) {
      if (get(group, given) === undefined || get(group, missing) !== undefined) continue;
      problems.push({ path: [...path, given], message: `is of no use without ${missing}; give both` });
    }
  };
  pair(get(get(value, 'security'), 'tls'), ['security', 'tls'], ['certFile', 'keyFile']);
  pair(get(value, 'mqtt'), ['mqtt'], ['username', 'passwordFile']);
  for (const { value: broker, path } of brokers) {
    pair(get(broker, 'tls'), [...path, 'tls'], ['certFile', 'keyFile']);
    pair(broker, path, ['username', 'passwordFile']);
  }
  return problems;
}

interface Entry {
  readonly value: unknown;
  readonly path: readonly Step[];
}

function get(value: unknown, key: string): unknown {
  return isRecord(value) ? value[key] : undefined;
}

function entries(value: unknown, [key]: readonly [string]): Entry[] {
  const list = get(value, key);
  return Array.isArray(list) ? list.map((item: unknown, index) => ({ value: item, path: [key, index] })) : [];
}

function unique(
  problems: RuleProblem[],
  given: readonly Entry[],
  [key]: readonly [string],
  wayOut: string,
): void {
  const seen = new Map<string, readonly Step[]>();
  for (const { value, path } of given) {
    const text = get(value, key);
    if (typeof text !== 'string' || text.length > 1024) continue;
    const first = seen.get(text);
    if (first === undefined) seen.set(text, path);
    else
      problems.push({
        path: [...path, key],
        message: `"${printable(text, 60)}" is taken by ${placeText(first)}; ${wayOut}`,
      });
  }
}

function placeText(path: readonly Step[]): string {
  return path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
    .join('')
    .slice(1);
}

function ordered(
  problems: RuleProblem[],
  value: unknown,
  group: string,
  [low, lowDefault]: readonly [string, number],
  [high, highDefault]: readonly [string, number],
): void {
  const from = get(get(value, group), low) ?? lowDefault;
  const to = get(get(value, group), high) ?? highDefault;
  if (typeof from !== 'number' || typeof to !== 'number' || from <= to) return;
  const path = get(get(value, group), low) === undefined ? [group, high] : [group, low];
  problems.push({
    path,
    message: `${low} (${from}) is above ${high} (${to}); lower ${low} or raise ${high}`,
  });
}
