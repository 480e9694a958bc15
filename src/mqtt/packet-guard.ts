/**
 * A bound on the length of incoming MQTT packets. The parser of the library collects a packet of up to 256 MiB before
 * anyone sees it; this reads the fixed headers along the way (MQTT 3.1.1 2.2) and says when one announces too much.
 */
export class PacketGuard {
  readonly #lengthMax: number;
  /** Octets of the current packet's body still to come. */
  #bodyLeft = 0;
  /** Octets of "remaining length" seen; undefined while the next octet is a packet type. */
  #lengthBytes: number | undefined;
  #length = 0;

  constructor(lengthMax: number) {
    this.#lengthMax = lengthMax;
  }

  /** False when these octets announce a packet beyond the bound, or a length that has no end. */
  accepts(data: Uint8Array): boolean {
    for (let offset = 0; offset < data.length;) {
      if (this.#bodyLeft > 0) {
        const skipped = Math.min(this.#bodyLeft, data.length - offset);
        this.#bodyLeft -= skipped;
        offset += skipped;
        continue;
      }
      const octet = data[offset] ?? 0;
      offset++;
      if (this.#lengthBytes === undefined) {
        this.#lengthBytes = 0;
        this.#length = 0;
        continue;
      }
      this.#length += (octet & 127) * 128 ** this.#lengthBytes;
      this.#lengthBytes++;
      if (this.#length > this.#lengthMax || (octet >= 128 && this.#lengthBytes === 4)) return false;
      if (octet < 128) {
        this.#bodyLeft = this.#length;
        this.#lengthBytes = undefined;
      }
    }
    return true;
  }
}
