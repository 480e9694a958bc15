import { printable } from '../../base/text.ts';

/** Role of a piece of text; the encoder knows its colour. */
export type Style = 'title' | 'heading' | 'good' | 'bad' | 'warn' | 'dim' | 'accent' | 'strong';

/** A piece of a line. `text` is already safe: own glyphs, or foreign text that went through `safe`. */
export interface Span {
  readonly text: string;
  readonly style?: Style;
}

/** One line of the screen. */
export type Line = readonly Span[];

/** What the output can show. */
export interface Appearance {
  readonly unicode: boolean;
  readonly colour: boolean;
}

const invisible = /[\p{C}\p{M}\p{Zl}\p{Zp}]/gu;
// East Asian wide and full-width blocks, and everything that a terminal may draw as a picture (Unicode UAX 11, UTS 51).
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2ff}\u{1f000}-\u{1faff}\u{20000}-\u{3fffd}\p{Emoji_Presentation}\p{Extended_Pictographic}]/u;

/** Foreign text made fit for a screen: printable, no combining marks, of known width, at most `widthMax` columns. */
export function safe(text: string, widthMax = 60): string {
  // Cut before the work, so that a text of a megabyte costs no more than a short one.
  const shown = printable(text.slice(0, 4 * widthMax).normalize('NFC'), 8 * widthMax);
  return clip(shown.replace(invisible, ''), widthMax);
}

/** Columns that safe text takes. */
export function widthOf(text: string): number {
  let width = 0;
  for (const char of text) width += wide.test(char) ? 2 : 1;
  return width;
}

/** Text of at most `width` columns, with an ellipsis where something was cut off. */
export function clip(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let kept = '';
  let used = 0;
  for (const char of text) {
    const charWidth = widthOf(char);
    if (used + charWidth > width - 1) break;
    kept += char;
    used += charWidth;
  }
  return width > 0 ? `${kept}…` : '';
}

/** Safe text in rows of at most `width` columns, broken between words; a longer word has a row of its own. */
export function wrap(text: string, width: number): string[] {
  const rows: string[] = [];
  let row = '';
  for (const word of text.split(' ')) {
    if (row !== '' && widthOf(row) + 1 + widthOf(word) > width) {
      rows.push(row);
      row = word;
    } else row = row === '' ? word : `${row} ${word}`;
  }
  return [...rows, row];
}

/** Text of exactly `width` columns. */
export function pad(text: string, width: number): string {
  const clipped = clip(text, width);
  return clipped + ' '.repeat(Math.max(0, width - widthOf(clipped)));
}

/** Text of exactly `width` columns, its end at the right. */
export function padLeft(text: string, width: number): string {
  const clipped = clip(text, width);
  return ' '.repeat(Math.max(0, width - widthOf(clipped))) + clipped;
}

/** Shorthand for a span. */
export function span(text: string, style?: Style): Span {
  return style === undefined ? { text } : { text, style };
}

/** A line as text of at most `columns` columns. */
export function encodeLine(line: Line, columns: number, appearance: Appearance): string {
  let left = columns;
  let encoded = '';
  for (const { text, style } of line) {
    const clipped = clip(text, left);
    if (clipped === '') continue;
    left -= widthOf(clipped);
    const shown = appearance.unicode ? clipped : toAscii(clipped);
    encoded += appearance.colour && style !== undefined ? `\x1b[${colours[style]}m${shown}\x1b[0m` : shown;
  }
  return appearance.colour ? encoded : encoded.trimEnd();
}

const colours: Readonly<Record<Style, string>> = {
  title: '1;7',
  heading: '36',
  good: '32',
  bad: '1;31',
  warn: '33',
  dim: '2',
  accent: '1;36',
  strong: '1',
};

const asciiGlyphs: Readonly<Record<string, string>> = {
  '━': '=', '─': '-', '●': '*', '○': 'o', '✓': 'x', '✗': '!', '▸': '>', '·': '.', '→': '>', '…': '~', '×': 'x',
  '≠': '!', '▁': '_', '▂': '.', '▃': '-', '▄': '-', '▅': '=', '▆': '=', '▇': '#', '█': '#',
}; // prettier-ignore

/** The same columns in ASCII. */
function toAscii(text: string): string {
  let ascii = '';
  for (const char of text) {
    ascii += char >= ' ' && char <= '~' ? char : (asciiGlyphs[char] ?? '?'.repeat(widthOf(char)));
  }
  return ascii;
}
