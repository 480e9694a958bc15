/**
 * What is known of CSE products, for the time before a CSE was probed and for what cannot be probed: ACME CSE as tried
 * again on 2026.5.1 (`npm run test:acme`), the others by their sources and documents. What was found of a CSE itself
 * counts more (capabilities.ts).
 */
import type { CapabilityName, Product } from './capability-names.ts';
import type { CseBase } from './resources.ts';

/** One peculiarity of a product. */
export interface Quirk {
  readonly value: 'yes' | 'no';
  /** Versions it was seen in. */
  readonly versions: string;
  readonly what: string;
  /** What Baton does instead. */
  readonly instead: string;
}

const seen = '2026.5.1';
const no = (versions: string, what: string, instead: string): Quirk => ({
  value: 'no',
  versions,
  what,
  instead,
});
const yes = (versions: string, what: string): Quirk => ({
  value: 'yes',
  versions,
  what,
  instead: 'relies on it',
});

type Quirks = Readonly<Partial<Record<CapabilityName, Quirk>>>;

const acme: Quirks = {
  releaseThreeOptions: yes(seen, 'option numbers of Release 3'),
  cbor: yes(seen, 'CBOR both ways; errors found while parsing come as JSON'),
  fixedResourceName: yes(seen, 'the second CREATE under a name is 4105'),
  resultContentNothing: yes(seen, 'rcn=0 has no body, but for requests that are passed on'),
  remoteCseReadable: no(
    seen,
    'only the administrator sees remoteCSEs',
    'reads candidates from the container "targets" of the home AE',
  ),
  spScopedStem: no(
    seen,
    'an S stem has no scope beyond its CSE: to=/Sx is 4000',
    'addresses AEs below their CSE',
  ),
  notificationsOverCoap: no(
    seen,
    'no NOTIFY leaves over CoAP (KeyError)',
    'fetches commands, and proves a target by reading back what it wrote',
  ),
  notificationsOverMqtt: yes(seen, 'notifications arrive; their answers are not waited for'),
  pollingChannel: yes(seen, 'one per AE; it queues in order'),
  nonBlocking: yes(seen, 'rt=1 on the method of the operation; POST with op is 4000'),
  cmdhPolicies: no(
    seen,
    'no CMDH policies: a CREATE of one is not answered, or refused',
    'policies travel in a container',
  ),
  registrationTracking: no(
    seen,
    'trackRegistrationPoints is stored and ignored',
    'tells by the serving record at the IN-CSE where it is',
  ),
  siblingTransit: no(seen, 'an MN-CSE does not pass on to its sibling: 4004', 'speaks to each MN-CSE itself'),
  blockwise: yes(seen, 'blocks under one token; a GET with an early Block2 is never answered'),
  dtls: no(seen, 'no DTLS: a coaps target is refused', 'MQTT over TLS, or a tunnel'),
  limitAfterFilter: no(
    seen,
    'lim counts children before the filter',
    'sends no limit and cuts the list itself',
  ),
  groupFanOut: yes(seen, 'deleted members leave the group'),
};

const testbed: Quirks = {
  releaseThreeOptions: yes('any', 'option numbers of Release 3'),
  cbor: yes('any', 'CBOR and JSON'),
  fixedResourceName: yes('any', 'the second CREATE under a name is 4105'),
  resultContentNothing: yes('any', 'rcn=0 has no body'),
  pollingChannel: yes('any', 'one per AE'),
  limitAfterFilter: yes('any', 'lim counts what matches'),
  groupFanOut: yes('any', 'one answer per member'),
  siblingTransit: yes('any', 'by the IN-CSE'),
  cmdhPolicies: no('any', 'mgmtObjs are stored and not acted on', 'policies travel in a container'),
  registrationTracking: no('any', 'not followed', 'tells by the serving record at the IN-CSE where it is'),
};

const tinyIoT: Quirks = {
  releaseThreeOptions: yes('2026-04', 'option numbers of Release 3'),
  cbor: no('2026-04', 'JSON only (Content-Format 50)', 'writes JSON'),
  fixedResourceName: yes('2026-04', 'with ALLOW_CIN_RN, which is the default'),
  pollingChannel: no('2026-04', 'has no pollingChannel', 'fetches commands'),
  cmdhPolicies: no('2026-04', 'has no mgmtObj', 'policies travel in a container'),
  registrationTracking: no('2026-04', 'has none', 'tells by the serving record at the IN-CSE where it is'),
};

const mobius: Quirks = {
  releaseThreeOptions: no(
    '2.5.13',
    'reads 256 and 257, writes 265; no release version',
    'uses the old numbers',
  ),
  cbor: no('2.5.13', 'CBOR travels as hexadecimal text', 'writes JSON'),
  cmdhPolicies: no('2.5.13', 'not known to act on them', 'policies travel in a container'),
  registrationTracking: no(
    '2.5.13',
    'is older than it',
    'tells by the serving record at the IN-CSE where it is',
  ),
};

const table: Readonly<Record<Product, Quirks>> = { acme, testbed, tinyIoT, mobius, unknown: {} };

/** What is known of a product. */
export function quirksOf(product: Product): Quirks {
  return table[product];
}

/** What a first contact showed, as far as it tells products apart. */
export interface Traces {
  /** The CSE understood the option numbers of Release 3. */
  readonly hasReleaseThreeOptions: boolean;
  /** `originatingTimestamp` of its answers. */
  readonly originatingTimestamp?: string;
  readonly cseBase?: CseBase;
}

/**
 * Which product a CSE is, by what it cannot hide: no CSE says it on Mca. ACME writes times with microseconds; the CSE of
 * the testbed names its CSEBase after itself; old option numbers are those of Mobius.
 */
export function productOf({ hasReleaseThreeOptions, originatingTimestamp, cseBase }: Traces): Product {
  if (!hasReleaseThreeOptions) return 'mobius';
  const times = [originatingTimestamp, cseBase?.creationTime, cseBase?.lastModifiedTime];
  if (times.some((time) => typeof time === 'string' && /^\d{8}T\d{6},\d{6}$/u.test(time))) return 'acme';
  const { cseId, resourceId } = cseBase ?? {};
  if (typeof cseId === 'string' && resourceId === `cb-${cseId.slice(1)}`) return 'testbed';
  return 'unknown';
}
