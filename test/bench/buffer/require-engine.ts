import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The package whose dependencies are the other stores; it has a lock of its own. */
export const packageFolder: string = findFolder();

/** Loads a module of that package. */
export const requireEngine: NodeJS.Require = createRequire(join(packageFolder, 'package.json'));

/** The compiled benchmark lies in a build folder, the package in the source tree. */
function findFolder(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const candidate = join(folder, 'test', 'bench', 'engines');
    // The build folder repeats the folders of the source tree, without the package in them.
    if (existsSync(join(candidate, 'package.json'))) return candidate;
    if (folder === dirname(folder)) throw new Error('test/bench/engines is not above the benchmark');
  }
}
