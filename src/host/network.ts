import * as dgram from 'node:dgram';
import { lookup } from 'node:dns/promises';
import * as net from 'node:net';
import type { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { IoError, errnoCode, errorText } from '../base/errors.ts';
import { err, ok } from '../base/result.ts';
import type { Result } from '../base/result.ts';

/** An IP address (literal, never a name) and a port. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** Sockets are opened on the address of a link, so that what is sent leaves by that link. */
export interface Network {
  /**
   * Opens a UDP socket on `localAddress` (any free port unless given).
   * Throws `IoError` when the address is not on this machine or the port is taken.
   */
  openDatagram(options: { localAddress: string; port?: number }): Promise<DatagramSocket>;
  /** An address of a host name; a literal address is returned as it is. Throws `IoError` when there is none. */
  resolve(host: string): Promise<string>;
  /**
   * Opens a TCP connection from `localAddress`, with TLS where told; the stream reports failure by its `error` event. Throws
   * `IoError` when the key does not fit the certificate.
   */
  openStream(options: StreamTarget): Duplex;
}

/** Where a stream leads and how it is secured. */
export interface StreamTarget {
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly tls?: TlsIdentity;
}

/** What a TLS connection is secured by; texts in PEM. Never to be logged. */
export interface TlsIdentity {
  /** Who may have signed the certificate of the peer; the authorities of the system when absent. */
  readonly caPem?: string;
  /** Certificate (with its chain) and key that the peer is shown. */
  readonly certPem?: string;
  readonly keyPem?: string;
  /** The name that the peer's certificate must carry. */
  readonly serverName: string;
}

/** A UDP socket. */
export interface DatagramSocket {
  /** Where this socket can be reached. */
  readonly local: SocketAddress;
  /**
   * Hands one datagram to the network. `ok` means accepted by the system, never delivered; the error carries the
   * system's code (`ENETUNREACH`, `EHOSTUNREACH`, `EADDRNOTAVAIL` …), which says that the link is gone.
   */
  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>>;
  /** Sets the receiver; datagrams that arrive while there is none are dropped. */
  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void;
  close(): Promise<void>;
}

/** Why a datagram could not be handed over. */
export interface SendError {
  readonly errno: string;
  readonly message: string;
}

/** The real network of the machine. */
export class NodeNetwork implements Network {
  openDatagram(options: { localAddress: string; port?: number }): Promise<DatagramSocket> {
    const { localAddress, port = 0 } = options;
    const socket = dgram.createSocket({ type: net.isIPv6(localAddress) ? 'udp6' : 'udp4' });
    return new Promise((resolve, reject) => {
      socket.once('error', (cause) => {
        socket.close();
        reject(new IoError(`cannot open UDP ${localAddress} port ${port}: ${errorText(cause)}`, { cause }));
      });
      socket.bind(port, localAddress, () => {
        socket.removeAllListeners('error');
        resolve(new NodeDatagramSocket(socket));
      });
    });
  }

  async resolve(host: string): Promise<string> {
    if (net.isIP(host) !== 0) return host;
    try {
      return (await lookup(host)).address;
    } catch (cause) {
      throw new IoError(`host name ${host} has no address: ${errorText(cause)}`, { cause });
    }
  }

  openStream({ tls: identity, ...options }: StreamTarget): Duplex {
    // A request is one small write that waits for its answer: Nagle's algorithm would add 40 ms to each.
    if (identity === undefined) return net.connect({ ...options, noDelay: true });
    const { caPem, certPem, keyPem, serverName } = identity;
    let socket: tls.TLSSocket;
    try {
      socket = tls.connect({
        ...options,
        ...(caPem === undefined ? {} : { ca: caPem }),
        ...(certPem === undefined ? {} : { cert: certPem }),
        ...(keyPem === undefined ? {} : { key: keyPem }),
        // A name indication is for names only (RFC 6066 3).
        ...(net.isIP(serverName) === 0 ? { servername: serverName } : {}),
        checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(serverName, certificate),
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
      });
    } catch (cause) {
      throw new IoError(`TLS to ${options.host} port ${options.port}: ${errorText(cause)}`, { cause });
    }
    return socket.setNoDelay(true);
  }
}

class NodeDatagramSocket implements DatagramSocket {
  readonly local: SocketAddress;
  readonly #socket: dgram.Socket;
  #closed = false;

  constructor(socket: dgram.Socket) {
    this.#socket = socket;
    const { address, port } = socket.address();
    this.local = { address, port };
    // A send failure is reported to its sender; the socket stays usable, so the event has nothing to add.
    socket.on('error', () => undefined);
  }

  send(data: Uint8Array, to: SocketAddress): Promise<Result<void, SendError>> {
    if (this.#closed) return Promise.resolve(err({ errno: 'EBADF', message: 'the socket is closed' }));
    if (to.port < 1 || to.port > 65_535 || net.isIP(to.address) === 0) {
      return Promise.resolve(
        err({ errno: 'EINVAL', message: `no such peer: ${to.address} port ${to.port}` }),
      );
    }
    return new Promise((resolve) => {
      this.#socket.send(data, to.port, to.address, (cause) => {
        if (cause === null) resolve(ok(undefined));
        else resolve(err({ errno: errnoCode(cause) ?? 'EIO', message: errorText(cause) }));
      });
    });
  }

  onMessage(handler: (data: Uint8Array, from: SocketAddress) => void): void {
    this.#socket.removeAllListeners('message');
    this.#socket.on('message', (data, info) => handler(data, { address: info.address, port: info.port }));
  }

  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return new Promise((resolve) => {
      this.#socket.close(() => resolve());
    });
  }
}
