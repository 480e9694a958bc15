import { ConfigError } from '../base/errors.ts';

/** A point of access taken apart (TS-0001 9.6.3 `pointOfAccess`; the forms of TS-0008 and TS-0010). */
export interface PointOfAccess {
  readonly scheme: 'coap' | 'coaps' | 'mqtt' | 'mqtts';
  readonly host: string;
  readonly port: number;
  /** Path without its leading slash: the topic prefix of an MQTT point of access. */
  readonly path: string;
}

const defaultPorts = { coap: 5683, coaps: 5684, mqtt: 1883, mqtts: 8883 } as const;

/** Takes `coap://192.0.2.1:5683` and its kin apart; undefined for a scheme that is not spoken here or a broken URL. */
export function parsePointOfAccess(text: string): PointOfAccess | undefined {
  let url: URL;
  try {
    // The WHATWG parser normalises hosts only for schemes it knows; `http` makes it treat the authority alike.
    url = new URL(text.replace(/^[a-z]+:/iu, 'http:'));
  } catch {
    return undefined;
  }
  const scheme = /^([a-z]+):\/\//iu.exec(text)?.[1]?.toLowerCase();
  if (scheme !== 'coap' && scheme !== 'coaps' && scheme !== 'mqtt' && scheme !== 'mqtts') return undefined;
  // The parser drops a port 80, because it takes the text for HTTP.
  const isPort80 = url.port === '' && /^[^/]*\/\/[^/?#]*:0*80(?:[/?#]|$)/u.test(text);
  const port = isPort80 ? 80 : url.port === '' ? defaultPorts[scheme] : Number(url.port);
  if (port === 0) return undefined;
  const host = url.hostname.replace(/^\[|\]$/gu, '');
  return { scheme, host, port, path: url.pathname.replace(/^\//u, '') };
}

/** Like `parsePointOfAccess`, for a configured value: throws `ConfigError` naming the key. */
export function requirePointOfAccess(text: string, key: string): PointOfAccess {
  const parsed = parsePointOfAccess(text);
  if (parsed === undefined) {
    throw new ConfigError(`${key}: "${text}" is no point of access; write for example coap://192.0.2.1:5683`);
  }
  return parsed;
}

/** `coap://host:port`, with brackets around an IPv6 address. */
export function formatPointOfAccess(scheme: PointOfAccess['scheme'], host: string, port: number): string {
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** The SP-relative address of a CSE-relative one: `/id-mn1/cse-mn1/gw1`. */
export function spRelative(cseId: string, cseRelative: string): string {
  return `${cseId}/${cseRelative}`;
}

/** The stem of an AE-ID in any of its forms: `Cq1` of `Cq1`, `/id-mn1/Cq1` and `//sp.example/id-mn1/Cq1`. */
export function aeIdStem(aeId: string): string {
  return aeId.slice(aeId.lastIndexOf('/') + 1);
}
