/**
 * The invariants of DESIGN, and where each is judged:
 *
 *   I1   at rest, `judgeReadings`: what was promised to the sensor against what came to the CSEs; values when they come
 *   I2   when a reading comes to a CSE: no second resource of it there, no unlabelled double elsewhere, nothing stored twice
 *   I3   when a reading comes to a CSE: the sensor's numbers rise in each container
 *   I4   when it happens: nothing is written under an epoch at another CSE than the one that claimed it, and the one that the
 *        record names is not released; at rest, `judgeBundle`: every AE serves there and nowhere else
 *   I5   when a handover has ended: the CSE holds every AE of the bundle or none of them, unless it lost its memory; at rest,
 *        `judgeBundle`: the bundle is whole down to its subscriptions
 *   I6   when it happens: epochs are claimed in rising order, and a fenced gateway writes nothing
 *   I7   when a result comes: one for each command; at rest, `judgeCommands`: one for all that were accepted
 *   I8   at rest, `judgeBounds`: timers, sockets and disk; what waits in memory holds timers. While it happens a seed
 *        that uses up its time or its memory is told by the process that runs it (`seed-runner.ts`)
 *   I9, I10   `unrest`: no handover, no reading, no command, no AE left behind and no alarm is open in bounded time after the heal
 *   I11  all of these hold under the fault `wallSteps`
 *   I12  all of these hold under `strangers`, `wrongAnswers` and `duplication`; a process that ends or hangs is a failing seed
 */
import type { ResourceDump } from '../cse/testbed-cse.ts';
import { aeNames, bundlePaths } from './bundle-names.ts';
import type { Simulation } from './simulation.ts';

/** One for the link, and those that a change of it may leave for a moment. */
const socketsMax = 4;

/** What is still to be done; undefined when the run is at rest. Does what an operator does where one is needed. */
export async function unrest(simulation: Simulation): Promise<string | undefined> {
  const { machine, sensor, observer } = simulation;
  const status = simulation.status();
  if (status === undefined) return 'the gateway does not run';
  if (status.alarms.some(({ text }) => text.startsWith('fenced: '))) {
    simulation.resetFenced();
    return 'the gateway was fenced';
  }
  for (const [name, { pending }] of Object.entries(sensor.report())) {
    if (pending === 0) continue;
    return `the sensor still holds ${pending} readings of ${name}`;
  }
  if (status.handover !== undefined) return `a handover is ${status.handover.state}`;
  if (status.serving === undefined) return `nobody serves: ${alarmsOf(status)}`;
  if (observer.newest?.nonce.startsWith('rival-') === true) {
    // Nothing else makes the gateway look at the record.
    await simulation.orderAny();
    return 'a rival holds the newest epoch';
  }
  if (status.buffer.pending > 0) return `${status.buffer.pending} readings are pending: ${alarmsOf(status)}`;
  const open = [...observer.commands].find(([, fate]) => fate.results.size === 0 && !fate.mayBeLost);
  if (open !== undefined) return `command ${open[0]} at ${open[1].cseId} has no result`;
  const aes = aesOf(simulation);
  const serving = status.serving.cseId;
  const notServing = aes.find(({ cseId, state }) => cseId === serving && state !== 'serving');
  if (notServing !== undefined) {
    return `${serving} serves but holds AE ${notServing.name} as ${notServing.state}`;
  }
  const [missing] = missingOf(simulation, serving);
  if (missing !== undefined) return `${serving} serves but lacks ${missing}`;
  const left = aes.find((ae) => ae.cseId !== serving && !mayStay(simulation, ae));
  if (left !== undefined) return `${left.cseId} does not serve but holds AE ${left.name} as ${left.state}`;
  if (alarmsOf(status) !== '') return alarmsOf(status);
  return machine.gateway === undefined ? 'the gateway does not run' : undefined;
}

/** Holds what is seen at rest against the invariants. */
export function judgeAtRest(simulation: Simulation): void {
  judgeReadings(simulation);
  judgeCommands(simulation);
  judgeBundle(simulation);
  judgeBounds(simulation);
}

/**
 * I1: what the sensor was told is stored has come to a CSE, or was given up and told so: evicted, expired, or counted as
 * corrupt after something on the disk was spoiled. Class C may lose what it held when its process ended.
 */
function judgeReadings(simulation: Simulation): void {
  const { plan, sensor, observer, counts } = simulation;
  const report = sensor.report();
  const hasEnded = counts.kills + counts.powerCuts + counts.failures > 0;
  const isSpoiled = plan.faults.has('bitRot') || plan.faults.has('readErrors');
  let corrupt = isSpoiled ? (simulation.status()?.buffer.corrupt ?? 0) : 0;
  for (const { name, durability } of plan.streams) {
    const { last = 0, droppedRanges = [] } = report[name] ?? {};
    const arrived = observer.arrived(name);
    const isDropped = (n: number): boolean => droppedRanges.some(([from, to]) => n >= from && n <= to);
    const lost: number[] = [];
    for (let n = 1; n <= last; n++) if (!arrived.has(n) && !isDropped(n)) lost.push(n);
    const unexplained = lost.length - observer.evicted(name);
    if (unexplained <= 0 || (durability === 'C' && hasEnded)) continue;
    if (unexplained <= corrupt) {
      corrupt -= unexplained;
      if (counts.damages === 0)
        observer.violate('I1', `${unexplained} readings of ${name} are corrupt, untold`);
      continue;
    }
    const shown = lost.slice(0, 5).join(', ');
    observer.violate(
      'I1',
      `${lost.length} of ${last} readings of ${name} (class ${durability}) are lost: ${shown}`,
    );
  }
}

/** I7: what was accepted took effect; that nothing did so twice was seen before. */
function judgeCommands({ observer }: Simulation): void {
  for (const [id, { results, mayBeLost, cseId }] of observer.commands) {
    if (results.size === 0 && !mayBeLost)
      observer.violate('I7', `command ${id} at ${cseId} never took effect`);
  }
}

/** I4, I5, I9: one CSE serves, the one of the newest claim, and it holds the bundle whole. */
function judgeBundle(simulation: Simulation): void {
  const { observer } = simulation;
  const status = simulation.status();
  const newest = observer.newest;
  const serving = status?.serving;
  if (newest === undefined || serving?.cseId !== newest.cse.cseId || serving.epoch !== newest.epoch) {
    const said = `${serving?.cseId ?? 'nobody'} under epoch ${serving?.epoch ?? 0}`;
    observer.violate('I4', `${said} serves, but the record names ${newest?.cse.cseId ?? 'nobody'}`);
    return;
  }
  for (const { cseId, name, state } of aesOf(simulation)) {
    const isRight = cseId === newest.cse.cseId ? state === 'serving' : mayStay(simulation, { cseId, state });
    if (!isRight) observer.violate('I4', `${cseId} holds AE ${name} as ${state}`);
  }
  for (const path of missingOf(simulation, newest.cse.cseId))
    observer.violate('I5', `${newest.cse.cseId} lacks ${path}`);
}

/** Whether a CSE that does not serve may hold an AE like this: given up, kept as the standby, or forgotten by an operator's hand. */
function mayStay(simulation: Simulation, { cseId, state }: { cseId: string; state: string }): boolean {
  const isStandby = simulation.status()?.standby?.cseId === cseId;
  return state === 'moved' || (state === 'prepared' && isStandby) || simulation.isForgotten(cseId);
}

/** What a CSE lacks of the bundle. */
export function missingOf({ cses, plan }: Simulation, cseId: string): string[] {
  const cse = cses.find(cseId);
  return bundlePaths(plan).filter((path) => cse?.find(`${cse.settings.cseBaseName}/${path}`) === undefined);
}

/** I8: nothing has piled up. */
function judgeBounds({ clock, observer, machine, plan, openSockets }: Simulation): void {
  const { pendingCount } = clock;
  if (openSockets > socketsMax) observer.violate('I8', `${openSockets} sockets are open at rest`);
  if (pendingCount > 2000) observer.violate('I8', `${pendingCount} timers are waiting at rest`);
  const { usedBytes } = machine.disk;
  const bytesMax = plan.quotaBytes + 2 * 1024 * 1024;
  if (usedBytes > bytesMax)
    observer.violate('I8', `the disk holds ${usedBytes} octets, more than ${bytesMax}`);
}

function aesOf({ cses, plan }: Simulation): { cseId: string; name: string; state: string }[] {
  return cses.all.flatMap((cse) => {
    const { cseId, cseBaseName } = cse.settings;
    return aeNames(plan).flatMap((name) => {
      const ae = cse.find(`${cseBaseName}/${name}`);
      return ae === undefined ? [] : [{ cseId, name, state: stateOf(ae) }];
    });
  });
}

function stateOf({ attributes }: ResourceDump): string {
  const labels = Array.isArray(attributes.labels) ? (attributes.labels as string[]) : [];
  return (
    labels.find((label) => label.startsWith('baton:state='))?.slice('baton:state='.length) ?? 'unlabelled'
  );
}

/** The sensor makes nothing any more, which the gateway rightly tells of. */
function alarmsOf({ alarms }: { readonly alarms: readonly { readonly text: string }[] }): string {
  return alarms
    .map(({ text }) => text)
    .filter((text) => !text.startsWith('sensor '))
    .join('; ');
}
