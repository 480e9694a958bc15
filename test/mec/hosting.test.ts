// Proves: what discovery and the application life-cycle API say of MEC hosting becomes the candidate's hosting, and
// anything unclear counts as not ready.
import t from 'tap';
import { hostingFromLabels } from '../../src/decision/hosting.ts';
import { hostingFromAppInstance } from '../../src/mec/hosting.ts';

await t.test('labels', async (t) => {
  const rows: [string[], string | undefined][] = [
    [[], undefined],
    [['baton:target', 'baton:cell=6300-1'], undefined],
    [['baton:mec=instantiated'], 'instantiated'],
    [['baton:mec=provisioned'], 'provisioned'],
    [['baton:mec=notProvisioned'], 'notProvisioned'],
    [['baton:mec=terminating'], 'notProvisioned'],
    [['baton:mec='], 'notProvisioned'],
    [['baton:mec=instantiated', 'baton:mec=provisioned'], 'provisioned'],
    [['x', 'baton:mec=instantiated', 'baton:mec=instantiated'], 'instantiated'],
  ];
  for (const [labels, hosting] of rows) t.equal(hostingFromLabels(labels), hosting, labels.join(' '));
});

await t.test('application instances', async (t) => {
  const rows: [Parameters<typeof hostingFromAppInstance>[0], string][] = [
    [undefined, 'notProvisioned'],
    [{ instantiationState: 'NOT_INSTANTIATED' }, 'provisioned'],
    [{ instantiationState: 'INSTANTIATED' }, 'provisioned'],
    [{ instantiationState: 'INSTANTIATED', operationalState: 'STOPPED' }, 'provisioned'],
    [{ instantiationState: 'INSTANTIATED', operationalState: 'STARTED' }, 'instantiated'],
    [{ instantiationState: 'SEE_DESCRIPTION', operationalState: 'STARTED' }, 'provisioned'],
  ];
  for (const [status, hosting] of rows)
    t.equal(hostingFromAppInstance(status), hosting, JSON.stringify(status));
});
