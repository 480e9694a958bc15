// What the run against ACME CSE needs on the machine: a Python with venv, mosquitto, and ACME itself in a virtual
// environment outside the repository, kept for the next run. Versions are pinned by requirements.txt.
import * as fs from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errorText } from '../../src/base/errors.ts';
import { NotRunError, install, needPrograms, run, succeeds } from '../real/programs.ts';

/** The version that the table of differences speaks of. */
export const acmeVersion = '2026.5.1';

/** Where to find what the run starts. */
export interface Programs {
  readonly acmecse: string;
  readonly python: string;
  readonly mosquitto: string;
}

/** From the root of the repository, where npm starts scripts. */
const requirements = join('test', 'acme', 'requirements.txt');
const pythonMinor = 11;
const pipMs = 300_000;
const shortMs = 60_000;

/** Installs what is missing. Throws `NotRunError` with the way out when that cannot be done. */
export async function setUp(tell: (text: string) => void): Promise<Programs> {
  await needPython(tell);
  await needPrograms([{ command: 'mosquitto', debianPackage: 'mosquitto' }], tell);
  const wanted = await fs.readFile(requirements, 'utf8').catch((cause: unknown) => {
    throw new NotRunError(`${requirements} cannot be read: ${errorText(cause)}; start by npm run test:acme`);
  });
  const folder = await environment(wanted, tell);
  const bin = join(folder, 'bin');
  return { acmecse: join(bin, 'acmecse'), python: join(bin, 'python'), mosquitto: 'mosquitto' };
}

async function needPython(tell: (text: string) => void): Promise<void> {
  const probe = `import sys, ensurepip, venv; sys.exit(sys.version_info < (3, ${pythonMinor}))`;
  if (await succeeds('python3', ['-c', probe])) return;
  await install(['python3', 'python3-venv'], tell);
  if (await succeeds('python3', ['-c', probe])) return;
  throw new NotRunError(
    `ACME CSE needs python3 of at least 3.${pythonMinor} with venv; it is not to be had here`,
  );
}

/** The virtual environment with exactly what is wanted, made if it is not there whole. */
async function environment(wanted: string, tell: (text: string) => void): Promise<string> {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const folder = join(cache, 'baton', `acmecse-${acmeVersion}`);
  // Written last: an environment without it is one that was interrupted.
  const mark = join(folder, 'installed.txt');
  const held = await fs.readFile(mark, 'utf8').catch(() => undefined);
  if (held === wanted && (await succeeds(join(folder, 'bin', 'python'), ['-c', 'import acmecse'])))
    return folder;
  tell(`installing ACME CSE ${acmeVersion} from PyPI into ${folder}`);
  try {
    await fs.rm(folder, { recursive: true, force: true });
    await fs.mkdir(folder, { recursive: true });
    await run('python3', ['-m', 'venv', folder], shortMs);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements];
    await run(join(folder, 'bin', 'python'), pip, pipMs);
    await fs.writeFile(mark, wanted);
    return folder;
  } catch (cause) {
    const wayOut = 'is the network up, and does pip reach a package index?';
    throw new NotRunError(`ACME CSE cannot be installed: ${errorText(cause)}; ${wayOut}`, { cause });
  }
}
