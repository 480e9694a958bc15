/**
 * DTLS records as octets (RFC 6347 4.1): type, version (2), epoch (2), sequence number (6), length (2), then so many octets.
 * Nothing is deciphered here. Datagrams are taken apart and put together at the record headers, and what no peer ever sends
 * is left out before OpenSSL sees it: its DTLS ends a session over a record too short for its tag, which anybody can forge.
 */

const headerBytes = 13;
const versions: readonly number[] = [0xfefd, 0xfeff];
const types = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23 } as const;
const typeNumbers: readonly number[] = Object.values(types);
/** What the cipher suites add to an empty record; the longest of it while the suite is not agreed upon. */
const suiteBytes: readonly (readonly [RegExp, number])[] = [
  [/CHACHA20-POLY1305$/u, 16],
  [/CCM8$/u, 8 + 8],
];
const suiteBytesMax = 8 + 16;

/** The whole records of a datagram; what follows a broken one is left out. */
export function recordsIn(datagram: Uint8Array): Uint8Array[] {
  const records: Uint8Array[] = [];
  for (let at = 0; at + headerBytes <= datagram.length;) {
    const end = at + headerBytes + readUint16(datagram, at + 11);
    if (end > datagram.length) break;
    records.push(datagram.subarray(at, end));
    at = end;
  }
  return records;
}

/**
 * The datagram without what no peer sends: other types or versions, a second change of keys, protected records shorter than
 * the suite makes an empty one; once the session is open, `cipher` is given and nothing in the clear is let through.
 */
export function plausible(datagram: Uint8Array, cipher: string | undefined): Uint8Array {
  const protectedBytesMin = suiteBytes.find(([suite]) => suite.test(cipher ?? ''))?.[1] ?? suiteBytesMax;
  const records = recordsIn(datagram).filter((record) => {
    const epoch = readUint16(record, 3);
    const isKnown = typeNumbers.includes(record[0] ?? 0) && versions.includes(readUint16(record, 1));
    if (!isKnown || epoch > 1) return false;
    return epoch === 1 ? record.length >= headerBytes + protectedBytesMin : cipher === undefined;
  });
  return Buffer.concat(records);
}

/** Records in as few datagrams as they fit, their order kept. */
export function packed(records: readonly Uint8Array[], mtuBytes: number): Uint8Array[] {
  const datagrams: Uint8Array[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const record of records) {
    if (filled + record.length > mtuBytes) {
      datagrams.push([]);
      filled = 0;
    }
    datagrams.at(-1)?.push(record);
    filled += record.length;
  }
  return datagrams.map((each) => Buffer.concat(each));
}

/** Whether a record is the change to the agreed keys. */
export function isKeyChange(record: Uint8Array): boolean {
  return record[0] === types.changeCipherSpec;
}

/** Whether a datagram begins with a ClientHello in the clear (RFC 6347 4.2.2). */
export function isHello(datagram: Uint8Array): boolean {
  return datagram[0] === types.handshake && !isProtected(datagram) && datagram[headerBytes] === 1;
}

/** Whether a datagram begins with a record under the agreed keys. */
export function isProtected(datagram: Uint8Array): boolean {
  return datagram.length >= headerBytes && readUint16(datagram, 3) > 0;
}

function readUint16(data: Uint8Array, at: number): number {
  return ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
}
