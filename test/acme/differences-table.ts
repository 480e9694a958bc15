// What ACME CSE of the pinned version does otherwise than the contract says: everything that may differ, by name. A check
// with another difference fails, and so does one in which a listed difference does not show any more.

/** How the contract is spoken. */
export type Wire = 'coap' | 'mqtt';

/** One difference that is allowed. */
export interface Difference {
  readonly name: string;
  /** What ACME does. */
  readonly what: string;
  /** What Baton relies on instead. */
  readonly fallback: string;
  /** Where it shows: the beginnings of a check's title and of one of its assertions. */
  readonly shows: readonly {
    readonly wires: readonly Wire[];
    readonly check: string;
    readonly assertions: readonly string[];
    /** Those that show or not by chance of timing. */
    readonly sometimes?: readonly string[];
  }[];
}

const both: readonly Wire[] = ['coap', 'mqtt'];

/** The allowed differences. */
export const differences: readonly Difference[] = [
  {
    name: 'no-notification-over-coap',
    what: 'no NOTIFY leaves over CoAP, and a request that would wait for one is not answered',
    fallback:
      'the gateway knows the product by its answers: it fetches commands, and proves a target by reading back what it wrote',
    shows: [
      {
        wires: ['coap'],
        check: 'an AE is notified of new instances',
        assertions: ["is [ 'c1', 'c2', 'c3' ]", 'a container of no wanted type was passed over'],
      },
      {
        wires: ['coap'],
        check: 'another notification target is verified first',
        assertions: ['a subscription to cse-mn1/'],
      },
      {
        wires: ['coap'],
        check: 'events: update with the attributes wanted',
        assertions: ["has { labels: [ 'x' ] }", 'one of the two updates is reported', 'is [ 2, 4 ]'],
      },
      { wires: ['coap'], check: 'a change of the point of access', assertions: ["is 'c1'"] },
      { wires: ['coap'], check: 'notifications in batches', assertions: ['3: '] },
      {
        wires: both,
        check: 'notifications cross CSEs',
        assertions: ['NOTIFY without the privilege', 'arrives at the device', 'NOTIFY with the privilege'],
      },
    ],
  },
  {
    name: 'no-answer-awaited-over-mqtt',
    what: 'a NOTIFY over MQTT arrives, but its answer is not waited for (NameError): no refusal is heard, a batch is 5000',
    fallback:
      'the gateway subscribes with itself as target, one notification each, and needs no verification',
    shows: [
      {
        wires: ['mqtt'],
        check: 'another notification target is verified first',
        assertions: ['the target said no'],
        // The CREATE may be answered before the verification request has arrived.
        sometimes: ['is true', 'is a string'],
      },
      { wires: ['mqtt'], check: 'notifications in batches', assertions: ['3: '] },
    ],
  },
  {
    name: 'no-way-to-a-sibling',
    what: 'an MN-CSE does not forward to another MN-CSE: 4004',
    fallback: 'the gateway speaks to each MN-CSE itself, and to the IN-CSE for what is common',
    shows: [{ wires: both, check: 'one MN-CSE reaches another', assertions: ['CREATE'] }],
  },
  {
    name: 'limit-before-filter',
    what: 'lim cuts the children before the filter is applied',
    fallback: 'discovery is sent without a limit and cut by the gateway',
    shows: [
      { wires: both, check: 'discovery: labels are alternatives', assertions: ['the limit counts matches'] },
    ],
  },
  {
    name: 'wildcard-passes-over-local-stems',
    what: 'a wildcard over CSE-IDs in acor does not cover an AE at the CSE itself, which is compared by its bare stem',
    fallback: "policies name the gateway's AE by stem, by /stem and by wildcard",
    shows: [{ wires: both, check: 'a policy grants operation by operation', assertions: ['reader reads'] }],
  },
  {
    name: 'instance-without-content',
    what: 'a contentInstance without con is created',
    fallback: 'none needed: the gateway never sends one, and reads one as no command',
    shows: [
      {
        wires: both,
        check: 'a contentInstance keeps name',
        assertions: ['a contentInstance without content'],
      },
    ],
  },
  {
    name: 'group-forgets-deleted-members',
    what: 'a deleted member leaves the group, so that its fan-out has no 4004 for it',
    fallback: 'none needed: the gateway makes no groups',
    shows: [{ wires: both, check: 'a group fans out', assertions: ['is [ 2001, 2001, 4004 ]'] }],
  },
  {
    name: 'unknown-csebase-name-at-a-remote-cse',
    what: 'an SP-relative address whose CSEBase name is unknown is 4000 instead of 4004, and over MQTT not answered',
    fallback: 'none needed: the names come from the published targets, and any refusal ends the phase',
    shows: [
      { wires: both, check: 'the IN-CSE reaches resources', assertions: ['errors come back unchanged'] },
    ],
  },
];

/** A difference as it may show in a check. */
export interface AllowedDifference {
  readonly assertion: string;
  readonly name: string;
  /** Its absence is wrong as well. */
  readonly isSure: boolean;
}

/** The differences that a check may show over a wire. */
export function allowedIn(title: string, wire: Wire): AllowedDifference[] {
  return differences.flatMap(({ name, shows }) =>
    shows
      .filter(({ check, wires }) => title.startsWith(check) && wires.includes(wire))
      .flatMap(({ assertions, sometimes = [] }) => [
        ...assertions.map((assertion) => ({ assertion, name, isSure: true })),
        ...sometimes.map((assertion) => ({ assertion, name, isSure: false })),
      ]),
  );
}
