/** The candidate closest to a misspelt word, or undefined when none is near enough to be meant. */
export function nearestName(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `"…, did you mean "name"?"`, or the list of valid names when nothing is near. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const near = nearestName(word, candidates);
  return near === undefined ? `valid: ${candidates.join(', ')}` : `did you mean "${near}"?`;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

const hidden = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Foreign text made safe for a terminal or a log line: no control characters, bounded length. */
export function printable(text: string, lengthMax = 120): string {
  const shown = text.replace(
    hidden,
    (char) => `\\x${(char.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`,
  );
  return shown.length <= lengthMax ? shown : `${shown.slice(0, lengthMax - 1)}…`;
}

/** Foreign bytes as a short hexadecimal excerpt for an error message. */
export function hexExcerpt(data: Uint8Array, bytesMax = 16): string {
  const head = Buffer.from(data.subarray(0, bytesMax)).toString('hex');
  return data.length > bytesMax ? `${head}… (${data.length} bytes)` : head;
}
