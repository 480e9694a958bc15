import type { Filesystem } from '../host/filesystem.ts';
import { readWhole } from '../host/filesystem.ts';

/** Servers asked at most; the C library takes three. */
const serversMax = 3;
const fileBytesMax = 65_536;
const stub = '127.0.0.53';

/**
 * Name servers of a link: those of the configuration, else what systemd-resolved's upstream file or resolv.conf name. Both
 * files know the servers of all links together; that those of another link do not answer over this one costs a try. A stub on
 * this machine is no server of a link and is left out.
 */
export async function nameServersOf(
  filesystem: Filesystem,
  configured: readonly string[] = [],
): Promise<readonly string[]> {
  if (configured.length > 0) return configured.slice(0, serversMax);
  for (const path of [
    '/run/systemd/resolve/resolv.conf',
    '/run/NetworkManager/resolv.conf',
    '/etc/resolv.conf',
  ]) {
    const data = await readWhole(filesystem, path, fileBytesMax).catch(() => undefined);
    if (data === undefined) continue;
    const servers = parseNameServers(Buffer.from(data).toString('latin1'));
    if (servers.length > 0) return servers;
  }
  return [];
}

/** The `nameserver` lines of a resolv.conf(5) that lead off this machine. */
export function parseNameServers(text: string): readonly string[] {
  const servers = text.split('\n').flatMap((line) => {
    const server = /^\s*nameserver\s+([0-9a-f.:]+)\s*(?:[#;].*)?$/iu.exec(line)?.[1];
    return server === undefined || server === stub || server.startsWith('127.') || server === '::1'
      ? []
      : server;
  });
  return [...new Set(servers)].slice(0, serversMax);
}
