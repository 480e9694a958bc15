import { IoError } from '../base/errors.ts';
import type { SerialLine, SerialLines } from '../host/serial-line.ts';

/**
 * The AT ports of one modem as one: `open` takes the first of them that opens, beginning with the one in use. A modem that is
 * silent on one port may answer on another, and one port may belong to another program.
 */
export class AlternatePorts implements SerialLines {
  readonly #serialLines: SerialLines;
  readonly #paths: readonly string[];
  readonly #onFailure: () => void;
  #first = 0;

  /** `onFailure` is called when none of the ports can be opened. */
  constructor(options: { serialLines: SerialLines; paths: readonly string[]; onFailure: () => void }) {
    this.#serialLines = options.serialLines;
    this.#paths = options.paths;
    this.#onFailure = options.onFailure;
  }

  /** The port that is opened first. */
  get path(): string {
    return this.#paths[this.#first] ?? '';
  }

  /** Begins with the next port from now on. */
  advance(): void {
    this.#first = (this.#first + 1) % this.#paths.length;
  }

  /** Opens a port of the modem; throws the error of the port in use when none opens. */
  async open(_path: string, options: { baudRate: number }): Promise<SerialLine> {
    let failure: IoError | undefined;
    for (let turn = 0; turn < this.#paths.length; turn++) {
      const index = (this.#first + turn) % this.#paths.length;
      try {
        const line = await this.#serialLines.open(this.#paths[index] ?? '', options);
        this.#first = index;
        return line;
      } catch (error) {
        if (!(error instanceof IoError)) throw error;
        failure ??= error;
      }
    }
    this.#onFailure();
    throw failure ?? new IoError('the modem has no port');
  }
}
