import type { OptionValue, OutgoingMessage } from 'coap';
import type { CoapMessage } from '../../../coap/message.ts';

// The library knows these numbers by names of its own, two of them for what others use the numbers for.
const formatNumbers = new Map<string, number>([
  ['text/plain', 0],
  ['application/xml', 41],
  ['application/octet-stream', 42],
  ['application/json', 50],
  ['application/cbor', 60],
  ['application/oscore', 10_001],
  ['application/javascript', 10_002],
]);
const unknownFormat = 65_535;

/** The number behind what the library gives for a Content-Format or Accept; undefined when there was none. */
export function contentFormatNumber(value: OptionValue | undefined): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'number') return value;
  return typeof value === 'string' ? (formatNumbers.get(value) ?? unknownFormat) : unknownFormat;
}

/** Writes code and options of a message; the payload goes with `end`. */
export function writeMessage(outgoing: OutgoingMessage, message: CoapMessage): void {
  outgoing.code = message.code;
  if (message.path.length > 0)
    outgoing.setOption(
      'Uri-Path',
      message.path.map((part) => Buffer.from(part)),
    );
  if (message.query.length > 0)
    outgoing.setOption(
      'Uri-Query',
      message.query.map((part) => Buffer.from(part)),
    );
  if (message.contentFormat !== undefined) outgoing.setOption('Content-Format', message.contentFormat);
  if (message.accept !== undefined) outgoing.setOption('Accept', message.accept);
  // A number as a number throws in the library, as text it works.
  for (const [number, values] of message.options) {
    outgoing.setOption(
      String(number),
      values.map((value) => Buffer.from(value)),
    );
  }
}
