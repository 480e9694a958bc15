// Grounds of the testbed's CSEs: each scenario has an IN-CSE and MN-CSEs of its own in this process, which speak through a
// CoAP stack that is not ours.
import { assert } from '../../src/base/assert.ts';
import { millis } from '../../src/base/units.ts';
import { sleep } from '../../src/host/clock.ts';
import type { Host } from '../../src/host/host.ts';
import { requirePointOfAccess } from '../../src/onem2m/address.ts';
import { CseType, Operation, ResourceType, ResponseStatusCode } from '../../src/onem2m/enums.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { ForeignCoapTransport } from '../../src/testbed/cse/transports/foreign-coap-transport.ts';
import { describeResource } from '../../src/testbed/drive/cse-host-process.ts';
import { Seat, operatorOriginator } from './ground.ts';
import type { Ground, SeatKind, World } from './ground.ts';

const registeredMs = 10_000;

/** Makes a world whose grounds share nothing. */
export function createTestbedWorld(host: Host): World {
  return {
    maker: 'testbed',
    open: (kinds) => openGround(host, kinds),
    close: () => Promise.resolve(),
  };
}

async function openGround(host: Host, kinds: readonly SeatKind[]): Promise<Ground> {
  const cses = new Map<string, TestbedCse>();
  const start = async (name: string, kind: SeatKind, registrar?: string): Promise<Seat> => {
    const cse = createCse(host, name, registrar);
    if (kind === 'closed') {
      const answer = {
        kind: 'answer' as const,
        responseStatusCode: ResponseStatusCode.originatorHasNoPrivilege,
      };
      cse.misbehaviour.add({
        action: answer,
        operation: Operation.create,
        resourceType: ResourceType.ae,
        originator: 'S*',
      });
    }
    await cse.start();
    cses.set(name, cse);
    const { host: address, port } = requirePointOfAccess(cse.pointsOfAccess[0] ?? '', 'CSE');
    return Seat.open(name, host, {
      address: { address, port },
      kill: () => cse.crash(),
      restart: (keepState) => cse.restart({ keepState }),
    });
  };
  const inCse = await start('in', 'lasting');
  const inPoa = cses.get('in')?.pointsOfAccess[0];
  assert(inPoa !== undefined, 'a started CSE has a point of access');
  const mns: Seat[] = [];
  // The closed one comes first in the order of CSE-IDs, which decides where nothing else does.
  for (const [index, kind] of kinds.entries()) {
    mns.push(await start(kind === 'closed' ? 'mn0' : `mn${index + 1}`, kind, inPoa));
  }
  await registered(host, cses);
  return {
    inCse,
    mns,
    held: (names) =>
      Promise.resolve(
        [inCse, ...mns].flatMap(({ name, isAlive }) =>
          (isAlive ? (cses.get(name)?.dump() ?? []) : [])
            .filter(({ path }) => names.includes(path.split('/')[1] ?? ''))
            .map((resource) => describeResource(name, resource)),
        ),
      ),
    close: async () => {
      for (const seat of [...mns, inCse]) await seat.close();
      await Promise.all([...cses.values()].map((cse) => cse.stop()));
    },
  };
}

function createCse({ network, clock, entropy }: Host, name: string, registrar?: string): TestbedCse {
  return new TestbedCse({
    cseId: `/id-${name}`,
    cseBaseName: `cse-${name}`,
    cseType: registrar === undefined ? CseType.inCse : CseType.mnCse,
    adminOriginator: operatorOriginator,
    spId: '//sp.example',
    serialisation: 'cbor',
    clock,
    entropy,
    transports: [new ForeignCoapTransport({ network, clock })],
    ...(registrar === undefined
      ? {}
      : { registrar: { cseId: '/id-in', cseBaseName: 'cse-in', pointOfAccess: registrar } }),
  });
}

/** Waits until the IN-CSE knows every MN-CSE. */
async function registered({ clock }: Host, cses: ReadonlyMap<string, TestbedCse>): Promise<void> {
  const endMs = clock.monotonicMs() + registeredMs;
  const isKnown = (name: string): boolean =>
    cses
      .get('in')
      ?.dump()
      .some(({ attributes }) => attributes.cseId === `/id-${name}`) === true;
  while (![...cses.keys()].every((name) => name === 'in' || isKnown(name))) {
    assert(clock.monotonicMs() < endMs, `the MN-CSEs did not register within ${registeredMs} ms`);
    await sleep(clock, millis(20));
  }
}
