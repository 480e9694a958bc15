import { crc32 } from 'node:zlib';
import { assert } from '../base/assert.ts';
import type { FileHandle } from '../host/filesystem.ts';

/**
 * The frame that segments and journals are made of. Little endian, starting at multiples of 8:
 *
 *     0  u32  length of the body; 0 is "nothing here"
 *     4  u32  CRC-32 of the body, with the length as start value, so that a torn length is found too
 *     8  u32  nonce of the file, drawn when it was made        ┐
 *    12  u8   kind of content                                  │ body
 *    13  u8   0x42                                             │
 *    14  ...  content                                          ┘
 *         ..  zeros up to the next multiple of 8
 *
 * The nonce never leaves the device: a payload that imitates a frame cannot carry it, and neither can what a
 * previous file left in the same blocks. A reader that has lost the file's header takes the nonce of the first frame
 * whose CRC holds.
 */
export const frameAlignment = 8;
/** Longest body, in octets: a payload of 64 KiB with its record head. */
export const bodyBytesMax: number = 64 * 1024 + 1024;

const bodyOffset = 8;
const kindOffset = 12;
const contentOffset = 14;
const mark = 0x42;

/** What a frame holds; a file never mixes journal entries with readings. */
export type FrameKind = 'record' | 'footer' | 'entry';

const kinds: readonly FrameKind[] = ['record', 'footer', 'entry'];

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
  view.setUint32(0, bodyLength, true);
  view.setUint32(8, nonce, true);
  frame[kindOffset] = kinds.indexOf(kind);
  frame[kindOffset + 1] = mark;
  frame.set(content, contentOffset);
  view.setUint32(4, crc32(frame.subarray(bodyOffset, bodyOffset + bodyLength), bodyLength), true);
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
  /** Octets since the previous frame that were no frame. */
  readonly skippedBytes: number;
}

/** The stretch of a file to read frames from. */
export interface FrameRange {
  readonly start: number;
  readonly end: number;
  /** Expected nonce; undefined when the file's header is lost. */
  readonly nonce: number | undefined;
  /** Called when some part could not be read at all. */
  readonly onUnreadable?: () => void;
}

const longestFrame = align(bodyOffset + bodyBytesMax);
/** Longest piece read at once, in octets: two of the longest frames. */
export const windowBytes: number = 2 * longestFrame;

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
  let { nonce, end } = range;
  let at = range.start;
  let previousEnd = at;
  let window: Uint8Array = new Uint8Array(0);
  let windowStart = at;
  while (at < end) {
    if (Math.min(end, at + longestFrame) > windowStart + window.length) {
      const wanted = Math.min(windowBytes, end - at);
      window = await readPiece(handle, at, wanted, range.onUnreadable);
      windowStart = at;
      if (window.length < wanted) end = at + window.length;
    }
    const found = frameAt(window, at - windowStart, nonce);
    if (found === undefined) {
      at += frameAlignment;
      continue;
    }
    nonce = found.nonce;
    const next = at + align(found.length);
    yield {
      kind: found.kind,
      nonce,
      content: found.content,
      offset: at,
      end: next,
      skippedBytes: at - previousEnd,
    };
    at = next;
    previousEnd = next;
  }
}

/** The intact frame that begins at `offset` of `data`, if any. */
function frameAt(
  data: Uint8Array,
  offset: number,
  nonce: number | undefined,
): { kind: FrameKind; nonce: number; content: Uint8Array; length: number } | undefined {
  if (offset + contentOffset > data.length) return undefined;
  const view = new DataView(data.buffer, data.byteOffset + offset, data.length - offset);
  const bodyLength = view.getUint32(0, true);
  const length = bodyOffset + bodyLength;
  if (bodyLength < contentOffset - bodyOffset || bodyLength > bodyBytesMax || length > view.byteLength) {
    return undefined;
  }
  // The cheap checks come first: damage full of plausible lengths must not cost one CRC per step.
  const frameNonce = view.getUint32(8, true);
  const kind = kinds[view.getUint8(kindOffset)];
  if ((nonce !== undefined && frameNonce !== nonce) || kind === undefined) return undefined;
  if (view.getUint8(kindOffset + 1) !== mark) return undefined;
  const body = data.subarray(offset + bodyOffset, offset + length);
  if (crc32(body, bodyLength) !== view.getUint32(4, true)) return undefined;
  return { kind, nonce: frameNonce, content: body.slice(contentOffset - bodyOffset), length };
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

function align(length: number): number {
  return Math.ceil(length / frameAlignment) * frameAlignment;
}
