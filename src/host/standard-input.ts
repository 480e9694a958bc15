/**
 * Standard input as octets, as they come; ends with the input or when `signal` aborts. The reader sets the pace: nothing
 * is read ahead of it.
 */
export async function* openStandardInput(signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const stop = (): void => void process.stdin.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of process.stdin) yield chunk as Uint8Array;
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
