import type { Candidate } from './candidate.ts';

/** Life cycle of the MEC application that hosts a CSE, from the least to the most ready. */
const stages = ['notProvisioned', 'provisioned', 'instantiated'] as const;

const labelPrefix = 'baton:mec=';

/**
 * What the labels of a target description say about MEC hosting (`baton:mec=instantiated`); undefined when they say
 * nothing, that is for a CSE outside MEC. A value that is not known counts as not provisioned, and of several labels the
 * least ready one counts: a target is used only when everything said of it agrees that it runs.
 */
export function hostingFromLabels(labels: readonly string[]): Candidate['hosting'] {
  const said = labels
    .filter((label) => label.startsWith(labelPrefix))
    .map((label) => stages.find((stage) => stage === label.slice(labelPrefix.length)) ?? 'notProvisioned');
  return stages.find((stage) => said.includes(stage));
}
