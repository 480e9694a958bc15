import {
  CST,
  Lexer,
  LineCounter,
  Parser,
  isAlias,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  parseDocument,
} from 'yaml';
import { printable } from '../base/text.ts';

/**
 * YAML as a configuration needs it: plain values with the line of each key, and nothing that a hostile or damaged file
 * could use to keep the process busy. Anchors, aliases, tags, directives and a second document are refused, and so is
 * text that nests deeper or has more tokens than any configuration; all before the real parser sees it, which recurses.
 */

/** A problem at a line of the file, counted from 1. */
export interface SourceProblem {
  readonly line: number;
  readonly message: string;
}

/** A key or list index on the way to a value. */
export type Step = string | number;

/** A rule between keys that does not hold. */
export interface RuleProblem {
  readonly path: readonly Step[];
  readonly message: string;
}

/** A parsed file. */
export interface YamlSource {
  /** Null-prototype objects, arrays and scalars; undefined for an empty file. */
  readonly value: unknown;
  readonly problems: readonly SourceProblem[];
  /** Line of the key (or list entry) at a path, or of the nearest one above it. */
  lineOf(path: readonly Step[]): number;
}

const depthMax = 24;
const tokensMax = 20_000;
const problemsMax = 10;

/** Parses text; never throws. With problems, the value holds what could be understood. */
export function parseYaml(text: string): YamlSource {
  const lineCounter = new LineCounter();
  const refused = preScan(text);
  if (refused !== undefined) return { value: undefined, problems: [refused], lineOf: () => 1 };
  const document = parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    version: '1.2',
    schema: 'core',
    merge: false,
    uniqueKeys: false, // quadratic there; `TreeReader` finds duplicates in one pass
    stringKeys: true,
  });
  const lineAt = (offset: number): number => Math.max(1, lineCounter.linePos(offset).line);
  const problems = document.errors
    .slice(0, problemsMax)
    .map((error) => ({ line: lineAt(error.pos[0]), message: `YAML: ${firstLine(error.message)}` }));
  if (problems.length > 0) return { value: undefined, problems, lineOf: () => 1 };
  const reader = new TreeReader(lineAt);
  const value = reader.read(document.contents, []);
  return { value, problems: reader.problems, lineOf: (path) => reader.lineOf(path) };
}

/** The first thing in the text that must not reach the parser. */
function preScan(text: string): SourceProblem | undefined {
  const parser = new Parser();
  let offset = 0;
  let tokens = 0;
  let isScalarNext = false;
  const problem = (message: string): SourceProblem => ({
    line: text.slice(0, offset).split('\n').length,
    message,
  });
  for (const lexeme of new Lexer().lex(text)) {
    const type = isScalarNext ? 'scalar' : CST.tokenType(lexeme);
    isScalarNext = !isScalarNext && lexeme === CST.SCALAR;
    const refusal = type === null ? undefined : refusals[type];
    if (refusal !== undefined) return problem(`${printable(firstLine(lexeme), 40)}: ${refusal}`);
    if (++tokens > tokensMax)
      return problem(`more than ${tokensMax} YAML tokens; a configuration needs far fewer`);
    for (const _ of parser.next(lexeme)) continue;
    if (parser.stack.length > depthMax) {
      return problem(`nested more than ${depthMax} levels deep; a configuration needs far fewer`);
    }
    if (!controlLexemes.has(lexeme)) offset += lexeme.length;
  }
  return undefined;
}

const controlLexemes: ReadonlySet<string> = new Set([CST.DOCUMENT, CST.FLOW_END, CST.SCALAR]);
const refusals: Partial<Record<string, string>> = {
  'anchor': 'anchors are not used here; write the value out where it is needed',
  'alias': 'aliases are not used here; write the value out',
  'tag': 'tags are not used here; write the plain value',
  'directive-line': 'directives are not used here; remove the line',
};

class TreeReader {
  readonly problems: SourceProblem[] = [];
  readonly #lines = new Map<string, number>();
  readonly #lineAt: (offset: number) => number;

  constructor(lineAt: (offset: number) => number) {
    this.#lineAt = lineAt;
  }

  lineOf(path: readonly Step[]): number {
    for (let length = path.length; length >= 0; length--) {
      const line = this.#lines.get(JSON.stringify(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return 1;
  }

  read(node: unknown, path: readonly Step[]): unknown {
    if (isNode(node) && node.range) this.#mark(path, node.range[0]);
    if (isScalar(node)) return node.value;
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index]));
    if (isMap(node)) return this.#readMap(node.items, path);
    if (isAlias(node)) this.#report(path, 'aliases are not used here; write the value out');
    return undefined;
  }

  #readMap(items: readonly unknown[], path: readonly Step[]): Record<string, unknown> {
    const value = Object.create(null) as Record<string, unknown>;
    for (const pair of items) {
      if (!isPair(pair) || !isScalar(pair.key)) continue;
      const key = String(pair.key.value);
      const at = [...path, key];
      if (key in value) {
        const first = this.lineOf(at);
        this.#report(
          [],
          `the key "${printable(key)}" is given twice (first in line ${first}); keep one`,
          pair.key.range?.[0],
        );
        continue;
      }
      value[key] = this.read(pair.value, at);
      if (pair.key.range) this.#mark(at, pair.key.range[0]);
    }
    return value;
  }

  #mark(path: readonly Step[], offset: number): void {
    this.#lines.set(JSON.stringify(path), this.#lineAt(offset));
  }

  #report(path: readonly Step[], message: string, offset?: number): void {
    const line = offset === undefined ? this.lineOf(path) : this.#lineAt(offset);
    this.problems.push({ line, message });
  }
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
