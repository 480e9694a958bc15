import * as net from 'node:net';
import { IoError, LimitError, errnoCode, errorText } from '../base/errors.ts';

/** Sockets of this machine only, addressed by a path, speaking lines of text. */
export interface LocalSockets {
  /**
   * Listens on `path`, which must not exist. Throws `IoError` when it does, when the directory does not allow it, or when
   * the path is longer than `localPathBytesMax`.
   */
  listen(path: string, options: LocalServerOptions): Promise<LocalServer>;
  /** Connects to the listener behind `path`; throws `LocalSocketError` with `ENOENT` or `ECONNREFUSED` when there is none. */
  connect(path: string): Promise<LineConnection>;
}

/** What a listener does with those who connect. */
export interface LocalServerOptions {
  onConnection(connection: LineConnection): void;
  /** The last line to a client that is closed for passing a bound. */
  refusal(reason: LimitError): string;
  /** Clients at the same time. */
  readonly clientsMax?: number;
}

/** A listening local socket. */
export interface LocalServer {
  /** Stops listening and closes every connection; what was sent to them still leaves while they read. */
  close(): Promise<void>;
}

/** Why a connection ended; undefined for an ordinary end by either side. */
export type CloseReason = LimitError | IoError | undefined;

/** A connection that carries lines, without their line feed. */
export interface LineConnection {
  /** Sends one line; a peer that reads too slowly for its backlog is dropped. `line` holds no line feed. */
  send(line: string): void;
  /** Sets the receiver of lines; what arrived before is delivered first. */
  onLine(handler: (line: string) => void): void;
  /** Called once at the end of the connection. */
  onClose(handler: (reason: CloseReason) => void): void;
  /** Ends the connection after what was sent. */
  close(): void;
}

/** A local socket could not be opened; `errno` is the system's code. */
export class LocalSocketError extends IoError {
  readonly errno: string | undefined;

  constructor(operation: string, path: string, cause: unknown) {
    super(`cannot ${operation} ${path}: ${errorText(cause)}`, { cause });
    this.errno = errnoCode(cause);
  }
}

/** Octets of the longest path of a local socket (`sun_path` of unix(7) without its final zero). */
export const localPathBytesMax = 107;

/** Bounds of every connection; a test may shrink them. */
export interface LocalSocketLimits {
  /** Octets of one incoming line. */
  readonly lineBytesMax: number;
  /** Octets sent and not yet taken by the peer. */
  readonly backlogBytesMax: number;
}

const defaultLimits: LocalSocketLimits = { lineBytesMax: 1024 * 1024, backlogBytesMax: 4 * 1024 * 1024 };
const clientsMaxDefault = 16;
const lineFeed = 0x0a;

/** Unix domain sockets of the machine. */
export class NodeLocalSockets implements LocalSockets {
  readonly #limits: LocalSocketLimits;

  constructor(limits: Partial<LocalSocketLimits> = {}) {
    this.#limits = { ...defaultLimits, ...limits };
  }

  async listen(path: string, options: LocalServerOptions): Promise<LocalServer> {
    checkPath(path);
    const clients = new Set<SocketLines>();
    const clientsMax = options.clientsMax ?? clientsMaxDefault;
    const server = net.createServer((socket) => {
      const connection = new SocketLines(socket, this.#limits, (reason) => options.refusal(reason));
      if (clients.size >= clientsMax) {
        connection.refuse(new LimitError(`${clientsMax} clients are connected already; close one of them`));
        return;
      }
      clients.add(connection);
      socket.once('close', () => clients.delete(connection));
      options.onConnection(connection);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(new LocalSocketError('listen on', path, cause)));
      server.listen(path, resolve);
    });
    server.on('error', () => undefined); // a failed accept concerns one client; the listener goes on
    return {
      close: () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          for (const client of clients) client.close();
        }),
    };
  }

  async connect(path: string): Promise<LineConnection> {
    checkPath(path);
    return await new Promise((resolve, reject) => {
      const socket = net.connect({ path });
      const onError = (cause: Error): void => reject(new LocalSocketError('connect to', path, cause));
      socket.once('error', onError);
      socket.once('connect', () => {
        socket.removeListener('error', onError);
        resolve(new SocketLines(socket, this.#limits));
      });
    });
  }
}

function checkPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length <= localPathBytesMax) return;
  throw new IoError(
    `${path} has ${length} bytes; a local socket allows ${localPathBytesMax}: choose a shorter directory`,
  );
}

/** How long a peer may take to read the rest and to close its side. */
const lingerMs = 1000;

class SocketLines implements LineConnection {
  readonly #socket: net.Socket;
  readonly #limits: LocalSocketLimits;
  readonly #refusal: ((reason: LimitError) => string) | undefined;
  /** The beginning of a line, in the first `#pendingBytes` octets. */
  #pending = Buffer.alloc(0);
  #pendingBytes = 0;
  #lineHandler: ((line: string) => void) | undefined;
  #closeHandler: ((reason: CloseReason) => void) | undefined;
  #reason: CloseReason;
  #ending = false;
  #closed = false;

  constructor(socket: net.Socket, limits: LocalSocketLimits, refusal?: (reason: LimitError) => string) {
    this.#socket = socket;
    this.#limits = limits;
    this.#refusal = refusal;
    socket.pause(); // nothing is read before there is a receiver
    socket.on('data', (data: Buffer) => this.#receive(data));
    socket.on('error', (cause) => {
      // A peer that is gone is the ordinary end of a connection, whichever call notices it.
      if (['EPIPE', 'ECONNRESET'].includes(errnoCode(cause) ?? '')) return;
      this.#reason ??= new IoError(`local connection: ${errorText(cause)}`, { cause });
    });
    socket.once('close', () => {
      this.#closed = true;
      this.#closeHandler?.(this.#reason);
    });
  }

  send(line: string): void {
    if (this.#closed || !this.#socket.writable) return;
    this.#socket.write(`${line}\n`);
    const backlogBytes = this.#socket.writableLength;
    if (backlogBytes <= this.#limits.backlogBytesMax) return;
    this.#reason ??= new LimitError(
      `the peer left ${backlogBytes} bytes unread; at most ${this.#limits.backlogBytesMax} are kept`,
    );
    this.#socket.destroy();
  }

  onLine(handler: (line: string) => void): void {
    this.#lineHandler = handler;
    this.#socket.resume();
  }

  onClose(handler: (reason: CloseReason) => void): void {
    this.#closeHandler = handler;
    if (this.#closed) handler(this.#reason);
  }

  close(): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    this.#pending = Buffer.alloc(0);
    this.#socket.resume();
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), lingerMs);
    this.#socket.once('close', () => clearTimeout(timer));
  }

  /** Closes for a passed bound, saying so to the peer where a refusal is known. */
  refuse(reason: LimitError): void {
    this.#reason ??= reason;
    if (this.#refusal !== undefined) this.send(this.#refusal(reason));
    this.close();
  }

  #receive(data: Buffer): void {
    let rest = data;
    while (!this.#ending && !this.#socket.destroyed) {
      const end = rest.indexOf(lineFeed);
      if (!this.#keep(end === -1 ? rest : rest.subarray(0, end)) || end === -1) return;
      const line = this.#pending.toString('utf8', 0, this.#pendingBytes);
      this.#pending = Buffer.alloc(0);
      this.#pendingBytes = 0;
      rest = rest.subarray(end + 1);
      this.#lineHandler?.(line.endsWith('\r') ? line.slice(0, -1) : line);
    }
  }

  /** Adds to the pending line, copying so that many small pieces cost no more than their octets. */
  #keep(piece: Buffer): boolean {
    const length = this.#pendingBytes + piece.length;
    if (length > this.#limits.lineBytesMax) {
      const bound = this.#limits.lineBytesMax;
      this.refuse(new LimitError(`a line of more than ${bound} bytes is refused; end each with a line feed`));
      return false;
    }
    if (length > this.#pending.length) {
      const grown = Buffer.alloc(
        Math.max(length, Math.min(2 * this.#pending.length, this.#limits.lineBytesMax)),
      );
      this.#pending.copy(grown, 0, 0, this.#pendingBytes);
      this.#pending = grown;
    }
    piece.copy(this.#pending, this.#pendingBytes);
    this.#pendingBytes = length;
    return true;
  }
}
