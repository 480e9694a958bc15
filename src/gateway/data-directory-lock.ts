import { BusyError, CancelledError, DeadlineError, IoError } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import { sleep, withDeadline } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { FileError } from '../host/filesystem.ts';
import type { Filesystem } from '../host/filesystem.ts';
import { LocalSocketError } from '../host/local-socket.ts';
import type { LineConnection, LocalServer, LocalServerOptions, LocalSockets } from '../host/local-socket.ts';
import { controlSocketName, parseMessage } from './control-protocol.ts';

/**
 * One owner per data directory, by a listening socket: the system closes it when its process dies, however it dies, and
 * a path reaches it across network namespaces, which an abstract name does not.
 *
 * Protocol. A starter first *announces* itself: it listens on `own-<8 hex>`, a name of its own. Only then it *looks*: it
 * connects to every other `own-*` and, after that, to `control.sock`. Whoever refuses the connection is dead. If nobody
 * lives, it renames its socket to `control.sock`, which replaces a stale one in the same step.
 * Of two starters, the one that announces itself second has looked after both announcements and must have met the first:
 * under its own name, or, had that been renamed during the look, under `control.sock`, which is asked last. So two never
 * both win. When each meets the other, the smaller name goes on and waits for the larger to withdraw, so one does win.
 */

/** What the lock needs of the machine. */
export interface LockHost {
  readonly filesystem: Filesystem;
  readonly localSockets: LocalSockets;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

/** What a process says of itself to one that asks for the same directory. */
export interface OwnerState {
  owner: boolean;
  readonly name: string;
}

/** A held data directory. */
export interface DataDirectoryLock {
  /** Gives the directory up and closes every connection. The last act of its owner: the next one may start at once. */
  release(): Promise<void>;
}

const announcePattern = /^own-[0-9a-f]{8}$/u;
const attemptsMax = 5;
const patience = { rounds: 100, roundMs: millis(20) };
const answerMs = millis(1000);

/**
 * Takes the data directory for this process or throws `BusyError` naming the process that has it. `serve` gives the
 * listener; it must answer `hello` with the `OwnerState` it is handed.
 */
export async function lockDataDirectory(
  host: LockHost,
  directory: string,
  serve: (state: OwnerState) => LocalServerOptions,
): Promise<DataDirectoryLock> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    const state: OwnerState = { owner: false, name: `own-${randomHex(host.entropy, 4)}` };
    const ownPath = `${directory}/${state.name}`;
    const server = await host.localSockets.listen(ownPath, serve(state));
    try {
      const stale = await electOwner(host, directory, state.name);
      if (await claim(host, ownPath, `${directory}/${controlSocketName}`)) {
        state.owner = true;
        await Promise.all(stale.map((name) => host.filesystem.remove(`${directory}/${name}`)));
        return new HeldLock(host, directory, server);
      }
      await server.close();
    } catch (error) {
      await server.close();
      throw error;
    }
  }
  throw new IoError(
    `cannot take ${directory}: its sockets were removed ${attemptsMax} times by somebody else`,
  );
}

class HeldLock implements DataDirectoryLock {
  readonly #host: LockHost;
  readonly #path: string;
  readonly #server: LocalServer;

  constructor(host: LockHost, directory: string, server: LocalServer) {
    this.#host = host;
    this.#path = `${directory}/${controlSocketName}`;
    this.#server = server;
  }

  async release(): Promise<void> {
    // Removed while it still listens: after the close, the name could already be that of the next owner.
    await this.#host.filesystem.remove(this.#path);
    await this.#server.close();
  }
}

/** False when somebody tidied the announcement away as that of a dead process, seen before it listened. */
async function claim(host: LockHost, ownPath: string, controlPath: string): Promise<boolean> {
  try {
    await host.filesystem.rename(ownPath, controlPath);
    return true;
  } catch (error) {
    if (error instanceof FileError && error.errno === 'ENOENT') return false;
    throw error;
  }
}

/** Returns the names of dead starters once no other process lives here; throws `BusyError` when one does. */
async function electOwner(host: LockHost, directory: string, ownName: string): Promise<string[]> {
  for (let round = 0; round < patience.rounds; round++) {
    const names = (await host.filesystem.list(directory)).filter(
      (name) => announcePattern.test(name) && name !== ownName,
    );
    const dead: string[] = [];
    let waits = false;
    for (const name of [...names, controlSocketName]) {
      const answer = await ask(host, `${directory}/${name}`);
      if (answer === 'dead') {
        if (name !== controlSocketName) dead.push(name);
        continue;
      }
      if (answer === 'silent' || answer.owner || answer.name < ownName) throw busy(directory, answer);
      waits = true;
    }
    if (!waits) return dead;
    await sleep(host.clock, patience.roundMs);
  }
  throw busy(directory, 'silent');
}

function busy(directory: string, answer: Answer | 'silent'): BusyError {
  const who = answer === 'silent' ? 'a process that does not answer' : `the gateway with pid ${answer.pid}`;
  return new BusyError(
    `${directory} belongs to ${who}; stop it first (baton status --data ${directory} shows it), or set another dataDirectory`,
  );
}

/** Nobody listens: no socket, a stale one, or one that is being closed while it is connected to. */
const goneCodes: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOENT', 'ENOTSOCK', 'ECONNRESET', 'EPIPE']);

interface Answer {
  readonly pid: number;
  readonly owner: boolean;
  readonly name: string;
}

/** Asks the process behind a socket who it is. Whoever accepts a connection lives, whatever it says. */
async function ask(host: LockHost, path: string): Promise<Answer | 'dead' | 'silent'> {
  let connection: LineConnection;
  try {
    connection = await host.localSockets.connect(path);
  } catch (error) {
    if (!(error instanceof LocalSocketError)) throw error;
    if (error.errno !== undefined && goneCodes.has(error.errno)) return 'dead';
    if (error.errno === 'EAGAIN') return 'silent';
    throw error;
  }
  const answer = new Promise<Answer | 'silent' | 'dead'>((resolve) => {
    connection.onLine((line) => resolve(parseAnswer(line) ?? 'silent'));
    connection.onClose(() => resolve('dead'));
  });
  connection.send(JSON.stringify({ id: 1, method: 'hello' }));
  try {
    return await withDeadline(host.clock, answerMs, path, answer);
  } catch (error) {
    if (error instanceof DeadlineError || error instanceof CancelledError) return 'silent';
    throw error;
  } finally {
    connection.close();
  }
}

function parseAnswer(line: string): Answer | undefined {
  const message = parseMessage(line);
  const said = message?.['result'] ?? message?.['error'];
  if (typeof said !== 'object' || said === null) return undefined;
  const { pid, owner, name } = said as Record<string, unknown>;
  return typeof pid === 'number' && typeof owner === 'boolean' && typeof name === 'string'
    ? { pid, owner, name }
    : undefined;
}
