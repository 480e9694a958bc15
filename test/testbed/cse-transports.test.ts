// Proves that the testbed CSE keeps its contract over real loopback sockets: over CoAP served by a stack that is not
// ours, over CoAP served by our own endpoint, and over MQTT; each time an IN-CSE and two MN-CSEs, bodies in CBOR. The
// clients are the bindings of the gateway.
import t from 'tap';
import type { Test } from 'tap';
import { millis } from '../../src/base/units.ts';
import { NodeClock, sleep } from '../../src/host/clock.ts';
import { NodeEntropy } from '../../src/host/entropy.ts';
import { NodeNetwork } from '../../src/host/network.ts';
import { CseClient } from '../../src/onem2m/cse-client.ts';
import { CseType } from '../../src/onem2m/enums.ts';
import type { CseEvent } from '../../src/testbed/cse/cse-core.ts';
import type { CseTransport } from '../../src/testbed/cse/cse-transport.ts';
import { TestbedCse } from '../../src/testbed/cse/testbed-cse.ts';
import { ForeignCoapTransport } from '../../src/testbed/cse/transports/foreign-coap-transport.ts';
import { MqttTransport } from '../../src/testbed/cse/transports/mqtt-transport.ts';
import { OwnCoapTransport } from '../../src/testbed/cse/transports/own-coap-transport.ts';
import { MqttBroker } from '../../src/testbed/mqtt-broker.ts';
import { runContract } from './cse-contract.ts';
import { allCapabilities, contractAddresses } from './cse-contract-bench.ts';
import type { CseName } from './cse-contract-bench.ts';
import { coapWires, mqttWires } from './cse-contract-wires.ts';
import type { ContractWires } from './cse-contract-wires.ts';

const network = new NodeNetwork();
const clock = new NodeClock();
const entropy = new NodeEntropy();
const adminOriginator = 'CAdmin';
const deadlineMs = millis(5_000);

/** How the parties of one run speak. */
interface Wires extends ContractWires {
  readonly name: string;
  transport(cse: CseName): CseTransport;
}

/** Starts the three CSEs, runs the contract, and stops them. */
async function proves(t: Test, wires: Wires): Promise<void> {
  const events: CseEvent[] = [];
  const make = async (name: CseName, registrar?: string): Promise<TestbedCse> => {
    const cse = new TestbedCse({
      cseId: `/id-${name}`,
      cseBaseName: `cse-${name}`,
      cseType: name === 'in' ? CseType.inCse : CseType.mnCse,
      spId: '//sp.example',
      adminOriginator,
      clock,
      entropy,
      transports: [wires.transport(name)],
      serialisation: 'cbor',
      requestDeadlineMs: millis(2_000),
      registrationRetryMs: millis(50),
      onEvent: (event) => events.push(event),
      ...(registrar === undefined
        ? {}
        : { registrar: { cseId: '/id-in', pointOfAccess: registrar, cseBaseName: 'cse-in' } }),
    });
    await cse.start();
    t.teardown(() => cse.stop());
    return cse;
  };
  const inCse = await make('in');
  const [registrar = ''] = inCse.pointsOfAccess;
  const cses = { in: inCse, mn1: await make('mn1', registrar), mn2: await make('mn2', registrar) };
  for (let round = 0; events.filter(({ kind }) => kind === 'registered').length < 2; round++) {
    if (round > 500) throw new Error('the MN-CSEs did not register');
    await sleep(clock, millis(10));
  }
  await runContract(t, {
    name: wires.name,
    adminOriginator,
    addresses: contractAddresses,
    capabilities: allCapabilities,
    entropy,
    patienceMs: millis(5_000),
    connect: async (originator, cse) => {
      const [pointOfAccess = ''] = cses[cse].pointsOfAccess;
      const binding = await wires.bind(originator, cse, pointOfAccess);
      return new CseClient({ binding, originator, entropy, deadlineMs });
    },
    listen: (handler) => wires.listen(handler),
    wait: (durationMs) => sleep(clock, millis(durationMs)),
    unixMs: () => clock.unixMs(),
  });
}

// The contract waits for expiration times to pass; side by side the three runs wait together.
t.jobs = 3;

void t.test('CoAP served by node-coap', { buffered: true }, async (t) => {
  await proves(t, {
    ...coapWires,
    name: 'the testbed CSE on node-coap',
    transport: () => new ForeignCoapTransport({ network, clock }),
  });
});

void t.test('CoAP served by our own endpoint', { buffered: true }, async (t) => {
  await proves(t, {
    ...coapWires,
    name: 'the testbed CSE on the own endpoint',
    transport: () => new OwnCoapTransport({ network, clock, entropy }),
  });
});

void t.test('MQTT', { buffered: true }, async (t) => {
  const broker = await MqttBroker.open({ connectionsMax: 256 });
  t.teardown(() => broker.close());
  const { address: host, port } = broker;
  await proves(t, {
    ...mqttWires(broker, deadlineMs),
    name: 'the testbed CSE over MQTT',
    transport: (cse) =>
      new MqttTransport({ network, clock, cseId: `/id-${cse}`, broker: { host, port }, clean: true }),
  });
});
