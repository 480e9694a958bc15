/** The invariants of DESIGN that can be judged when a run has come to rest; the others are judged by `observer.ts`. */
import { commandContainer } from '../../handover/bundle-manifest.ts';
import type { ResourceDump } from '../cse/testbed-cse.ts';
import { device } from './simulation.ts';
import type { Simulation } from './simulation.ts';

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
  const serving = aes.find(({ cseId }) => cseId === status.serving?.cseId);
  if (serving?.state !== 'serving') {
    return `${status.serving.cseId} serves but holds the AE as ${serving?.state ?? 'gone'}`;
  }
  const left = aes.find(
    ({ cseId, state }) => state !== 'moved' && cseId !== serving.cseId && !simulation.isForgotten(cseId),
  );
  if (left !== undefined) return `${left.cseId} does not serve but holds the AE as ${left.state}`;
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

/** I1: what the sensor was told is stored has come to a CSE; class C may lose what it held when its process ended. */
function judgeReadings({ plan, sensor, observer, counts }: Simulation): void {
  const report = sensor.report();
  const hasEnded = counts.kills + counts.powerCuts + counts.failures > 0;
  for (const { name, durability } of plan.streams) {
    const { last = 0, droppedRanges = [] } = report[name] ?? {};
    const arrived = observer.arrived(name);
    const isDropped = (n: number): boolean => droppedRanges.some(([from, to]) => n >= from && n <= to);
    const lost: number[] = [];
    for (let n = 1; n <= last; n++) if (!arrived.has(n) && !isDropped(n)) lost.push(n);
    // What was given up for records of a higher priority was told.
    if (lost.length <= observer.evicted(name) || (durability === 'C' && hasEnded)) continue;
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
  const { observer, plan, cses } = simulation;
  const status = simulation.status();
  const newest = observer.newest;
  const serving = status?.serving;
  if (newest === undefined || serving?.cseId !== newest.cse.cseId || serving.epoch !== newest.epoch) {
    const said = `${serving?.cseId ?? 'nobody'} under epoch ${serving?.epoch ?? 0}`;
    observer.violate('I4', `${said} serves, but the record names ${newest?.cse.cseId ?? 'nobody'}`);
    return;
  }
  for (const { cseId, state } of aesOf(simulation)) {
    const isServing = cseId === newest.cse.cseId;
    if (!isServing && simulation.isForgotten(cseId)) continue;
    if (isServing !== (state === 'serving')) observer.violate('I4', `${cseId} holds the AE as ${state}`);
  }
  const cse = cses.find(newest.cse.cseId);
  const base = `${cse?.settings.cseBaseName ?? ''}/${device}`;
  const names = ['', '/acp', `/${commandContainer}`, `/${commandContainer}/cmd-sub`, '/results'];
  for (const name of [...names, ...plan.streams.map((stream) => `/${stream.name}`)]) {
    if (cse?.find(`${base}${name}`) === undefined)
      observer.violate('I5', `${newest.cse.cseId} lacks ${base}${name}`);
  }
}

/** I8: nothing has piled up. */
function judgeBounds({ clock, observer, machine, plan }: Simulation): void {
  const { pendingCount } = clock;
  if (pendingCount > 2000) observer.violate('I8', `${pendingCount} timers are waiting at rest`);
  const { usedBytes } = machine.disk;
  const bytesMax = plan.quotaBytes + 2 * 1024 * 1024;
  if (usedBytes > bytesMax)
    observer.violate('I8', `the disk holds ${usedBytes} octets, more than ${bytesMax}`);
}

function aesOf({ cses }: Simulation): { cseId: string; state: string }[] {
  return cses.all.flatMap((cse) => {
    const { cseId, cseBaseName } = cse.settings;
    const ae = cse.find(`${cseBaseName}/${device}`);
    return ae === undefined ? [] : [{ cseId, state: stateOf(ae) }];
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
