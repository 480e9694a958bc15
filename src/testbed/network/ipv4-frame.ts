/** UDP and TCP over IPv4 in Ethernet frames, as far as an emulated network reads and rewrites them (RFC 791, 768, 9293). */

/** Where the parts of a datagram lie in its frame. */
export interface Ipv4Datagram {
  readonly protocol: 'udp' | 'tcp';
  readonly headAt: number;
  readonly portsAt: number;
  readonly sourcePort: number;
  readonly targetPort: number;
}

const ethernetBytes = 14;
const ethernetIpv4 = 0x0800;
const udpHeadBytes = 8;
const portalText = 'HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n';

/** The UDP or TCP datagram of a frame; undefined for anything else and for fragments. */
export function parseDatagram(frame: Uint8Array): Ipv4Datagram | undefined {
  const view = viewOf(frame);
  if (frame.length < ethernetBytes + 28 || view.getUint16(12) !== ethernetIpv4) return undefined;
  const protocol = ({ 6: 'tcp', 17: 'udp' } as const)[view.getUint8(ethernetBytes + 9)];
  const portsAt = ethernetBytes + 4 * (view.getUint8(ethernetBytes) & 0xf);
  const isFragment = (view.getUint16(ethernetBytes + 6) & 0x3fff) !== 0;
  if (protocol === undefined || isFragment || frame.length < portsAt + udpHeadBytes) return undefined;
  return {
    protocol,
    headAt: ethernetBytes,
    portsAt,
    sourcePort: view.getUint16(portsAt),
    targetPort: view.getUint16(portsAt + 2),
  };
}

/** The frame with another port; a checksum that the sender left to its network card is left alone as well. */
export function withPort(
  frame: Uint8Array,
  datagram: Ipv4Datagram,
  side: 'source' | 'target',
  port: number,
): Uint8Array {
  const copy = Uint8Array.from(frame);
  const view = viewOf(copy);
  const { portsAt, protocol } = datagram;
  const portAt = portsAt + (side === 'source' ? 0 : 2);
  const checksumAt = portsAt + (protocol === 'udp' ? 6 : 16);
  const before = view.getUint16(portAt);
  view.setUint16(portAt, port & 0xffff);
  const checksum = view.getUint16(checksumAt);
  if (protocol === 'udp' && checksum === 0) return copy;
  // RFC 1624: HC' = ~(~HC + ~m + m').
  const sum = (~checksum & 0xffff) + (~before & 0xffff) + (port & 0xffff);
  view.setUint16(checksumAt, ~fold(sum) & 0xffff);
  return copy;
}

/** What a portal sends back to a UDP datagram in the place of whom it was meant for; undefined for TCP. */
export function portalAnswer(frame: Uint8Array, datagram: Ipv4Datagram): Uint8Array | undefined {
  if (datagram.protocol !== 'udp') return undefined;
  const text = new TextEncoder().encode(portalText);
  const answer = new Uint8Array(ethernetBytes + 20 + udpHeadBytes + text.length);
  const view = viewOf(answer);
  const { headAt, sourcePort, targetPort } = datagram;
  answer.set(frame.subarray(6, 12), 0);
  answer.set(frame.subarray(0, 6), 6);
  view.setUint16(12, ethernetIpv4);
  view.setUint8(ethernetBytes, 0x45);
  view.setUint16(ethernetBytes + 2, 20 + udpHeadBytes + text.length);
  view.setUint8(ethernetBytes + 8, 64);
  view.setUint8(ethernetBytes + 9, 17);
  answer.set(frame.subarray(headAt + 16, headAt + 20), ethernetBytes + 12);
  answer.set(frame.subarray(headAt + 12, headAt + 16), ethernetBytes + 16);
  let sum = 0;
  for (let at = ethernetBytes; at < ethernetBytes + 20; at += 2) sum += view.getUint16(at);
  view.setUint16(ethernetBytes + 10, ~fold(sum) & 0xffff);
  view.setUint16(ethernetBytes + 20, targetPort);
  view.setUint16(ethernetBytes + 22, sourcePort);
  view.setUint16(ethernetBytes + 24, udpHeadBytes + text.length);
  answer.set(text, ethernetBytes + 20 + udpHeadBytes);
  return answer;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

function viewOf(frame: Uint8Array): DataView {
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
}
