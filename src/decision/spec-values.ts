/** The entry of a non-empty set of numbers that lies nearest to `value`; the first one for a value that is not finite. */
export function nearestOf(value: number, values: readonly number[]): number {
  const distance = (entry: number): number => Math.abs(entry - value);
  return values.reduce((best, entry) => (distance(entry) < distance(best) ? entry : best), values[0] ?? 0);
}
