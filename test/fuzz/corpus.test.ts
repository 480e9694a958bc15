// Proves that no finding of the fuzzer comes back: each file of test/fuzz/corpus/ is fed to a new instance of its target,
// settled after each input and after all of them; that a short run of each target with a fixed seed finds nothing and
// comes to every kind of outcome; and that the fuzzer sees what it is there to see: an exception, one that nobody catches,
// a rejection, a table over its bound, a broken oracle, an input that takes too long. A finding is made as
// small as it can be.
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { NodeClock, settle } from '../../src/host/clock.ts';
import { cpuMs, decodeCorpus, fuzz, replay } from './run.ts';
import type { Extent } from './run.ts';
import { expect } from './target.ts';
import type { Input, Subject, Target } from './target.ts';
import { targets } from './targets.ts';

const corpus = join(import.meta.dirname, '..', '..', '..', 'test', 'fuzz', 'corpus');

for (const target of targets) {
  await t.test(`${target.name}: past findings`, async (t) => {
    const names = await fs.readdir(join(corpus, target.name)).catch(() => []);
    for (const name of names.sort()) {
      const inputs = decodeCorpus(await fs.readFile(join(corpus, target.name, name), 'utf8'));
      t.ok(inputs.length > 0, `${name} holds inputs`);
      for (const every of [1, inputs.length]) {
        t.equal(await replay(target, inputs, every), undefined, `${name}, settled every ${every}`);
      }
    }
  });

  await t.test(`${target.name}: a short run`, async (t) => {
    const extent = { ...extentOf(2026, tmpdir()), inputs: 10_000 };
    const { failure, reached } = await fuzz(target, extent);
    t.equal(failure, undefined, 'seed 2026');
    for (const [what, count] of Object.entries(reached)) t.ok(count > 0, `${what}: ${count}`);
  });
}

function extentOf(seed: number, corpusDirectory: string): Extent {
  return {
    seed,
    // The number of inputs alone ends a run: how many a loaded machine feeds in a time proves nothing.
    seconds: Infinity,
    inputs: 100_000,
    corpusDirectory,
    minimiseMs: 60_000,
    onProgress: () => undefined,
  };
}

/** A target that fails in a way of its own at any input that begins with 7, once it has seen one that begins with 3. */
function brokenTarget(fail: (size: { value: number }) => void): Target {
  const open = (): Subject => {
    const size = { value: 0 };
    let isArmed = false;
    return {
      feed: ({ data }: Input): void => {
        if (data[0] === 3) isArmed = true;
        if (data[0] === 7 && isArmed) fail(size);
      },
      settle,
      sizes: () => [{ name: 'table', value: size.value, max: 5 }],
      reached: () => ({}),
      close: () => Promise.resolve(),
    };
  };
  const generate: Target['generate'] = (dice) => () => ({
    channel: 'x',
    data: dice.bytes(1 + dice.below(20)),
  });
  return { name: 'broken', open, generate };
}

await t.test('what the fuzzer sees', async (t) => {
  const clock = new NodeClock();
  const failures: Readonly<Record<string, readonly [RegExp, (size: { value: number }) => void]>> = {
    exception: [/^thrown/u, () => { throw new Error('thrown'); }],
    rejection: [/^nobody caught: lost/u, () => void Promise.reject(new Error('lost'))],
    oracle: [/^not so/u, () => expect(false, 'not so')],
    table: [/^table: 9, over the bound of 5/u, (size) => (size.value = 9)],
    hang: [
      /over 100 ms/u,
      () => {
        // Long by the clock, which raises the suspicion, and by the processor, which confirms it.
        const [startMs, startCpuMs] = [clock.monotonicMs(), cpuMs()];
        while (clock.monotonicMs() - startMs < 130 || cpuMs() - startCpuMs < 130);
      },
    ],
  }; // prettier-ignore
  for (const [name, [pattern, fail]] of Object.entries(failures)) {
    const corpusDirectory = await fs.mkdtemp(join(tmpdir(), 'baton-fuzz-'));
    const extent = { ...extentOf(5, corpusDirectory), minimiseMs: name === 'hang' ? 1_500 : 60_000 };
    const { failure } = await fuzz(brokenTarget(fail), extent);
    t.match(failure, { message: pattern }, `${name}: found`);
    const kept = decodeCorpus(await fs.readFile(failure?.corpusFile ?? '', 'utf8'));
    if (name === 'hang') t.ok(kept.length < 200, `${name}: kept`);
    else
      t.same(
        kept.map(({ data }) => [...data]),
        [[3], [7]],
        `${name}: of one octet each`,
      );
    await fs.rm(corpusDirectory, { recursive: true });
  }
});
