import { errorText } from '../base/errors.ts';
import type { DtlsCredentials } from '../host/dtls-credentials.ts';
import type { Host } from '../host/host.ts';
import type { PskConfig } from './config.ts';
import { loadPsk } from './psk-credentials.ts';

/**
 * The pre-shared keys of a link as they were last read, for both directions: a key is read again whenever a session to its CSE
 * is opened, and is then the one by which that CSE may call. A file that cannot be used takes nothing away from the other
 * keys, nor from the link.
 */
export class PskRing {
  readonly #host: Pick<Host, 'filesystem' | 'network'>;
  readonly #psk: readonly PskConfig[];
  readonly #onKey: (keyFile: string, failure: string | undefined) => void;
  readonly #loaded = new Map<PskConfig, DtlsCredentials>();
  /** Addresses of the hosts that keys are for, as they were last found. */
  readonly #addresses = new Map<string, string>();

  constructor(options: {
    host: Pick<Host, 'filesystem' | 'network'>;
    psk: readonly PskConfig[];
    /** Told why a file of a key cannot be used, and, with `undefined`, that it can. */
    onKey?: (keyFile: string, failure: string | undefined) => void;
  }) {
    this.#host = options.host;
    this.#psk = options.psk;
    this.#onKey = options.onKey ?? ((): void => undefined);
  }

  /** Reads one key; throws `IoError` with the way out. */
  async load(psk: PskConfig): Promise<DtlsCredentials> {
    try {
      const credentials = await loadPsk(this.#host.filesystem, psk);
      this.#loaded.set(psk, credentials);
      this.#onKey(psk.keyFile, undefined);
      return credentials;
    } catch (error) {
      this.#onKey(psk.keyFile, errorText(error));
      throw error;
    }
  }

  /** Reads all keys and finds the hosts that they are for; what fails is told, and tried again when it is needed. */
  async loadAll(): Promise<void> {
    for (const psk of this.#psk) {
      await this.load(psk).catch(() => undefined);
      if (psk.host !== undefined) await this.resolve(psk.host).catch(() => undefined);
    }
  }

  /** An address of a host; throws `IoError` when there is none. */
  async resolve(host: string): Promise<string> {
    const address = await this.#host.network.resolve(host);
    if (this.#psk.some((psk) => psk.host === host)) this.#addresses.set(host, address);
    return address;
  }

  /** The key of an identity that is shown from an address: the one for that host if there is one. */
  keyOf(identity: string, address: string): Uint8Array | undefined {
    const known = [...this.#loaded].filter(([, credentials]) => credentials.identity === identity);
    const own = known.find(([{ host }]) => host !== undefined && this.#addresses.get(host) === address);
    const found = own ?? known.find(([{ host }]) => host === undefined) ?? known[0];
    return found?.[1].key;
  }
}
