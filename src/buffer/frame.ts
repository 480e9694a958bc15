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
 * What a frame holds: journals have entries; slots have records, alone or in groups, the run and the streams that these
 * refer to, and a footer.
 */
export type FrameKind = 'record' | 'footer' | 'entry' | 'run' | 'stream' | 'group';

const kinds: readonly FrameKind[] = ['record', 'footer', 'entry', 'run', 'stream', 'group'];
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

/** A frame found in a file. */
export interface FoundFrame {
  readonly kind: FrameKind;
  readonly nonce: number;
  /** Part of a window that is used again: copy what is to be kept. */
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
  /** Memory to read into; without it a window is made for this reading. */
  readonly windows?: ReadWindows;
  /** Ends the reading so many octets after the last intact frame; undefined goes on to the end. */
  readonly gapBytesMax?: number;
  /** Called when some part could not be read at all, before the frames behind it are visited. */
  readonly onUnreadable?: (error: unknown) => void;
  /** Called for each place outside intact frames that holds the expected nonce, where a frame would have it. */
  readonly onTrace?: (position: number) => void;
}

const longestFrame = align(bodyOffset + bodyBytesMax);
const windowBytesMin = 8 * 1024;
const windowBytesMax = 64 * 1024;
const windowsKept = 2;

const retryBytes = 4096;

/** Windows that readings take in turn, so that who reads a whole log leaves no garbage of its size. */
export class ReadWindows {
  readonly #free: Uint8Array[] = [];

  /** A window of `length` octets, of any content. */
  take(length: number): Uint8Array {
    if (length > windowBytesMax) return new Uint8Array(length);
    return (this.#free.pop() ?? new Uint8Array(windowBytesMax)).subarray(0, length);
  }

  /** Takes a window back; nobody may look at it any more. */
  give(window: Uint8Array): void {
    if (window.buffer.byteLength !== windowBytesMax || this.#free.length >= windowsKept) return;
    this.#free.push(new Uint8Array(window.buffer));
  }
}

/**
 * Calls `visit` for the intact frames of a stretch, in order, until it answers `stop`. Anything else is stepped over in
 * units of the alignment: a bad frame costs itself. A piece that cannot be read counts as zeros after a second try page
 * by page. Holds one window in memory.
 */
export async function visitFrames(
  handle: FileHandle,
  range: FrameRange,
  visit: (frame: FoundFrame) => 'stop' | undefined,
): Promise<void> {
  const { windows = new ReadWindows(), gapBytesMax = Number.POSITIVE_INFINITY } = range;
  const reading = new FrameReading(range);
  // Who reads one record shall not read the next hundred; who reads all of them shall not call for each.
  let readBytes = windowBytesMin;
  for (;;) {
    const wanted = reading.wantedBytes(readBytes);
    if (wanted === 0 || reading.gapBytes > gapBytesMax) return;
    const memory = windows.take(wanted);
    const window = await readPiece(handle, memory, reading.at, range.onUnreadable);
    const outcome = reading.visitWindow(window, window.length < wanted, visit);
    windows.give(memory);
    if (outcome === 'stop') return;
    readBytes = Math.min(2 * readBytes, windowBytesMax);
  }
}

/** The intact frame that begins at `offset` of `data`, if any; its offsets count in `data`. */
export function frameIn(data: Uint8Array, offset: number, nonce: number): FoundFrame | undefined {
  let found: FoundFrame | undefined;
  const reading = new FrameReading({ start: offset, end: data.length, nonce });
  reading.visitWindow(data.subarray(offset), true, (frame) => {
    if (frame.offset === offset) found = frame;
    return 'stop';
  });
  return found;
}

/** Where a reading of frames stands. */
class FrameReading {
  /** Position in the file from which to read on. */
  at: number;
  readonly #range: FrameRange;
  #end: number;
  #nonce: number | undefined;
  #previousEnd: number;
  #damagedBytes = 0;
  /** Octets that the frame at `at` needs at once. */
  #needed = contentOffset;

  constructor(range: FrameRange) {
    this.#range = range;
    this.at = range.start;
    this.#end = range.end;
    this.#nonce = range.nonce === 'each' ? undefined : range.nonce;
    this.#previousEnd = range.start;
  }

  /** Octets since the last intact frame. */
  get gapBytes(): number {
    return this.at - this.#previousEnd;
  }

  /** Octets to read next, `readBytes` unless a frame needs more; 0 at the end. */
  wantedBytes(readBytes: number): number {
    return Math.min(Math.max(readBytes, this.#needed), Math.max(0, this.#end - this.at));
  }

  /** Goes through what was read from `at` on; `isLast` when the file has no more. */
  visitWindow(
    data: Uint8Array,
    isLast: boolean,
    visit: (frame: FoundFrame) => 'stop' | undefined,
  ): 'stop' | undefined {
    const start = this.at;
    if (isLast) this.#end = Math.min(this.#end, start + data.length);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    this.#needed = contentOffset;
    while (this.at < this.#end) {
      const offset = this.at - start;
      const needed = Math.min(this.#end - this.at, neededBytes(view, offset));
      if (offset + needed > data.length) {
        this.#needed = needed;
        return undefined;
      }
      const zeroBytes = zerosAt(view, offset);
      if (zeroBytes > 0) {
        this.at += zeroBytes;
        continue;
      }
      const bodyLength = intactLength(data, view, offset, this.#nonce);
      if (bodyLength === undefined) {
        this.#stepOver(view, offset);
        continue;
      }
      const found = this.#found(data, view, offset, bodyLength);
      if (visit(found) === 'stop') return 'stop';
    }
    return undefined;
  }

  #stepOver(view: DataView, offset: number): void {
    this.#damagedBytes += frameAlignment;
    const holds = offset + 4 <= view.byteLength && view.getUint32(offset, true) === this.#nonce;
    if (holds) this.#range.onTrace?.(this.at);
    this.at += frameAlignment;
  }

  #found(data: Uint8Array, view: DataView, offset: number, bodyLength: number): FoundFrame {
    const nonce = view.getUint32(offset + 8, true);
    if (this.#range.nonce !== 'each') this.#nonce = nonce;
    const frame = {
      kind: kinds[(data[offset + 3] ?? 0) - kindBase] ?? 'record',
      nonce,
      content: data.subarray(offset + contentOffset, offset + bodyOffset + bodyLength),
      offset: this.at,
      end: this.at + align(bodyOffset + bodyLength),
      skippedBytes: this.at - this.#previousEnd,
      damagedBytes: this.#damagedBytes,
    };
    this.#damagedBytes = 0;
    this.at = frame.end;
    this.#previousEnd = frame.end;
    return frame;
  }
}

/** Octets from `offset` on that must be at hand to tell whether a frame begins there. */
function neededBytes(view: DataView, offset: number): number {
  if (offset + contentOffset > view.byteLength) return contentOffset;
  const word = view.getUint32(offset, true);
  if (!isKind(word >>> 24)) return frameAlignment;
  return Math.min(longestFrame, bodyOffset + (word & 0xff_ffff));
}

/** Length of the body of the intact frame that begins at `offset`, if one does. */
function intactLength(
  data: Uint8Array,
  view: DataView,
  offset: number,
  nonce: number | undefined,
): number | undefined {
  if (offset + contentOffset > data.length) return undefined;
  const word = view.getUint32(offset, true);
  if (!isKind(word >>> 24)) return undefined;
  const bodyLength = word & 0xff_ffff;
  const end = offset + bodyOffset + bodyLength;
  if (bodyLength < contentOffset - bodyOffset || bodyLength > bodyBytesMax || end > data.length) {
    return undefined;
  }
  // The cheap checks come first: damage full of plausible lengths must not cost one CRC per step.
  if (nonce !== undefined && view.getUint32(offset + 8, true) !== nonce) return undefined;
  const crc = crc32(data.subarray(offset + bodyOffset, end), word);
  return crc === view.getUint32(offset + 4, true) ? bodyLength : undefined;
}

function isKind(octet: number): boolean {
  return octet >= kindBase && octet < kindBase + kinds.length;
}

/** Octets of zeros from `offset` on, in steps of the alignment. */
function zerosAt(view: DataView, offset: number): number {
  let at = offset;
  while (at + 8 <= view.byteLength && view.getUint32(at, true) === 0 && view.getUint32(at + 4, true) === 0) {
    at += 8;
  }
  return at - offset;
}

/** Fills `memory` from `position`; what of it the file has. */
async function readPiece(
  handle: FileHandle,
  memory: Uint8Array,
  position: number,
  onUnreadable: ((error: unknown) => void) | undefined,
): Promise<Uint8Array> {
  try {
    return memory.subarray(0, await handle.read(memory, position));
  } catch {
    memory.fill(0);
  }
  let end = retryBytes - (position % retryBytes);
  for (let at = 0; at < memory.length; at = end, end += retryBytes) {
    const part = memory.subarray(at, Math.min(memory.length, end));
    try {
      await handle.read(part, position + at);
    } catch (error) {
      part.fill(0);
      onUnreadable?.(error);
    }
  }
  return memory;
}

/** `length` rounded up to the alignment of frames. */
export function align(length: number): number {
  return Math.ceil(length / frameAlignment) * frameAlignment;
}
