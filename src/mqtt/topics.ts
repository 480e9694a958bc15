/**
 * Topics of the oneM2M MQTT binding (TS-0010 6.4): `[prefix]/oneM2M/<kind>/<originator>/<receiver>/<ct>`. The prefix is
 * the path of a point of access. An entity fills one topic level: its SP-relative ID without the leading `/`, every
 * other `/` written `:`. An AE with a C stem is `id-mn1:Cx` by the standard and `Cx` to some CSEs, so both are heard.
 */
import { EncodeError } from '../base/errors.ts';
import { printable } from '../base/text.ts';
import type { Serialisation } from '../onem2m/primitives.ts';

/** `reg_req` and `reg_resp` carry the first registration of an AE or CSE, under a credential-ID. */
export type TopicKind = 'req' | 'resp' | 'reg_req' | 'reg_resp';

/** A topic taken apart. Responses keep the order of their request: the originator is who asked. */
export interface OneM2mTopic {
  /** Path of the point of access without its leading slash, or empty. */
  readonly prefix: string;
  readonly kind: TopicKind;
  /** Topic level of the entity that sent the request. */
  readonly originator: string;
  /** Topic level of the entity that was asked. */
  readonly receiver: string;
  readonly serialisation: Serialisation;
}

const kinds: readonly string[] = ['req', 'resp', 'reg_req', 'reg_resp'] satisfies TopicKind[];
const levelBytesMax = 255;
// Wildcards, separators and control characters have no place in a level (MQTT 3.1.1 4.7).
const badLevel = /[+#/\p{Cc}]/u;

/**
 * The topic level of an entity: `/id-mn1` is `id-mn1`, `/id-mn1/Cgw1` is `id-mn1:Cgw1`, `Sgw1` and `/Sgw1` are `Sgw1`,
 * `//sp.example/id-in` is `:sp.example:id-in`. Throws `EncodeError` for an ID that cannot be a level.
 */
export function encodeEntity(id: string): string {
  const relative = id.startsWith('//') ? id.slice(1) : id.startsWith('/') ? `${id.slice(1)}` : id;
  const level = relative.replaceAll('/', ':');
  if (level === '' || Buffer.byteLength(level) > levelBytesMax || badLevel.test(level)) {
    throw new EncodeError(
      `"${printable(id)}" cannot be a level of an MQTT topic: 1 to ${levelBytesMax} bytes without + # and control characters`,
    );
  }
  return level;
}

/** The levels under which an AE is addressed: its stem, and the SP-relative form at its registrar (`/id-mn1`). */
export function aeLevels(aeId: string, registrarCseId: string): string[] {
  const level = encodeEntity(aeId);
  return aeId.includes('/') ? [level] : [level, `${encodeEntity(registrarCseId)}:${level}`];
}

/** The text of a topic. */
export function buildTopic(topic: OneM2mTopic): string {
  return `${topic.prefix}/oneM2M/${topic.kind}/${topic.originator}/${topic.receiver}/${topic.serialisation}`;
}

/** Undefined for any text that is no oneM2M topic, or whose content type is not spoken here. */
export function parseTopic(text: string): OneM2mTopic | undefined {
  const levels = text.split('/');
  const [marker, kind = '', originator = '', receiver = '', serialisation] = levels.slice(-5);
  if (levels.length < 6 || marker !== 'oneM2M' || !kinds.includes(kind)) return undefined;
  if (originator === '' || receiver === '') return undefined;
  if (serialisation !== 'json' && serialisation !== 'cbor') return undefined;
  const prefix = levels.slice(0, -5).join('/');
  return { prefix, kind: kind as TopicKind, originator, receiver, serialisation };
}

/** The topic of the answer to a request on `topic`. */
export function responseTopic(topic: OneM2mTopic): OneM2mTopic {
  return { ...topic, kind: topic.kind === 'reg_req' ? 'reg_resp' : 'resp' };
}

/** What to subscribe to so as to hear requests to an entity. */
export function requestFilter(level: string, prefix: string): string {
  return `${prefix}/oneM2M/req/+/${level}/#`;
}

/** What to subscribe to so as to hear the answers to an entity's requests. */
export function responseFilter(level: string, prefix: string): string {
  return `${prefix}/oneM2M/resp/${level}/+/#`;
}

/** What a CSE subscribes to so as to hear first registrations. */
export function registrationRequestFilter(level: string, prefix: string): string {
  return `${prefix}/oneM2M/reg_req/+/${level}/#`;
}

/** What an entity that registers under a credential-ID subscribes to. */
export function registrationResponseFilter(credential: string, prefix: string): string {
  return `${prefix}/oneM2M/reg_resp/${credential}/+/#`;
}
