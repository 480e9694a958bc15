// A scenario, and how it is run: what a maker's CSEs cannot support must fail just as the table of differences says.
import { errorText } from '../../src/base/errors.ts';
import { millis } from '../../src/base/units.ts';
import { withDeadline } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { hashText } from '../../src/testbed/seeded-entropy.ts';
import { StepError } from '../real/steps.ts';
import { differenceOf } from './differences.ts';
import type { ScenarioDifference } from './differences.ts';
import type { SeatKind, World } from './ground.ts';
import { Stage } from './stage.ts';

/** One story with its verdict. */
export interface Scenario {
  /** Also the name of the gateway, so that scenarios may share CSEs. */
  readonly name: string;
  /** What it proves. */
  readonly what: string;
  /** MN-CSEs that it needs. */
  readonly seats: readonly SeatKind[];
  /** Part of `npm test`. */
  readonly isQuick?: true;
  /** Resolves to notes; rejects with what went wrong. */
  readonly run: (stage: Stage) => Promise<readonly string[]>;
}

/** What became of a scenario. */
export interface Outcome {
  readonly name: string;
  readonly what: string;
  /** `skipped`: it failed as the table of differences says. */
  readonly result: 'passed' | 'failed' | 'skipped';
  readonly notes: readonly string[];
  readonly ms: number;
}

/** For a scenario of half a minute on a machine that has other things to do. */
const scenarioMs = millis(240_000);
const closeMs = millis(60_000);

const open = new Set<Stage>();

/** Ends what scenarios have started that are under way, as an interruption does. */
export async function endScenarios(): Promise<void> {
  await Promise.allSettled([...open].map((stage) => stage.close()));
}

/** Runs a scenario in a world; never rejects. */
export async function runScenario(host: Host, world: World, scenario: Scenario): Promise<Outcome> {
  const { clock } = host;
  const { name, what, seats } = scenario;
  const ground = await world.open(seats);
  const beganMs = clock.monotonicMs();
  const stage = new Stage({ host, maker: world.maker, ground, device: name, seed: hashText(name) % 1000 });
  open.add(stage);
  const outcome = await withDeadline(clock, scenarioMs, name, scenario.run(stage)).then(
    (notes) => ({ isWell: true, notes }),
    (error: unknown) => ({ isWell: false, notes: [errorText(error), ...stage.notices.slice(-6)] }),
  );
  const ended = await withDeadline(clock, closeMs, 'end', stage.close()).then(() => [], errorText);
  open.delete(stage);
  const ms = Math.round(clock.monotonicMs() - beganMs);
  if (typeof ended === 'string')
    return { name, what, result: 'failed', notes: [ended, ...outcome.notes], ms };
  return { name, what, ms, ...weigh(differenceOf(world.maker, name), outcome) };
}

/** What a run comes to, given the difference that it must show, if any. */
export function weigh(
  difference: ScenarioDifference | undefined,
  { isWell, notes }: { readonly isWell: boolean; readonly notes: readonly string[] },
): Pick<Outcome, 'result' | 'notes'> {
  if (difference === undefined) return { result: isWell ? 'passed' : 'failed', notes };
  if (isWell) {
    const text = `${difference.name} does not show any more: take it out of differences.ts`;
    return { result: 'failed', notes: [text, ...notes] };
  }
  if (!difference.shows.test(notes[0] ?? '')) return { result: 'failed', notes };
  return { result: 'skipped', notes: [`${difference.name}: ${difference.what}`, `seen: ${notes[0]}`] };
}

/** Throws when it is not so. */
export function expect(isSo: boolean, what: string): void {
  if (!isSo) throw new StepError(what);
}
