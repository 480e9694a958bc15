// What ACME's CSEs hold, asked of them over HTTP and JSON by ACME's own Python, so that no line of Baton stands between
// what is stored and the verdict.
import { DecodeError } from '../../src/base/errors.ts';
import { parseTimestamp } from '../../src/onem2m/primitives.ts';
import type { Clock } from '../../src/host/clock.ts';
import type { HeldResource } from '../../src/testbed/drive/cse-host-process.ts';
import { adminOriginator } from './acme-network.ts';
import type { AcmeName, AcmeNetwork } from './acme-network.ts';
import { run } from '../real/programs.ts';

const askMs = 20_000;

/** Prints for each `PORT PATH` the tree below, or null where there is nothing. */
const script = `
import json, sys, urllib.error, urllib.request
trees = []
for port, path in zip(sys.argv[1::2], sys.argv[2::2]):
    headers = {'X-M2M-Origin': '${adminOriginator}', 'X-M2M-RI': 'held', 'X-M2M-RVI': '4', 'Accept': 'application/json'}
    request = urllib.request.Request(f'http://127.0.0.1:{port}/{path}?rcn=4', headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            trees.append(json.load(answer))
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        trees.append(None)
print(json.dumps(trees))
`;

/** All resources at and below the AE `name` of these CSEs; arrivals on the monotonic clock of this process. */
export async function heldBelow(
  network: AcmeNetwork,
  clock: Clock,
  aes: readonly (readonly [cse: AcmeName, name: string])[],
): Promise<HeldResource[]> {
  const paths = aes.flatMap(([cse, name]) => [String(network.httpPort(cse)), `cse-${cse}/${name}`]);
  const said = await run(network.python, ['-c', script, ...paths], askMs);
  const trees: unknown = JSON.parse(said);
  if (!Array.isArray(trees) || trees.length !== aes.length) throw new DecodeError('not a tree for each AE');
  const offsetMs = clock.unixMs() - clock.monotonicMs();
  const held: HeldResource[] = [];
  for (const [index, [cse]] of aes.entries()) walk(held, cse, `cse-${cse}`, trees[index], offsetMs);
  return held;
}

/** Roots begin with their namespace; everything else is an attribute. */
function walk(held: HeldResource[], cse: string, parent: string, tree: unknown, offsetMs: number): void {
  if (typeof tree !== 'object' || tree === null) return;
  for (const [root, value] of Object.entries(tree)) {
    if (!/^[a-z0-9]{3}:/u.test(root)) continue;
    for (const resource of (Array.isArray(value) ? value : [value]) as Record<string, unknown>[]) {
      const { rn, ty, lbl, ct, con } = resource;
      const path = `${parent}/${String(rn)}`;
      held.push({
        cse,
        path,
        type: Number(ty),
        labels: Array.isArray(lbl) ? lbl.map(String) : [],
        arrivalMs: unixMsOf(String(ct)) - offsetMs,
        ...(con === undefined ? {} : { content: con }),
      });
      walk(held, cse, path, resource, offsetMs);
    }
  }
}

/** With the microseconds that ACME writes. */
function unixMsOf(text: string): number {
  const wholeMs = parseTimestamp(text.slice(0, 15));
  if (wholeMs === undefined) throw new DecodeError(`"${text}" is no time`);
  return wholeMs + Number(`0.${text.slice(16) || '0'}`) * 1000;
}
