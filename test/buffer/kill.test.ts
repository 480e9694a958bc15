// Proves that a log of a process that is killed, again and again and at any instant (while it opens, commits, evicts,
// seals), loses and repeats nothing: every record reported stored and not acknowledged or evicted is there once, in order
// and with the right octets; no number ever stands for two records, no record has two numbers; nothing durably settled
// comes back; counts add up. A build that reports before it writes is caught.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { SeededEntropy } from '../../src/testbed/seeded-entropy.ts';
import { parseFacts } from '../powercut/facts.ts';
import type { Fact } from '../powercut/facts.ts';
import { checkLog } from '../powercut/log-check.ts';
import { killWorkloads } from './kill-order.ts';
import type { KillOrder, KillUse } from './kill-order.ts';

const seed = Number(process.env['BATON_TEST_SEED'] ?? Math.floor(new NodeClock().unixMs() % 1e6));
t.comment(`seed ${seed}, set BATON_TEST_SEED to draw the same kills`);
t.setTimeout(110_000);

const clock = new NodeClock();
/** On a loaded machine fewer kills have to do. */
const kills = { most: 36, least: 10, withinMs: 14_000 };
const childPath = join(import.meta.dirname, 'kill-child.js');

/** A process that waits for the word to begin. */
class Child {
  readonly #process;
  readonly #ended: Promise<void>;
  #text = '';
  #told: () => void = () => undefined;
  #errors = '';

  constructor(order: KillOrder) {
    this.#process = spawn(process.execPath, [childPath, JSON.stringify(order)]);
    this.#process.stdout.on('data', (data: Buffer) => {
      this.#text += data.toString();
      this.#told();
    });
    this.#process.stderr.on('data', (data: Buffer) => (this.#errors += data.toString()));
    this.#ended = new Promise((resolve) => {
      this.#process.once('close', () => {
        resolve();
        this.#told();
      });
    });
  }

  begin(): void {
    this.#process.stdin.write('\n');
  }

  /** Resolves when the process has told so many facts, or has ended. */
  async tells(facts: number): Promise<void> {
    while (this.#process.exitCode === null && this.#text.split('\n').length <= facts) {
      await new Promise<void>((resolve) => (this.#told = resolve));
    }
  }

  /** Kills the process and answers all that it has told. */
  async kill(): Promise<Fact[]> {
    this.#process.kill('SIGKILL');
    await this.#ended;
    if (this.#errors !== '') throw new Error(this.#errors);
    return parseFacts(this.#text);
  }
}

/** Kills processes on one directory until it is enough; answers what they told. */
async function killMany(
  directory: string,
  use: KillUse,
  most: number,
): Promise<{ facts: Fact[]; count: number }> {
  const entropy = new SeededEntropy(seed).fork(use);
  const facts: Fact[] = [];
  const endMs = clock.monotonicMs() + kills.withinMs;
  const start = (session: number): Child => new Child({ directory, seed, session, use });
  let next: Child | undefined = start(0);
  let count = 0;
  try {
    while (count < most && (count < kills.least || clock.monotonicMs() < endMs)) {
      const child: Child = next;
      child.begin();
      count += 1;
      next = start(count);
      const isOpening = count % 4 === 1;
      await child.tells(isOpening ? 1 : 1 + (entropy.uint32() % 400));
      if (count > 1) await sleep(clock, millis(entropy.uint32() % 6));
      facts.push(...(await child.kill()));
    }
  } finally {
    await next.kill();
  }
  return { facts, count };
}

async function withDirectory(use: (directory: string) => Promise<void>): Promise<void> {
  const directory = await fs.mkdtemp(join(tmpdir(), 'baton-kill-'));
  try {
    await use(join(directory, 'log'));
  } finally {
    await fs.rm(directory, { recursive: true, force: true });
  }
}

function countOf(facts: readonly Fact[], kind: Fact['kind']): number {
  return facts.filter((fact) => fact.kind === kind).length;
}

void t.test('everything told before a kill holds after many', async (t) => {
  await withDirectory(async (directory) => {
    const { facts, count } = await killMany(directory, 'everything', kills.most);
    await checkLog(directory, killWorkloads.everything, facts);
    const text = (['stored', 'acknowledging', 'evicted', 'durable', 'opened'] as const)
      .map((kind) => `${kind} ${countOf(facts, kind)}`)
      .join(', ');
    t.comment(`${count} kills; ${text}`);
    t.ok(countOf(facts, 'stored') > 20 * count, 'records were stored');
    t.ok(
      countOf(facts, 'evicted') > 0 && countOf(facts, 'durable') > 0,
      'slots were evicted, cursors synced',
    );
    t.ok(countOf(facts, 'opening') === count, 'each process began');
    t.ok(countOf(facts, 'opened') < count, 'some were killed while they opened');
  });
});

void t.test('a build that reports before it writes is caught', async (t) => {
  await withDirectory(async (directory) => {
    const { facts } = await killMany(directory, 'lateWrites', 3);
    await t.rejects(
      checkLog(directory, killWorkloads.lateWrites, facts),
      /is lost|lost records|was reported stored as/,
    );
  });
});
