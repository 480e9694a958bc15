import type { SimulationPlan } from './plan.ts';

/** Name of the simulated gateway, and of its own AE. */
export const device = 'gw1';

/** Name of an AE of the bundle by its number; 0 is the gateway's own. */
export function aeName(index: number): string {
  return index === 0 ? device : `${device}-ae${index}`;
}

/** Names of all AEs of the bundle. */
export function aeNames({ aes }: Pick<SimulationPlan, 'aes'>): string[] {
  return Array.from({ length: aes }, (_, index) => aeName(index));
}

/**
 * `bundle` of the configuration: each AE with its policy, two containers and a subscription, as in the measure of signalling;
 * chains of registrations by threes.
 */
export function bundleConfig(plan: SimulationPlan): Record<string, unknown> {
  if (plan.aes === 1) return {};
  const others = aeNames(plan).slice(1);
  const aes = others.map((name, index) => ({
    name,
    dependsOn: [aeName(index % 3 === 2 ? index : 0)],
    priority: 1 + (index % 10),
    containers: [{ path: 'state' }, { path: 'state/raw' }],
    subscriptions: [{ path: 'state/watch', notify: [`S${name}`] }],
  }));
  return { bundle: { aes } };
}

/** What has to be there of the bundle at the CSE that serves, by path below the CSEBase. */
export function bundlePaths(plan: SimulationPlan): string[] {
  const own = ['', '/acp', '/cmd', '/cmd/cmd-sub', '/results'].map((path) => `${device}${path}`);
  const others = aeNames(plan)
    .slice(1)
    .flatMap((name) => ['', '/acp', '/state', '/state/raw', '/state/watch'].map((path) => `${name}${path}`));
  return [...own, ...others, ...plan.streams.map(({ name, ae }) => `${aeName(ae)}/${name}`)];
}
