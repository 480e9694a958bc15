import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.ts';
import { NodeClock, settle } from '../../src/host/clock.ts';
import { Dice } from './target.ts';
import type { Input, Subject, Target } from './target.ts';

/** Inputs between two settlements. */
export const batchInputs = 16;

const historyBatches = 256;
const hangMs = 100;
/** Octets the heap may have grown by from the first measurement, made when all tables are full, to the end. */
const growthBytesMax = 4 * 1024 * 1024;
const warmInputs = 200_000;
const clock = new NodeClock();

/** What a run came to. */
export interface Report {
  readonly target: string;
  readonly seed: number;
  readonly inputs: number;
  readonly seconds: number;
  readonly inputsPerSecond: number;
  /** By the time this process had a processor, which another load does not change. */
  readonly inputsPerCpuSecond: number;
  /** The longest time one batch of inputs took, and whatever else the machine did meanwhile. */
  readonly slowestBatchMs: number;
  /** Growth of the heap after collection since the tables were full; undefined in a run too short to fill them. */
  readonly growthBytes: number | undefined;
  readonly reached: Readonly<Record<string, number>>;
  readonly failure?: {
    readonly message: string;
    readonly corpusFile: string | undefined;
    readonly inputs: number;
  };
}

/** How long to run; whichever comes first. */
export interface Extent {
  readonly seed: number;
  readonly seconds: number;
  readonly inputs: number;
  readonly corpusDirectory: string;
  /** Processor time for making a failure smaller: what else the machine does changes nothing of the outcome. */
  readonly minimiseMs: number;
  /** Called about every second with the inputs so far. */
  readonly onProgress: (inputs: number) => void;
}

/** Feeds a target until the extent is reached or something fails; a failure is minimised and written to the corpus. */
export async function fuzz(target: Target, extent: Extent): Promise<Report> {
  const loose = new LooseErrors();
  const subject = target.open();
  const next = target.generate(new Dice(extent.seed));
  const history: Input[][] = [];
  const startMs = clock.monotonicMs();
  const startCpuMs = cpuMs();
  let inputs = 0;
  let slowestBatchMs = 0;
  let warmBytes: number | undefined;
  let failure: string | undefined;
  let progressMs = startMs;
  while (inputs < extent.inputs && failure === undefined) {
    const batchMs = clock.monotonicMs();
    if (batchMs - startMs >= extent.seconds * 1000) break;
    const batch = Array.from({ length: batchInputs }, next);
    history.push(batch);
    if (history.length > historyBatches) history.shift();
    failure = await feedBatch(subject, batch, loose);
    inputs += batch.length;
    const nowMs = clock.monotonicMs();
    slowestBatchMs = Math.max(slowestBatchMs, nowMs - batchMs);
    if (failure === undefined && nowMs - batchMs > hangMs)
      failure = await confirmHang(target, history, loose);
    if (warmBytes === undefined && inputs >= warmInputs) warmBytes = await heapBytes(history);
    if (nowMs - progressMs > 1000) {
      progressMs = nowMs;
      extent.onProgress(inputs);
    }
  }
  const seconds = (clock.monotonicMs() - startMs) / 1000;
  const cpuSeconds = (cpuMs() - startCpuMs) / 1000;
  const kept = failure === undefined ? [] : history.slice();
  const growthBytes = warmBytes === undefined ? undefined : (await heapBytes(history)) - warmBytes;
  const reached = { ...subject.reached() };
  await subject.close();
  let found: Report['failure'];
  if (failure !== undefined) {
    const smallest = await minimise(target, kept, failure, loose, extent.minimiseMs);
    const corpusFile = smallest === undefined ? undefined : await save(target, extent, failure, smallest);
    found = { message: failure, corpusFile, inputs: smallest?.length ?? 0 };
  } else if (growthBytes !== undefined && growthBytes > growthBytesMax) {
    const message = `the heap grew by ${growthBytes} bytes; ${growthBytesMax} at most`;
    found = { message, corpusFile: undefined, inputs: 0 };
  }
  loose.close();
  return {
    target: target.name,
    seed: extent.seed,
    inputs,
    seconds: Math.round(seconds * 100) / 100,
    inputsPerSecond: Math.round(inputs / seconds),
    inputsPerCpuSecond: Math.round(inputs / cpuSeconds),
    slowestBatchMs: Math.round(slowestBatchMs * 10) / 10,
    growthBytes,
    reached,
    ...(found === undefined ? {} : { failure: found }),
  };
}

/** Feeds inputs to a new subject, settling after every `every` of them; returns what failed, if anything. */
export async function replay(
  target: Target,
  inputs: readonly Input[],
  every: number,
): Promise<string | undefined> {
  const loose = new LooseErrors();
  try {
    return await replayWith(target, inputs, every, loose);
  } finally {
    loose.close();
  }
}

async function replayWith(
  target: Target,
  inputs: readonly Input[],
  every: number,
  loose: LooseErrors,
): Promise<string | undefined> {
  const subject = target.open();
  let failure: string | undefined;
  for (let at = 0; at < inputs.length && failure === undefined; at += every) {
    const startMs = cpuMs();
    failure = await feedBatch(subject, inputs.slice(at, at + every), loose);
    if (failure === undefined && cpuMs() - startMs > hangMs) failure = hangText;
  }
  await subject.close();
  return failure;
}

const hangText = `inputs that take over ${hangMs} ms`;

async function feedBatch(
  subject: Subject,
  batch: readonly Input[],
  loose: LooseErrors,
): Promise<string | undefined> {
  try {
    for (const input of batch) subject.feed(input);
    await subject.settle();
  } catch (error) {
    return textOf(error);
  }
  const over = subject.sizes().find(({ value, max }) => value > max);
  if (over !== undefined) return `${over.name}: ${over.value}, over the bound of ${over.max}`;
  return loose.take();
}

/** A slow batch may be the machine's doing: it counts when after the same history it is slow twice more. */
async function confirmHang(
  target: Target,
  history: readonly Input[][],
  loose: LooseErrors,
): Promise<string | undefined> {
  for (let round = 0; round < 2; round++) {
    const subject = target.open();
    for (const batch of history.slice(0, -1)) await feedBatch(subject, batch, loose);
    const startMs = cpuMs();
    await feedBatch(subject, history.at(-1) ?? [], loose);
    const took = cpuMs() - startMs;
    await subject.close();
    if (took <= hangMs) return undefined;
  }
  return hangText;
}

/** The shortest sequence found that still fails in a new subject; undefined when none does. */
async function minimise(
  target: Target,
  history: readonly Input[][],
  failure: string,
  loose: LooseErrors,
  minimiseMs: number,
): Promise<readonly Input[] | undefined> {
  const kind = kindOf(failure);
  const endMs = cpuMs() + minimiseMs;
  const fails = async (inputs: readonly Input[]): Promise<boolean> => {
    if (cpuMs() > endMs) return false;
    for (const every of [1, batchInputs]) {
      const again = await replayWith(target, inputs, every, loose);
      if (again !== undefined && kindOf(again) === kind) return true;
    }
    return false;
  };
  let inputs: Input[] | undefined;
  for (let batches = 1; inputs === undefined; batches *= 2) {
    const tail = history.slice(-batches).flat();
    if (await fails(tail)) inputs = tail;
    else if (batches >= history.length) return undefined;
  }
  for (let size = inputs.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < inputs.length;) {
      const rest: Input[] = [...inputs.slice(0, at), ...inputs.slice(at + size)];
      if (rest.length > 0 && (await fails(rest))) inputs = rest;
      else at += size;
    }
  }
  for (const [index, input] of inputs.entries()) {
    for (let size = input.data.length >> 1; size >= 1 && input.data.length < 4096; size >>= 1) {
      for (let at = 0; at < (inputs[index]?.data.length ?? 0);) {
        const { channel, data } = inputs[index] as Input;
        const cut = Buffer.concat([data.subarray(0, at), data.subarray(at + size)]);
        const rest = inputs.with(index, { channel, data: cut });
        if (await fails(rest)) inputs = rest;
        else at += size;
      }
    }
  }
  return inputs;
}

/** A failure without the octets and numbers of the one input. */
function kindOf(failure: string): string {
  return failure.split('\n')[0]?.slice(0, 24) ?? '';
}

async function save(
  target: Target,
  extent: Extent,
  failure: string,
  inputs: readonly Input[],
): Promise<string> {
  const directory = join(extent.corpusDirectory, target.name);
  await fs.mkdir(directory, { recursive: true });
  const path = join(directory, `seed-${extent.seed}.txt`);
  await fs.writeFile(path, encodeCorpus(`${failure.split('\n')[0]?.slice(0, 200)}`, inputs));
  return path;
}

/** A corpus file: a comment, then one input a line: its channel as a JSON text, its octets in hexadecimal. */
export function encodeCorpus(comment: string, inputs: readonly Input[]): string {
  const lines = inputs.map(
    ({ channel, data }) => `${JSON.stringify(channel)} ${Buffer.from(data).toString('hex')}`,
  );
  return [`# ${comment}`, ...lines, ''].join('\n');
}

/** The inputs of a corpus file. */
export function decodeCorpus(text: string): Input[] {
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const split = line.lastIndexOf(' ');
      return {
        channel: JSON.parse(line.slice(0, split)) as string,
        data: Buffer.from(line.slice(split + 1), 'hex'),
      };
    });
}

/** Errors that nobody caught, and rejections that nobody handled. */
class LooseErrors {
  #first: string | undefined;
  readonly #onError = (error: unknown): void => {
    this.#first ??= `nobody caught: ${textOf(error)}`;
  };

  constructor() {
    process.on('uncaughtException', this.#onError);
    process.on('unhandledRejection', this.#onError);
  }

  take(): string | undefined {
    const first = this.#first;
    this.#first = undefined;
    return first;
  }

  close(): void {
    process.off('uncaughtException', this.#onError);
    process.off('unhandledRejection', this.#onError);
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${errorText(error)}\n${error.stack ?? ''}` : String(error);
}

/** Time that this process had a processor, its collector included. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Octets of the heap after collection, without the inputs that were kept: those may be long or short. */
async function heapBytes(history: Input[][]): Promise<number> {
  history.length = 0;
  // What a collection found to be dead is given back on the side, and counts until then.
  for (let round = 0; round < 3; round++) {
    globalThis.gc?.();
    await settle();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
