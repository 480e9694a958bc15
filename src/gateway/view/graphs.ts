const steps = ' ▁▂▃▄▅▆▇█';

/** A graph of the newest `width` values in `height` rows of text, top first; undefined leaves a gap. */
export function sparkline(
  values: readonly (number | undefined)[],
  range: { readonly min: number; readonly max: number },
  size: { readonly width: number; readonly height: number },
): string[] {
  const width = Math.max(0, size.width);
  const shown = values.slice(Math.max(0, values.length - width));
  const levels = size.height * 8;
  const heights = shown.map((value) => {
    if (value === undefined || Number.isNaN(value)) return 0;
    const fraction = (value - range.min) / (range.max - range.min || 1);
    return 1 + Math.round(Math.min(1, Math.max(0, fraction)) * (levels - 1));
  });
  return Array.from({ length: size.height }, (_, row) => {
    const below = (size.height - 1 - row) * 8;
    const drawn = heights.map((height) => steps[Math.min(8, Math.max(0, height - below))] ?? ' ').join('');
    return drawn.padStart(width);
  });
}

/** Radio levels between which graphs and bars go from empty to full, in dBm (RSRP). */
export const levelRangeDbm: { readonly min: number; readonly max: number } = { min: -125, max: -70 };

/** Four bars for a level, as a telephone shows them. */
export function signalBars(rsrpDbm: number | undefined): string {
  const bars = '▂▄▆█';
  const { min, max } = levelRangeDbm;
  const fraction = rsrpDbm === undefined ? 0 : (rsrpDbm - min) / (max - min);
  const count = Math.min(4, Math.max(0, Math.ceil(fraction * 4)));
  return [...bars].map((bar, index) => (index < count ? bar : '·')).join('');
}

/** A bar of `width` columns, `fraction` (0..1) of it filled. */
export function progressBar(fraction: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, fraction || 0)) * Math.max(0, width));
  return '━'.repeat(filled) + '─'.repeat(Math.max(0, width - filled));
}
