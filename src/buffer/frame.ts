import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';
import type { FileHandle } from '../host/filesystem.ts';

/**
 * The frame that slots and journals are made of. Little endian, starting at multiples of 8:
 *
 *     0  u24  length of the body
 *     3  u8   kind of content; a word of 0 is "nothing here"
 *     4  u32  CRC-32 of the body, with the word before as start value, so that a torn length is found too
 *     8  u32  nonce of the file, or of the life of the slot  ┐ body
 *    12  ...  content                                         ┘
 *         ..  zeros up to the next multiple of 8
 *
 * The nonce never leaves the device: a payload that imitates a frame cannot carry it, and neither can what a former
 * use left in the same blocks.
 */
export const frameAlignment = 8;
/** Longest body, in octets: a payload of 64 KiB with its record head. */
export const bodyBytesMax: number = 64 * 1024 + 1024;

const bodyOffset = 8;
const contentOffset = 12;

/**
 * What a frame holds: journals have entries; slots have records, the run and the streams that these refer to, and a
 * footer.
 */
export type FrameKind = 'record' | 'footer' | 'entry' | 'run' | 'stream';

const kinds: readonly FrameKind[] = ['record', 'footer', 'entry', 'run', 'stream'];
/** Number on disk of the first kind. */
const kindBase = 0xb1;

/** Longest content of a frame, in octets. */
export const contentBytesMax: number = bodyBytesMax - (contentOffset - bodyOffset);

/** Octets on disk of a frame with `contentLength` octets of content. */
export function frameBytes(contentLength: number): number {
  return align(contentOffset + contentLength);
}

/** One frame of `nonce` and `kind`, padded to the alignment. */
export function encodeFrame(nonce: number, kind: FrameKind, content: Uint8Array): Uint8Array {
  assert(content.length <= contentBytesMax, `frame content of ${content.length} bytes`);
  const frame = new Uint8Array(frameBytes(content.length));
  const view = new DataView(frame.buffer);
  const bodyLength = contentOffset - bodyOffset + content.length;
  const word = (((kindBase + kinds.indexOf(kind)) << 24) | bodyLength) >>> 0;
  view.setUint32(0, word, true);
  view.setUint32(8, nonce, true);
  frame.set(content, contentOffset);
  view.setUint32(4, crc32(frame.subarray(bodyOffset, bodyOffset + bodyLength), word), true);
  return frame;
}

/** A frame found in a file; `content` is a copy of its own. */
export interface FoundFrame {
  readonly kind: FrameKind;
  readonly nonce: number;
  readonly content: Uint8Array;
  /** Where the frame begins, and where the next one may. */
  readonly offset: number;
  readonly end: number;
  /** Octets since the previous frame that were no frame, */
  readonly skippedBytes: number;
  /** and how many of them were not zero, in words of 8. */
  readonly damagedBytes: number;
}

/** The stretch of a file to read frames from. */
export interface FrameRange {
  readonly start: number;
  readonly end: number;
  /** Expected nonce; undefined takes that of the first intact frame, `each` takes every one. */
  readonly nonce: number | 'each' | undefined;
  /** Called when some part could not be read at all. */
  readonly onUnreadable?: () => void;
  /** Called for each place outside intact frames that holds the expected nonce, where a frame would have it. */
  readonly onTrace?: (position: number) => void;
}

const longestFrame = align(bodyOffset + bodyBytesMax);
const windowBytesMin = 8 * 1024;
const windowBytesMax = 2 * longestFrame;

const retryBytes = 4096;

/**
 * The intact frames of a stretch, in order. Anything else is stepped over in units of the alignment: a bad frame costs
 * itself. A piece that cannot be read counts as zeros after a second try page by page.
 * Holds one window in memory.
 */
export async function* readFrames(
  handle: FileHandle,
  range: FrameRange,
): AsyncGenerator<FoundFrame, void, undefined> {
  let { end } = range;
  let nonce = range.nonce === 'each' ? undefined : range.nonce;
  let at = range.start;
  let previousEnd = at;
  let damagedBytes = 0;
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = at;
  let words: Int32Array = new Int32Array(0);
  let readBytes = windowBytesMin;
  while (at < end) {
    const needed = Math.min(end - at, neededBytes(window, at - windowStart));
    if (at + needed > windowStart + window.length) {
      const wanted = Math.min(Math.max(readBytes, needed), end - at);
      window = await readPiece(handle, at, wanted, range.onUnreadable);
      windowStart = at;
      words = new Int32Array(window.buffer, window.byteOffset, window.length >> 2);
      if (window.length < wanted) end = at + window.length;
      // Who reads one record shall not read the next hundred; who reads all of them shall not call for each.
      readBytes = Math.min(2 * readBytes, windowBytesMax);
      continue;
    }
    const zeroBytes = zerosAt(words, (at - windowStart) / 4);
    if (zeroBytes > 0) {
      at += zeroBytes;
      continue;
    }
    const found = frameAt(window, at - windowStart, nonce);
    if (found === undefined) {
      damagedBytes += frameAlignment;
      if (nonce !== undefined && holdsWord(window, at - windowStart, nonce)) range.onTrace?.(at);
      at += frameAlignment;
      continue;
    }
    if (range.nonce !== 'each') nonce = found.nonce;
    const next = at + align(found.length);
    yield {
      kind: found.kind,
      nonce: found.nonce,
      content: found.content,
      offset: at,
      end: next,
      skippedBytes: at - previousEnd,
      damagedBytes,
    };
    damagedBytes = 0;
    at = next;
    previousEnd = next;
  }
}

/** Octets from `offset` on that must be at hand to tell whether a frame begins there. */
function neededBytes(data: Uint8Array, offset: number): number {
  if (offset + contentOffset > data.length) return contentOffset;
  if (kinds[(data[offset + 3] ?? 0) - kindBase] === undefined) return frameAlignment;
  const view = new DataView(data.buffer, data.byteOffset + offset, 4);
  return Math.min(longestFrame, bodyOffset + (view.getUint32(0, true) & 0xff_ffff));
}

/** The intact frame that begins at `offset` of `data`, if any. */
function frameAt(
  data: Uint8Array,
  offset: number,
  nonce: number | undefined,
): { kind: FrameKind; nonce: number; content: Uint8Array; length: number } | undefined {
  if (offset + contentOffset > data.length) return undefined;
  const kind = kinds[(data[offset + 3] ?? 0) - kindBase];
  if (kind === undefined) return undefined;
  const view = new DataView(data.buffer, data.byteOffset + offset, data.length - offset);
  const word = view.getUint32(0, true);
  const bodyLength = word & 0xff_ffff;
  const length = bodyOffset + bodyLength;
  if (bodyLength < contentOffset - bodyOffset || bodyLength > bodyBytesMax || length > view.byteLength) {
    return undefined;
  }
  // The cheap checks come first: damage full of plausible lengths must not cost one CRC per step.
  const frameNonce = view.getUint32(8, true);
  if (nonce !== undefined && frameNonce !== nonce) return undefined;
  const body = data.subarray(offset + bodyOffset, offset + length);
  if (crc32(body, word) !== view.getUint32(4, true)) return undefined;
  return { kind, nonce: frameNonce, content: body.slice(contentOffset - bodyOffset), length };
}

/** Octets of zeros from word `index` on, in steps of the alignment. */
function zerosAt(words: Int32Array, index: number): number {
  let at = index;
  while (at + 1 < words.length && words[at] === 0 && words[at + 1] === 0) at += 2;
  return (at - index) * 4;
}

function holdsWord(data: Uint8Array, offset: number, word: number): boolean {
  if (offset + 4 > data.length) return false;
  return new DataView(data.buffer, data.byteOffset + offset, 4).getUint32(0, true) === word;
}

async function readPiece(
  handle: FileHandle,
  position: number,
  length: number,
  onUnreadable: (() => void) | undefined,
): Promise<Uint8Array> {
  const piece = new Uint8Array(length);
  try {
    return piece.subarray(0, await handle.read(piece, position));
  } catch {
    piece.fill(0);
  }
  for (let at = 0; at < length; at += retryBytes) {
    const part = piece.subarray(at, Math.min(length, at + retryBytes));
    try {
      await handle.read(part, position + at);
    } catch {
      part.fill(0);
      onUnreadable?.();
    }
  }
  return piece;
}

/** `length` rounded up to the alignment of frames. */
export function align(length: number): number {
  return Math.ceil(length / frameAlignment) * frameAlignment;
}
