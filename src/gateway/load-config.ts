import { dirname, resolve } from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { didYouMean, printable } from '../base/text.ts';
import { checkDecisionPolicy } from '../decision/decision-policy.ts';
import { readWhole } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { localPathBytesMax } from '../host/local-socket.ts';
import { decisionPolicy } from './config.ts';
import { bundleProblems } from './bundle-rules.ts';
import type { BundleConfig, GatewayConfig } from './config.ts';
import { crossProblems } from './config-rules.ts';
import { bundleTree, parseBundleSchema, parseSchema, schemaTree } from './config-schema.ts';
import type { SchemaIssue } from './config-schema.ts';
import type { SchemaNode } from './schema-tree.ts';
import { controlSocketName, isRecord } from './control-protocol.ts';
import { parseYaml } from './yaml-source.ts';
import type { RuleProblem, SourceProblem, Step, YamlSource } from './yaml-source.ts';

const fileBytesMax = 256 * 1024;
const problemsShownMax = 50;
const directoryBytesMax = localPathBytesMax - controlSocketName.length - 1;

/**
 * Reads and checks a configuration file. Throws `ConfigError` that lists every problem, one in a line, as
 * `file:line: key: what is wrong; the way out`.
 */
export async function loadConfig(filesystem: Filesystem, path: string): Promise<GatewayConfig> {
  const config = parseConfig(await readText(filesystem, path), path);
  const { file } = config.bundle;
  if (file === undefined) return config;
  return { ...config, bundle: parseBundleFile(await readText(filesystem, file, bundleWayOut), file, config) };
}

const bundleWayOut = 'correct bundle.file';

/** Checks the text of a file that holds the AEs of the bundle; `config` is the configuration that names it. */
export function parseBundleFile(text: string, path: string, config: GatewayConfig): BundleConfig {
  const source = parseYaml(text);
  const problems = [...source.problems];
  const parsed = source.value === undefined ? { issues: [] } : parseBundleSchema(source.value);
  if (source.value !== undefined) {
    const aes = isRecord(source.value) ? source.value['aes'] : undefined;
    const rules = bundleProblems(config, aes, ['aes']);
    problems.push(...findProblems(bundleTree, source, parsed.issues, rules));
  }
  if (problems.length > 0) throw problemsError(path, problems);
  if (parsed.value === undefined) throw new ConfigError(`${path}: the file is empty; give a list aes`);
  return { file: path, aes: parsed.value.aes };
}

/** Checks the text of a configuration; `path` names it in messages and anchors its relative paths. */
export function parseConfig(text: string, path: string): GatewayConfig {
  const source = parseYaml(text);
  const problems = [...source.problems];
  if (problems.length === 0 && (source.value === null || source.value === undefined)) {
    throw new ConfigError(`${path}: the file is empty; "baton config init" prints an example`);
  }
  const parsed = source.value === undefined ? { issues: [] } : parseSchema(source.value);
  if (source.value !== undefined)
    problems.push(...findProblems(schemaTree, source, parsed.issues, crossProblems(source.value)));
  if (problems.length > 0 || parsed.value === undefined) throw problemsError(path, problems);
  const config = withWholePaths(parsed.value, dirname(path));
  const length = Buffer.byteLength(config.dataDirectory);
  if (length > directoryBytesMax) {
    const message = `${config.dataDirectory} has ${length} bytes; at most ${directoryBytesMax} leave room for the control socket in it`;
    const line = source.lineOf(['dataDirectory']);
    throw problemsError(path, [{ line, message: `dataDirectory: ${message}: choose a shorter path` }]);
  }
  checkDecisionPolicy(decisionPolicy(config.decision), `${path}: decision`);
  return config;
}

/** Paths in the file are relative to it. */
function withWholePaths(config: GatewayConfig, base: string): GatewayConfig {
  const whole = (value: string): string => resolve(base, value);
  const { mqtt, security, bundle } = config;
  return {
    ...config,
    bundle: bundle.file === undefined ? bundle : { ...bundle, file: whole(bundle.file) },
    dataDirectory: whole(config.dataDirectory),
    mqtt: { ...mapFiles(mqtt, whole), brokers: mqtt.brokers.map((broker) => mapFiles(broker, whole)) },
    security: {
      ...mapFiles(security, whole),
      ...(security.psk === undefined ? {} : { psk: security.psk.map((key) => mapFiles(key, whole)) }),
    },
  };
}

/** Passes the values of all keys that name a file through `whole`, those of `tls` among them. */
function mapFiles<T extends object>(group: T, whole: (path: string) => string): T {
  const entries = Object.entries(group).map(([key, value]: [string, unknown]): [string, unknown] => {
    if (key.endsWith('File') && typeof value === 'string') return [key, whole(value)];
    return [
      key,
      key === 'tls' && typeof value === 'object' && value !== null ? mapFiles(value, whole) : value,
    ];
  });
  return Object.fromEntries(entries) as T;
}

async function readText(
  filesystem: Filesystem,
  path: string,
  wayOut: string = `write one with "baton config init > ${path}"`,
): Promise<string> {
  let data: Uint8Array | undefined;
  try {
    data = await readWhole(filesystem, path, fileBytesMax);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`${path}: cannot be used as a configuration: ${reason}`, { cause });
  }
  if (data === undefined) {
    throw new ConfigError(`${path}: no such file; ${wayOut}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(data);
  } catch (cause) {
    throw new ConfigError(`${path}: not UTF-8 text; save it as UTF-8`, { cause });
  }
}

function problemsError(path: string, problems: readonly SourceProblem[]): ConfigError {
  const sorted = [...problems].sort((a, b) => a.line - b.line);
  const lines = sorted.slice(0, problemsShownMax).map(({ line, message }) => `${path}:${line}: ${message}`);
  if (sorted.length > problemsShownMax) lines.push(`${path}: and ${sorted.length - problemsShownMax} more`);
  return new ConfigError(lines.join('\n'));
}

/** Everything that is wrong with the value, each place once, the outermost reason alone. */
function findProblems(
  tree: SchemaNode,
  source: YamlSource,
  issues: readonly SchemaIssue[],
  rules: readonly RuleProblem[],
): SourceProblem[] {
  const found = new Map<string, { path: readonly Step[]; message: string }>();
  const add = (path: readonly Step[], message: string): void => {
    for (let length = 0; length <= path.length; length++) {
      if (found.has(JSON.stringify(path.slice(0, length)))) return;
    }
    found.set(JSON.stringify(path), { path, message });
  };
  checkShape(tree, source.value, [], add);
  for (const issue of issues) add(issue.path, valueMessage(tree, source.value, issue));
  for (const problem of rules) add(problem.path, problem.message);
  return [...found.values()].map(({ path, message }) => ({
    line: source.lineOf(path),
    message: `${path.length === 0 ? 'the file' : keyText(path)}: ${message}`,
  }));
}

type Report = (path: readonly Step[], message: string) => void;

/**
 * Groups, lists and unknown keys. The schema library stops at the first unknown key, takes a list for a group, and
 * knows names that every object inherits, such as "constructor".
 */
function checkShape(node: SchemaNode, value: unknown, path: readonly Step[], report: Report): void {
  if (node.kind === 'value') return;
  const isList = Array.isArray(value);
  if (typeof value !== 'object' || value === null || isList !== (node.kind === 'list')) {
    report(path, shapeMessage(node, value));
    return;
  }
  if (isList) {
    for (const [index, item] of value.entries())
      if (node.item) checkShape(node.item, item, [...path, index], report);
    return;
  }
  for (const [key, item] of Object.entries(value)) {
    const child = node.keys.get(key);
    if (child === undefined) {
      report([...path, key], `unknown key, ${didYouMean(key.slice(0, 64), [...node.keys.keys()])}`);
    } else if (child.kind !== 'value') {
      checkShape(child, item, [...path, key], report);
    }
  }
}

function shapeMessage(node: SchemaNode, value: unknown): string {
  const wanted = node.note?.expected ?? `a group of keys (${[...node.keys.keys()].join(', ')})`;
  if (value === null) return `is empty; give ${wanted}${node.isOptional ? ', or remove the key' : ''}`;
  return `${shown(value)} is not ${wanted}`;
}

function valueMessage(tree: SchemaNode, value: unknown, issue: SchemaIssue): string {
  const node = nodeAt(tree, issue.path);
  if (node === undefined) return 'unknown key';
  const isGroup = node.kind === 'group';
  const wanted = node.note?.expected ?? `a group of keys (${[...node.keys.keys()].join(', ')})`;
  const example = node.note?.example;
  if (issue.isMissing) {
    const key = String(issue.path.at(-1) ?? '');
    return `is missing; ${isGroup || example === undefined ? `give ${wanted}` : `add "${key}: ${example}": ${wanted}`}`;
  }
  const given = valueAt(value, issue.path);
  const wayOut = example === undefined ? '' : `; write for example ${example}`;
  if (given === null) return `is empty; give ${wanted}${wayOut}`;
  return `${shown(given)} is not ${wanted}${wayOut}`;
}

function nodeAt(tree: SchemaNode, path: readonly Step[]): SchemaNode | undefined {
  let node: SchemaNode | undefined = tree;
  for (const step of path) node = typeof step === 'number' ? node?.item : node?.keys.get(step);
  return node;
}

function valueAt(value: unknown, path: readonly Step[]): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<Step, unknown>)[step];
  }
  return at;
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a group of keys';
  if (typeof value === 'string') return `"${printable(value, 60)}"`;
  return String(value);
}

function keyText(path: readonly Step[]): string {
  const text = path.reduce<string>((before, step) => {
    if (typeof step === 'number') return `${before}[${step}]`;
    return before === '' ? step : `${before}.${step}`;
  }, '');
  return printable(text);
}
