import { errnoCode } from '../base/errors.ts';

/** Where text for a person or a pipe goes. */
export interface TextWriter {
  /** Hands the text over; without effect once the reader has gone. */
  write(text: string): void;
}

/** Columns and rows of a screen. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** An output that may be a screen. */
export interface Terminal extends TextWriter {
  /** Whether a person looks at it: cursor control makes sense. */
  readonly isTty: boolean;
  /** Whether cursor control is understood (`TERM` is set and not `dumb`). */
  readonly hasCursorControl: boolean;
  /** Whether block and line drawing characters can be shown (the locale is UTF-8). */
  readonly hasUnicode: boolean;
  /** Whether colour is welcome (`NO_COLOR` is not set). */
  readonly hasColour: boolean;
  /** Whether the reader has gone (broken pipe, closed terminal). */
  readonly isBroken: boolean;
  /** Octets written and not yet taken by the reader. */
  readonly backlogBytes: number;
  size(): TerminalSize;
  /** Calls `handler` after each change of size until the returned function is called. */
  onResize(handler: () => void): () => void;
  /** Calls `handler` once when the process ends, by an uncaught error too, unless the returned function was called before. */
  onExit(handler: () => void): () => void;
}

/** One of the standard output streams of the process. A broken pipe never becomes an error of the process. */
export class NodeTerminal implements Terminal {
  readonly isTty: boolean;
  readonly hasCursorControl: boolean;
  readonly hasUnicode: boolean;
  readonly hasColour: boolean;
  readonly #stream: NodeJS.WriteStream;
  #broken = false;

  constructor(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv) {
    this.#stream = stream;
    this.isTty = stream.isTTY === true;
    const terminal = environment['TERM'] ?? '';
    this.hasCursorControl = this.isTty && terminal !== '' && terminal !== 'dumb';
    const locale = environment['LC_ALL'] || environment['LC_CTYPE'] || environment['LANG'] || '';
    this.hasUnicode = /utf-?8/iu.test(locale);
    this.hasColour = this.hasCursorControl && (environment['NO_COLOR'] ?? '') === '';
    stream.on('error', (error) => {
      this.#broken = true;
      // EIO is a terminal whose window was closed.
      if (!['EPIPE', 'EIO', 'ECONNRESET'].includes(errnoCode(error) ?? '')) process.exitCode ||= 1;
    });
  }

  get isBroken(): boolean {
    return this.#broken || !this.#stream.writable;
  }

  get backlogBytes(): number {
    return this.#stream.writableLength;
  }

  write(text: string): void {
    if (!this.isBroken) this.#stream.write(text);
  }

  size(): TerminalSize {
    return { columns: this.#stream.columns || 80, rows: this.#stream.rows || 24 };
  }

  onResize(handler: () => void): () => void {
    this.#stream.on('resize', handler);
    return () => this.#stream.removeListener('resize', handler);
  }

  onExit(handler: () => void): () => void {
    const remove = (): void => {
      process.removeListener('exit', once);
      process.removeListener('uncaughtExceptionMonitor', once);
    };
    const once = (): void => {
      remove();
      handler();
    };
    process.on('exit', once);
    process.on('uncaughtExceptionMonitor', once);
    return remove;
  }
}
