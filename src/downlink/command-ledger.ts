/**
 * The durable memory of commands: which are known, what is begun, what came of them.
 *
 *     received ─▶ begun (only where a second effect would do harm) ─▶ result + executed ─▶ (result stored in the buffer)
 *
 * A command is known from the moment its reception is durable, and is not taken again from any CSE, container or route. The
 * horizon of this is 2048 commands at least (twice as many until a compaction), less only where they do not fit into the
 * file. Results are numbered in the order in which they are stored: the log knows the number of the last one, so that a
 * restart stores what it lacks and nothing twice.
 */
import { DecodeError, LimitError } from '../base/errors.ts';
import { fieldsOf, textOf } from './command.ts';
import type { CommandResult } from './command.ts';

/** What is remembered of a command; durable once `append` returns. An old memory has no numbers. */
export type CommandMark =
  | {
      readonly kind: 'received';
      readonly id: string;
      readonly content: unknown;
      readonly number?: number;
      readonly cseId?: string;
      readonly receivedMs?: number;
      /** When it ends, by the instance or by its own word. */
      readonly expiresMs?: number;
    }
  | { readonly kind: 'begun'; readonly id: string }
  | { readonly kind: 'result'; readonly id: string; readonly number: number; readonly result: CommandResult }
  | { readonly kind: 'executed'; readonly id: string };

/** Durable memory of commands. */
export interface CommandMemory {
  entries(): readonly CommandMark[];
  /** Rejects with `LimitError` when there is no room before the next `compact`. */
  append(mark: CommandMark): Promise<void>;
  /** Keeps only what `keep` wants, in one step. */
  compact(keep: (mark: CommandMark) => boolean): Promise<void>;
}

/** What the last run left behind. */
export interface LeftBehind {
  /** Received and not executed, in the order of acceptance. */
  readonly waiting: readonly {
    readonly mark: Extract<CommandMark, { kind: 'received' }>;
    readonly isBegun: boolean;
  }[];
  /** Results that the log may lack, in their order. */
  readonly results: readonly Extract<CommandMark, { kind: 'result' }>[];
  /** Above the numbers of all commands and results. */
  readonly nextNumber: number;
  readonly nextResult: number;
}

/** Executed commands remembered at most after a compaction; there is one when twice as many are known, or the room ends. */
const rememberedMax = 2048;

/** The durable memory of commands; see the header of this file. */
export class CommandLedger {
  readonly #memory: CommandMemory;
  readonly #known = new Map<string, 'received' | 'executed'>();
  readonly #appending = new Map<string, Promise<void>>();
  /** Ids of results that the log may lack. */
  readonly #unstored = new Set<string>();

  constructor(memory: CommandMemory) {
    this.#memory = memory;
  }

  /** Takes up the memory of the last run; results up to `lastResult` are in the log. */
  open(lastResult: number): LeftBehind {
    const waiting = new Map<string, { mark: Extract<CommandMark, { kind: 'received' }>; isBegun: boolean }>();
    const results = new Map<string, Extract<CommandMark, { kind: 'result' }>>();
    let [nextNumber, nextResult] = [1, lastResult + 1];
    for (const mark of this.#memory.entries()) {
      const { id } = mark;
      if (mark.kind === 'received') {
        waiting.set(id, { mark, isBegun: false });
        nextNumber = Math.max(nextNumber, (mark.number ?? 0) + 1);
      } else if (mark.kind === 'begun') {
        const open = waiting.get(id);
        if (open !== undefined) waiting.set(id, { ...open, isBegun: true });
      } else {
        waiting.delete(id);
        if (mark.kind === 'result') {
          nextResult = Math.max(nextResult, mark.number + 1);
          if (mark.number > lastResult) results.set(id, mark);
        }
      }
      this.#known.delete(id);
      this.#known.set(id, waiting.has(id) ? 'received' : 'executed');
    }
    for (const id of results.keys()) this.#unstored.add(id);
    const inOrder = [...results.values()].sort((one, other) => one.number - other.number);
    const byNumber = (mark: { readonly number?: number }): number => mark.number ?? Number.MAX_SAFE_INTEGER;
    return {
      waiting: [...waiting.values()].sort((one, other) => byNumber(one.mark) - byNumber(other.mark)),
      results: inOrder,
      nextNumber,
      nextResult,
    };
  }

  /** Whether a command was received before; where its CSE is not known, any with this resource ID is the same one. */
  isKnown(id: string): boolean {
    if (this.#known.has(id)) return true;
    const resource = id.startsWith('/') ? id.slice(id.lastIndexOf('/')) : undefined;
    if (resource === undefined) return false;
    if (!id.startsWith(unknownCse)) return this.#known.has(`${unknownCse}${resource}`);
    for (const known of this.#known.keys())
      if (known.startsWith('/') && known.endsWith(resource)) return true;
    return false;
  }

  /** Resolves when the reception that is under way for this command is durable; undefined when none is. */
  receiving(id: string): Promise<void> | undefined {
    return this.#appending.get(id);
  }

  /** Makes a reception durable. */
  async receive(mark: Extract<CommandMark, { kind: 'received' }>): Promise<void> {
    const { id } = mark;
    const append = this.#append(mark);
    this.#appending.set(id, append);
    try {
      await append;
      this.#known.set(id, 'received');
    } finally {
      this.#appending.delete(id);
    }
  }

  /** Makes the intent to begin durable: what follows must not follow twice. */
  begin(id: string): Promise<void> {
    return this.#append({ kind: 'begun', id });
  }

  /** Makes durable what a command came to. */
  async finish(result: CommandResult, number: number): Promise<void> {
    const { id } = result;
    this.#unstored.add(id);
    // One flush for both; torn between them, the result alone says that it was executed.
    await Promise.all([
      this.#append({ kind: 'result', id, number, result }),
      this.#append({ kind: 'executed', id }),
    ]);
    this.#known.set(id, 'executed');
  }

  /** The log holds the result. */
  async stored(id: string): Promise<void> {
    this.#unstored.delete(id);
    if (this.#known.size >= 2 * rememberedMax) await this.#forget(rememberedMax);
  }

  async #append(mark: CommandMark): Promise<void> {
    try {
      await this.#memory.append(mark);
    } catch (error) {
      if (!(error instanceof LimitError)) throw error;
      // What an executed command said is not needed any more; when that was not it, half of their names make room.
      await this.#forget(rememberedMax);
      await this.#memory.append(mark).catch(async (again: unknown) => {
        if (!(again instanceof LimitError)) throw again;
        await this.#forget(Math.floor(this.#executed().length / 2));
        await this.#memory.append(mark);
      });
    }
  }

  #executed(): string[] {
    return [...this.#known].filter(([, kind]) => kind === 'executed').map(([id]) => id);
  }

  /** Forgets the oldest executed commands but `kept`, what all executed ones said, and what the log holds of results. */
  async #forget(kept: number): Promise<void> {
    const executed = this.#executed().filter((id) => !this.#unstored.has(id));
    for (const id of executed.slice(0, Math.max(0, executed.length - kept))) this.#known.delete(id);
    await this.#memory.compact((mark) => {
      if (mark.kind === 'executed') return this.#known.has(mark.id);
      if (mark.kind === 'result') return this.#unstored.has(mark.id);
      return this.#isWaiting(mark.id);
    });
  }

  /** A command whose execution is not durable yet is kept, whether its reception was just made durable or long ago. */
  #isWaiting(id: string): boolean {
    return this.#known.get(id) !== 'executed' && (this.#known.has(id) || this.#appending.has(id));
  }
}

/** What stands for the CSE in the address of an instance whose CSE was not told. */
const unknownCse = '/?';

/** A mark from what was stored; throws `DecodeError` when it is none. */
export function decodeCommandMark(value: unknown): CommandMark {
  const { kind, id, content, number, cseId, receivedMs, expiresMs, result } = fieldsOf(value) ?? {};
  if (typeof id === 'string') {
    if (kind === 'executed' || kind === 'begun') return { kind, id };
    const isReadable = textOf(fieldsOf(result)?.status) !== undefined;
    if (kind === 'result' && Number.isSafeInteger(number) && isReadable) {
      return { kind, id, number: number as number, result: result as CommandResult };
    }
    if (kind === 'received') {
      return {
        kind,
        id,
        content,
        ...(Number.isSafeInteger(number) ? { number: number as number } : {}),
        ...(typeof cseId === 'string' ? { cseId } : {}),
        ...(typeof receivedMs === 'number' ? { receivedMs } : {}),
        ...(typeof expiresMs === 'number' ? { expiresMs } : {}),
      };
    }
  }
  throw new DecodeError('the memory of commands holds an unknown entry');
}
