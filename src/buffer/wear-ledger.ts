/** What the log has written since it was made, counted in pages as the block layer writes them. */
export interface WearState {
  /** Octets of payload stored. */
  readonly payloadBytes: number;
  /** Octets written to slots and cursor, in whole pages; the zeros that fill new slots are not among them. */
  readonly deviceBytes: number;
  /** Commits of records, and flushes of any kind. */
  readonly commits: number;
  readonly flushes: number;
}

/** Octets that the file system writes at least. */
export const pageBytes = 4096;

/** Counts what is written; the figures go on over restarts with the cursor. */
export class WearLedger {
  #payloadBytes: number;
  #deviceBytes: number;
  #commits: number;
  #flushes: number;

  constructor(state: WearState | undefined) {
    this.#payloadBytes = state?.payloadBytes ?? 0;
    this.#deviceBytes = state?.deviceBytes ?? 0;
    this.#commits = state?.commits ?? 0;
    this.#flushes = state?.flushes ?? 0;
  }

  noteWrite(position: number, length: number): void {
    if (length === 0) return;
    const first = Math.floor(position / pageBytes);
    const last = Math.floor((position + length - 1) / pageBytes);
    this.#deviceBytes += (last - first + 1) * pageBytes;
  }

  noteFlush(): void {
    this.#flushes += 1;
  }

  noteCommit(payloadBytes: number): void {
    this.#commits += 1;
    this.#payloadBytes += payloadBytes;
  }

  state(): WearState {
    return {
      payloadBytes: this.#payloadBytes,
      deviceBytes: this.#deviceBytes,
      commits: this.#commits,
      flushes: this.#flushes,
    };
  }
}
