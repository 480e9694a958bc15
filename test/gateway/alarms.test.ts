// Proves that an alarm which is raised again is told again when it says something else, not when only the times in it differ:
// a broker that is away for a night must not fill the log.
import t from 'tap';
import { Alarms } from '../../src/gateway/alarms.ts';
import { millis } from '../../src/base/units.ts';
import { SimulatedClock } from '../../src/testbed/simulated-clock.ts';

await t.test('what is told of an alarm that goes on', async (t) => {
  const clock = new SimulatedClock();
  const told: [string, boolean][] = [];
  const alarms = new Alarms(clock, clock.monotonicMs(), (text, active) => told.push([text, active]));
  alarms.raise('discovery', 'broker a: connection refused');
  await clock.advance(millis(10));
  for (const text of [
    'broker a: connection refused; tried again in 2084 ms',
    'broker a: connection refused; tried again in 84 ms',
    'broker a: connection refused',
  ])
    alarms.raise('discovery', text);
  alarms.raise('discovery', 'no answer from id-in within 2000 ms');
  alarms.raise('discovery', 'no answer from id-in within 1133 ms');
  t.strictSame(
    alarms.list(),
    [{ sinceMs: 0, text: 'no answer from id-in within 1133 ms' }],
    'the newest is shown',
  );
  alarms.raise('discovery', 'no answer from id-mn1 within 1133 ms');
  alarms.clear('discovery');
  t.strictSame(told, [
    ['broker a: connection refused', true],
    ['no answer from id-in within 2000 ms', true],
    ['no answer from id-mn1 within 1133 ms', true],
    ['no answer from id-mn1 within 1133 ms', false],
  ]);
});
