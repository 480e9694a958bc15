/** A duration for people: `340 ms`, `4.2 s`, `3:07`, `2:03:07`, `5 d 2 h`. */
export function durationText(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms)) return '-';
  const value = Math.max(0, ms);
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 60_000) return `${(value / 1000).toFixed(1)} s`;
  const seconds = Math.floor(value / 1000);
  const two = (part: number): string => String(part % 60).padStart(2, '0');
  if (seconds < 3600) return `${Math.floor(seconds / 60)}:${two(seconds)}`;
  const hours = Math.floor(seconds / 3600);
  if (hours < 48) return `${hours}:${two(Math.floor(seconds / 60))}:${two(seconds)}`;
  return `${shortNumber(Math.floor(hours / 24))} d ${hours % 24} h`;
}

/** A count of octets: `812 B`, `4.0 KiB`, `1.2 GiB`. */
export function bytesText(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (Math.abs(value) < 1024) return `${unit === 'B' ? shortNumber(value) : value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return `${shortNumber(value)} TiB`;
}

/** A number of bounded length: at most one digit after the point, an exponent beyond 12 digits. */
export function shortNumber(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '-';
  if (Math.abs(value) >= 1e12) return value.toExponential(2);
  return Number.isInteger(value) ? String(value) : value.toFixed(1);
}
