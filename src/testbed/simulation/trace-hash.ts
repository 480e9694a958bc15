/**
 * A running hash of everything that happens in a simulation (FNV-1a, two lanes of 32 bits): two runs took the same course
 * if it is equal. Not for secrets.
 */
export class TraceHash {
  #low = 0x811c9dc5;
  #high = 0x01000193;
  readonly #float = new Float64Array(1);
  readonly #octets: Uint8Array = new Uint8Array(this.#float.buffer);

  number(value: number): void {
    this.#float[0] = value;
    this.bytes(this.#octets);
  }

  text(value: string): void {
    for (let index = 0; index < value.length; index++) this.#take(value.charCodeAt(index));
    this.#take(0xffff);
  }

  bytes(data: Uint8Array): void {
    for (const octet of data) this.#take(octet);
    this.#take(data.length);
  }

  /** What was taken so far, as 16 hexadecimal digits. */
  digest(): string {
    const hex = (lane: number): string => (lane >>> 0).toString(16).padStart(8, '0');
    return hex(this.#high) + hex(this.#low);
  }

  #take(value: number): void {
    this.#low = Math.imul(this.#low ^ value, 0x01000193);
    this.#high = Math.imul(this.#high ^ (value + (this.#low >>> 24)), 0x5bd1e995);
  }
}
