// Checks one state in a process of its own. Its one argument is a `CheckOrder`; it exits with 0 when the store is as the
// facts before the cut demand, else with 1 and the first thing that is wrong on standard error.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { NodeFilesystem } from '../../src/host/filesystem.ts';
import { readFacts } from './facts.ts';
import type { Fact } from './facts.ts';
import { checkLog, knowledgeOf } from './log-check.ts';
import { logWorkload } from './log-workloads.ts';
import { checkSmallState } from './small-state.ts';
import { sqliteScript, storeOf } from './stores.ts';
import type { CheckOrder } from './stores.ts';

const order = JSON.parse(process.argv[2] ?? '') as CheckOrder;
const { engine } = storeOf(order.store);
const facts = (await readFacts(order.factsPath)).filter(({ at }) => at <= order.position);
try {
  if (engine.kind === 'smallState') await checkSmallState(new NodeFilesystem(), order.directory, facts);
  else if (engine.kind === 'log') await checkLog(order.directory, logWorkload(engine.workload), facts);
  else await checkRows(order.directory, engine.synchronous, facts);
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}

/** Throws when a table does not hold the rows that the facts demand. */
async function checkRows(directory: string, synchronous: string, facts: readonly Fact[]): Promise<void> {
  const { stored, appended, settled, durable } = knowledgeOf(facts, 'rows');
  const words = [sqliteScript, 'check', directory, synchronous];
  const { stdout } = await promisify(execFile)('python3', words);
  const told = JSON.parse(stdout) as {
    integrity: string;
    numbers: number[];
    wrong: number[];
    isKept: boolean;
  };
  const found = new Set(told.numbers);
  if (told.integrity !== 'ok') throw new Error(`the database is damaged: ${told.integrity}`);
  if (told.wrong.length > 0) throw new Error(`rows ${told.wrong.join(', ')} have changed`);
  if (!told.isKept) throw new Error('a row inserted after the cut is gone after a close');
  const lost = [...stored.keys()].find((number) => number > settled && !found.has(number));
  if (lost !== undefined) throw new Error(`row ${lost} was stored and is lost; settled to ${settled}`);
  const stray = told.numbers.find((number) => number <= durable || !appended.has(String(number)));
  if (stray !== undefined) throw new Error(`row ${stray} is there, durably settled to ${durable}`);
}
