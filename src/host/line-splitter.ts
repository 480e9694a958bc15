/**
 * Cuts a stream of octets into lines. CR, LF, CRLF and runs of them end a line; empty lines are not reported. A line
 * longer than the bound is dropped up to its end, so that what is held never exceeds the bound.
 */
export class LineSplitter {
  readonly #lengthMax: number;
  readonly #onLine: (line: Uint8Array) => void;
  readonly #onOverlong: () => void;
  #parts: Uint8Array[] = [];
  #length = 0;
  #skipping = false;

  /** `onOverlong` is called once for each dropped line, when it exceeds `lengthMax` octets. */
  constructor(options: { lengthMax: number; onLine: (line: Uint8Array) => void; onOverlong?: () => void }) {
    this.#lengthMax = options.lengthMax;
    this.#onLine = options.onLine;
    this.#onOverlong = options.onOverlong ?? ((): void => undefined);
  }

  /** Octets of a line that has not ended yet. */
  get heldBytes(): number {
    return this.#length;
  }

  push(data: Uint8Array): void {
    let start = 0;
    for (let index = 0; index < data.length; index++) {
      const octet = data[index];
      if (octet !== 0x0d && octet !== 0x0a) continue;
      this.#take(data.subarray(start, index));
      this.#endLine();
      start = index + 1;
    }
    this.#take(data.subarray(start));
  }

  /** Forgets an unfinished line. */
  reset(): void {
    this.#parts = [];
    this.#length = 0;
    this.#skipping = false;
  }

  #take(part: Uint8Array): void {
    if (part.length === 0 || this.#skipping) return;
    if (this.#length + part.length > this.#lengthMax) {
      this.reset();
      this.#skipping = true;
      this.#onOverlong();
      return;
    }
    this.#parts.push(Uint8Array.from(part));
    this.#length += part.length;
  }

  #endLine(): void {
    const parts = this.#parts;
    const length = this.#length;
    this.reset();
    if (length === 0) return;
    this.#onLine(parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, length));
  }
}
