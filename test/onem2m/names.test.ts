// Proves that every name of the standard that Baton knows goes to its short name and back within its resource type: the
// attributes of each type, the members of requests, responses and filters, the complex types, and the numbers of the
// enumerations. The tables here are written from the specification, apart from those of the code. No short name leaves
// the serialisation, and what CSEs write otherwise (one value for a list, numbers as text) is read as it is meant.
import fc from 'fast-check';
import t from 'tap';
import { DecodeError } from '../../src/base/errors.ts';
import * as enums from '../../src/onem2m/enums.ts';
import { attributeNames, rootNames } from '../../src/onem2m/names.ts';
import type { Shape } from '../../src/onem2m/attribute-names.ts';
import type { PrimitiveContent } from '../../src/onem2m/resources.ts';
import {
  decodeContent,
  decodeRequest,
  decodeResponse,
  encodeContent,
  encodeRequest,
  encodeResponse,
  nestedRequest,
  nestedResponse,
  requestOf,
} from '../../src/onem2m/serialisation.ts';

const common = 'ri rn pi ct lt ty et lbl';
const standard = `${common} cstn acpi daci at aa ast loc`;

/** Root element, long name of the root, attributes (TS-0004 7.4, 8.2.3). */
const resources: readonly (readonly [short: string, long: string, attributes: string])[] = [
  [
    'm2m:cb',
    'cseBase',
    `${common} loc cstn acpi daci csi spi ici cst csz ctm esi nl poa srt srv ri rn pi ct lt ty`,
  ],
  [
    'm2m:csr',
    'remoteCse',
    `${standard} cr cst poa cb csi spi ici mei tri rr nl csz esi trn dcse mtcc egid tren ape srv`,
  ],
  ['m2m:ae', 'ae', `${standard} apn api aei poa nl rr csz esi mei srv regs trps scp tren ape or`],
  [
    'm2m:aeA',
    'aeAnnc',
    'et lbl acpi daci ast loc lnk apn api aei poa nl rr csz esi mei regs trps scp tren ape or',
  ],
  ['m2m:cnt', 'container', `${standard} st cr mni mbs mia cni cbs li or disr subi`],
  ['m2m:cin', 'contentInstance', 'ri rn ct et lbl st at aa ast cr loc cnf cs con conr or dcnt dgt'],
  [
    'm2m:sub',
    'subscription',
    `${common} cstn acpi daci cr enc exc nu gpi nfu bn rl psn pn nsp ln nct nec su acrs nse nsi eeno ma`,
  ],
  ['m2m:acp', 'accessControlPolicy', `${common} at aa ast pv pvs adri apri airi`],
  ['m2m:grp', 'group', `${standard} cr mt spty cnm mnm mid macp mtv csy gn ssi nar`],
  ['m2m:pch', 'pollingChannel', `${common} rqag`],
  ['m2m:nod', 'node', `${standard} ni hcl hael hsl mgca rms nid nty`],
  ['m2m:bat', 'battery', `${standard} mgd dc btl bts`],
  ['m2m:ts', 'timeSeries', `${standard} cr mni mbs mia cni cbs pei peid mdd mdn mdlt mdc mdt cnf or`],
  ['m2m:tsi', 'timeSeriesInstance', 'et lbl at aa ast cr loc dgt con cs snr'],
  ['m2m:req', 'request', `${common} cstn acpi daci op tg org rid mi pc rs ors`],
  ['m2m:sch', 'schedule', `${common} cstn acpi daci at aa ast se nco`],
  ['m2m:lcp', 'locationPolicy', `${standard} los lit lou lot lor loi lon lost gta gec aid rlkl luec`],
  ['m2m:tgr', 'triggerRequest', `${standard} mei tri tvt dur tpe tst tiae tia tio tirt`],
  ['m2m:mgc', 'mgmtCmd', `${standard} cmt exra exe ext exm exf exy exn`],
  ['m2m:exin', 'execInstance', `${common} exs exr exd ext exm exf exy exn exra`],
  ['m2m:alst', 'aeContactList', `${common} cust nic`],
  ['m2m:alpc', 'aeContactListPerCse', `${common} cust csi ail`],
  ['m2m:cmp', 'cmdhPolicy', `${standard} mgd dc cpn cmlk`],
  ['m2m:acmp', 'activeCmdhPolicy', `${standard} mgd dc acmlk`],
  ['m2m:cmdf', 'cmdhDefaults', `${standard} mgd dc cmlk`],
  ['m2m:cmdv', 'cmdhDefEcValue', `${standard} mgd dc od dev ror rct rctn rch`],
  ['m2m:cmpv', 'cmdhEcDefParamValues', `${standard} mgd dc aec dqet dset doet drp dda`],
  ['m2m:cml', 'cmdhLimits', `${standard} mgd dc od ror rct rctn rch lec lqet lset loet lrp lda`],
  ['m2m:cmnr', 'cmdhNetworkAccessRules', `${standard} mgd dc aecs cmlk`],
  ['m2m:cmwr', 'cmdhNwAccessRule', `${standard} mgd dc ttn mrv swt bop ohc cmlk`],
  ['m2m:cmbf', 'cmdhBuffer', `${standard} mgd dc aec mbfs sgp`],
];

/** Announced variants have the attributes of their originals and `lnk`. */
const announced = 'cb csr ae cnt cin grp acp nod sch lcp ts tsi'.split(' ').map((name) => `m2m:${name}A`);

/** Long names where they are not obvious (TS-0004 8.2.3), as the standard writes them. */
const longNames =
  `acpi accessControlPolicyIDs, daci dynamicAuthorizationConsultationIDs, at announceTo, aa announcedAttribute,
ast announceSyncType, cstn custodian, cr creator, loc location, st stateTag, apn appName, api App-ID, aei AE-ID,
poa pointOfAccess, nl nodeLink, rr requestReachability, csz contentSerialization, esi e2eSecInfo, mei M2M-Ext-ID,
srv supportedReleaseVersions, trps trackRegistrationPoints, regs registrationStatus, scp sessionCapabilities, tren triggerEnable,
trn triggerReferenceNumber, ape activityPatternElements, or ontologyRef, spi SP-ID, ici IN-CSE-ID, ctm currentTime,
srt supportedResourceType, cb CSEBase, tri Trigger-Recipient-ID, dcse descendantCSEs, mtcc multicastCapability,
egid externalGroupID, mni maxNrOfInstances, mbs maxByteSize, mia maxInstanceAge, cni currentNrOfInstances,
cbs currentByteSize, li locationID, disr disableRetrieval, subi subscriptionIDs, cnf contentInfo, cs contentSize, con content,
conr contentRef, dcnt deletionCnt, dgt dataGenerationTime, snr sequenceNr, cnd containerDefinition, fcied fcinEnabled,
enc eventNotificationCriteria, exc expirationCounter, nu notificationURI, gpi groupID, nfu notificationForwardingURI,
bn batchNotify, rl rateLimit, psn preSubscriptionNotify, pn pendingNotification, nsp notificationStoragePriority,
ln latestNotify, nct notificationContentType, nec notificationEventCat, su subscriberURI,
eeno enableEventNotificationOriginator, ma maxAge, mt memberType, spty specializationType, cnm currentNrOfMembers,
mnm maxNrOfMembers, mid memberIDs, macp membersAccessControlPolicyIDs, mtv memberTypeValidated, csy consistencyStrategy,
gn groupName, nar notifyAggregation, rqag requestAggregation, ni nodeID, hcl hostedCSELink, hael hostedAELinks,
hsl hostedServiceLinks, mgca mgmtClientAddress, rms roamingStatus, nid networkID, nty nodeType, pei periodicInterval,
peid periodicIntervalDelta, mdd missingDataDetect, mdn missingDataMaxNr, mdlt missingDataList, mdc missingDataCurrentNr,
mdt missingDataDetectTimer, tg target, org originator, rid requestID, mi metaInformation, ors operationResult,
se scheduleElement, nco networkCoordinated, los locationSource, lon locationContainerName, tvt triggerValidityTime,
tiae triggerInfoAE-ID, tia triggerInfoAddress, tio triggerInfoOperation, tirt triggerInfoResourceType, cust currentState,
nic numberImpactedCSEs, ail AE-IDList`
    .split(/,\s*/u)
    .map((row) => row.trim().split(' ') as [string, string]);

/** Complex types and where they lie: root, path of names, members. */
const complex: readonly (readonly [where: string, members: string])[] = [
  ['m2m:sub/enc', 'net atr chty om md crb cra ms us sts stb exb exa sza szb fo'],
  ['m2m:sub/enc/om', 'ops or'],
  ['m2m:sub/enc/md', 'dur num'],
  ['m2m:sub/bn', 'num dur'],
  ['m2m:sub/rl', 'mnn tww'],
  ['m2m:acp/pv', 'acr'],
  ['m2m:acp/pv/acr', 'acor acop acco acaf acod'],
  ['m2m:acp/pvs/acr/acco', 'actw acip aclr'],
  ['m2m:acp/pvs/acr/acod', 'ty chty spty'],
  ['m2m:sch/se', 'sce'],
  ['m2m:cmp/cmlk', 'nm typ val'],
  ['m2m:cnt/ch', 'nm typ val'],
  ['m2m:rrl/rrf', 'nm typ val'],
  ['m2m:cmwr/bop', 'bops'],
  ['m2m:cmwr/bop/bops', 'nwa ibt abt mbt rbt'],
  ['m2m:ae/ape', 'sti'],
  ['m2m:sgn', 'nev vrq sud sur cr nfu ntt trr tra idr aerp aerid tid1 tid2'],
  ['m2m:sgn/nev', 'net om rep'],
  ['m2m:agn', 'm2m:sgn'],
  ['m2m:agr', 'm2m:rsp'],
  ['m2m:tgp', 'tpe tia tio tirt tiae tipa tist'],
];

const requestMembers =
  'op to fr rqi ty pc rids ot rqet rset oet rt rp rcn ec da gid fc drt tkns tids tqi ltids grtm asi aus auri sqi rvi vsi omr prpi msu gstn ma';
const responseMembers = 'rsc rqi pc to fr ot rset ec ati tqf cnst cnot asri rvi vsi';
const filterMembers =
  'fu ty lbl cra crb ms us sts stb exb exa sza szb cty lim ofst lvl fo arp clbl palb catr patr chty pty smf';

/** Values of the enumerations (TS-0004 6.3.4.2), in the order of the specification. */
const numbers: readonly (readonly [name: keyof typeof enums, values: string])[] = [
  ['Operation', '1 2 3 4 5'],
  ['ResponseType', '1 2 3 4 5'],
  ['ResultContent', '0 1 2 3 4 5 6 7 8 9 11 12'],
  ['EventCategory', '2 3 4'],
  ['DiscoveryResultType', '1 2'],
  ['FilterUsage', '1 2 3 4'],
  ['FilterOperation', '1 2 3'],
  ['CseType', '1 2 3'],
  ['RequestStatus', '1 2 3 4 5'],
  ['AccessControlOperations', '1 2 4 8 16 32 63'],
  ['NotificationEventType', '1 2 3 4 5 6 7 8'],
  ['NotificationContentType', '1 2 3 4 5'],
  ['PendingNotification', '1 2'],
  ['RegistrationStatus', '1 2'],
  ['TriggerPurpose', '1 2 3 4'],
  ['TriggerStatus', '1 2 3 4 5 6 7 8 9'],
  ['CmdType', '1 2 3 4 5 6 7'],
  ['ExecMode', '1 2 3 4'],
  ['ExecStatus', '1 2 3 4 5 6'],
  ['NetworkAction', '1 2 3 4 5'],
  ['StationaryIndication', '1 2'],
];
const resourceTypes =
  '1 2 3 4 5 9 10 12 13 14 15 16 17 18 23 24 28 29 30 34 43 44 47 48 58 60 65 66 10002 10003 10004 10005 10016 10028 10029';
const mgmtDefinitions = `${range(1001, 1026)} 1028 1029 1030 1031`;
const statusCodes = `1000 1001 1002 2000 2001 2002 2004 4000 4001 4004 4005 4008 4015 4101 4102 4103 4104 4105 4106 4107 4108
4109 4110 ${range(4111, 4127)} 5000 5001 5103 5105 5106 5107 5203 5204 5205 5206 5207 5208 ${range(5209, 5212)} ${range(5214, 5222)}
6003 6005 6010 6020 6021 6022 6023 6024 6025 6026 6028 6029 6030 6031`;

function range(first: number, last: number): string {
  return Array.from({ length: last - first + 1 }, (_, index) => String(first + index)).join(' ');
}

function words(text: string): string[] {
  return [...new Set(text.trim().split(/\s+/u))];
}

/** The one key of an object and what is behind it. */
function only(value: unknown): [string, unknown] {
  const entries = Object.entries(value as object);
  if (entries.length !== 1 || entries[0] === undefined)
    throw new Error(`not one key: ${JSON.stringify(value)}`);
  return entries[0];
}

await t.test('attributes of every resource type, both ways', (t) => {
  let count = 0;
  const check = (root: string, attribute: string): string => {
    const wire = { [root]: { [attribute]: null } };
    const decoded = decodeContent(wire);
    const [longRoot, attributes] = only(decoded);
    const [long] = only(attributes);
    // A word that is the same both ways would pass whether it is in the table or not.
    if (longRoot === root || long === attribute) t.fail(`${root}/${attribute} has no long name`);
    if (/[-:_]/u.test(long) || /[A-Z]{2}/u.test(long)) t.fail(`${root}/${attribute} is ${long}`);
    const again = encodeContent(decoded);
    if (JSON.stringify(again) !== JSON.stringify(wire)) t.same(again, wire);
    count++;
    return long;
  };
  for (const [root, long, attributes] of resources) {
    t.equal(only(decodeContent({ [root]: {} }))[0], long);
    for (const attribute of words(attributes)) check(root, attribute);
  }
  for (const root of announced)
    for (const attribute of words(`${common} lnk acpi ast`)) check(root, attribute);
  t.ok(count > 600, `${count} attributes`);

  /** `AE-ID` and `notificationURI` as Baton writes them. */
  const camel = (name: string): string =>
    name
      .replaceAll('-', '')
      .replace(/^(?:[A-Z]+(?=[A-Z][a-z])|[A-Z]+$|[A-Z])/u, (first) => first.toLowerCase())
      .toLowerCase();
  for (const [short, long] of longNames) {
    t.equal(check('m2m:ae', short).toLowerCase(), camel(long), `${short} is ${long}`);
  }
  t.end();
});

const lists = new Set(['om', 'acr', 'acco', 'acod', 'cmlk', 'ch', 'rrf', 'bops', 'ape']);
/** Words that are their own long name. */
const sameBothWays = new Set(['to']);

await t.test('complex types, both ways', (t) => {
  for (const [where, members] of complex) {
    const [root = '', ...path] = where.split('/');
    for (const member of words(members)) {
      const wrap = (name: string, inner: unknown): unknown => ({
        [name]: lists.has(name) ? [inner] : inner,
      });
      const inner: unknown = member.startsWith('m2m:') ? { [member]: [{}] } : { [member]: null };
      const below = [...path].reverse().reduce<unknown>((value, name) => wrap(name, value), inner);
      const wire = { [root]: below };
      const decoded = decodeContent(wire);
      t.same(encodeContent(decoded), wire, `${where}/${member}`);
      const text = JSON.stringify(decoded);
      for (const short of [...path, member]) {
        if (sameBothWays.has(short)) continue;
        t.notOk(text.includes(`"${short}"`), `${where}/${member}: ${short} does not leak in ${text}`);
      }
    }
  }
  t.end();
});

await t.test('members of requests, responses and filters, both ways', (t) => {
  const nested = (root: string, member: string): void => {
    const wire = { [root]: { [member]: null } };
    const decoded = decodeContent(wire);
    t.same(encodeContent(decoded), wire, `${root}/${member}`);
    const [, members] = only(decoded);
    const [long] = only(members);
    t.ok(long !== member || sameBothWays.has(member), `${member} is ${long}`);
  };
  for (const member of words(requestMembers)) nested('m2m:rqp', member);
  for (const member of words(responseMembers)) nested('m2m:rsp', member);
  for (const member of words(filterMembers)) {
    const wire = { op: 2, to: 'x', rqi: '1', fc: { [member]: [4] } };
    const request = decodeRequest(wire);
    t.notOk(Object.hasOwn(request.filterCriteria ?? {}, member), `${member} has a long name`);
    t.notOk(request.filterCriteria?.attributes, `${member} is taken for no attribute`);
    t.same(encodeRequest(request), wire);
  }
  t.end();
});

await t.test('enumerations', (t) => {
  for (const [name, values] of numbers)
    t.same(Object.values(enums[name] as object), words(values).map(Number), name);
  const has = (object: object, values: string): string[] =>
    words(values).filter((value) => !(Object.values(object) as number[]).includes(Number(value)));
  t.same(has(enums.ResourceType, resourceTypes), [], 'resource types');
  t.same(has(enums.MgmtDefinition, mgmtDefinitions), [], 'kinds of mgmtObj');
  t.same(has(enums.ResponseStatusCode, statusCodes), [], 'response status codes');
  for (const [name, table] of Object.entries(enums)) {
    if (typeof table !== 'object') continue;
    const values = Object.values(table) as unknown[];
    t.equal(new Set(values).size, values.length, `${name}: each value once`);
  }
  t.equal(enums.ResponseStatusCode.subscriptionVerificationInitiationFailed, 5204);
  t.equal(enums.ResourceType.aeAnnc, enums.ResourceType.ae + 10_000);
  t.end();
});

await t.test('no short name leaks: what is decoded knows long names only', (t) => {
  const shorts = new Set<string>();
  const longs = new Set<string>();
  const seen = new Set<Shape>();
  const gather = (shape: Shape): void => {
    if (seen.has(shape)) return;
    seen.add(shape);
    for (const [long, [short, inner]] of Object.entries(shape)) {
      longs.add(long);
      shorts.add(short);
      if (inner !== undefined) gather(inner());
    }
  };
  gather(rootNames);
  const leaks = (value: unknown): string[] => {
    if (Array.isArray(value)) return value.flatMap(leaks);
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([name, inner]) => [
      ...(shorts.has(name) && !longs.has(name) ? [name] : []),
      // Contents are opaque and keep what they hold.
      ...(name === 'content' ? [] : leaks(inner)),
    ]);
  };
  const attribute = fc.constantFrom(
    ...Object.values(attributeNames).filter(([, inner]) => inner === undefined),
  );
  const tree = fc.dictionary(
    fc.constantFrom('m2m:ae', 'm2m:cnt', 'm2m:sub', 'm2m:nod'),
    fc.array(attribute),
    {
      minKeys: 1,
      noNullPrototype: true,
    },
  );
  fc.assert(
    fc.property(tree, (roots) => {
      const wire = Object.fromEntries(
        Object.entries(roots).map(([root, names]) => [
          root,
          Object.fromEntries(names.map(([short]) => [short, 'x'])),
        ]),
      );
      t.same(leaks(decodeContent(wire)), []);
    }),
    { numRuns: 200 },
  );
  const notified = {
    'm2m:agn': {
      'm2m:sgn': [
        {
          nev: { net: 3, om: { ops: [1], or: 'Cx' }, rep: { 'm2m:cin': { rn: 'c1', con: { rn: 1 } } } },
          sur: 's',
        },
        { aerp: true, tid1: '/id-mn1/Cgw', tid2: '/id-mn2/Cgw' },
      ],
    },
  };
  const decoded = decodeContent(notified);
  t.same(leaks(decoded), []);
  t.match(decoded.aggregatedNotification?.notification?.[1], {
    aeRegistrationPointChange: true,
    trackingId1: '/id-mn1/Cgw',
    trackingId2: '/id-mn2/Cgw',
  });
  t.same(encodeContent(decoded), notified);
  t.end();
});

await t.test('what CSEs write otherwise is read as it is meant', (t) => {
  const rows: readonly (readonly [wire: unknown, expected: PrimitiveContent])[] = [
    [{ 'm2m:ae': { regs: '2', rr: 'true', srv: '4', poa: 'coap://h' } }, { ae: { registrationStatus: 2, requestReachability: true, supportedReleaseVersions: ['4'], pointOfAccess: ['coap://h'] } }],
    [{ 'm2m:cb': { cst: '2', srt: ['1', 2, 'x'] } }, { cseBase: { cseType: 2, supportedResourceType: [1, 2, 'x'] as unknown as number[] } }],
    [{ 'm2m:cb': { srt: 3 } }, { cseBase: { supportedResourceType: [3] } }],
    [{ 'm2m:cnt': { lbl: 'a', mni: '-1', mbs: 'much', cni: null } }, { container: { labels: ['a'], maxNrOfInstances: -1, maxByteSize: 'much', currentNrOfInstances: null } as never }],
    [{ 'm2m:acp': { pv: { acr: { acor: 'Cx', acop: '63' } } } }, { accessControlPolicy: { privileges: { accessControlRule: [{ accessControlOriginators: ['Cx'], accessControlOperations: 63 }] } } }],
    [{ 'm2m:agn': { 'm2m:sgn': { sur: 's', vrq: 'false' } } }, { aggregatedNotification: { notification: [{ subscriptionReference: 's', verificationRequest: false }] } }],
    [{ 'm2m:uril': 'cse/x' }, { uriList: ['cse/x'] }],
    [{ 'm2m:cin': { con: '5', dcnt: '99999999999999999999' } }, { contentInstance: { content: '5', deletionCnt: '99999999999999999999' as unknown as number } }],
  ]; // prettier-ignore
  for (const [wire, expected] of rows) t.same(decodeContent(wire), expected, JSON.stringify(wire));
  t.same(
    decodeContent({ 'cod:own': { lbl: 'x', poa: 'y', dev: '3', los: 1 } }),
    { 'cod:own': { labels: ['x'], poa: 'y', dev: '3', los: 1 } },
    'attributes of a specialisation are its own',
  );
  t.end();
});

await t.test('primitives inside other bodies', (t) => {
  const request = {
    operation: 2 as const,
    to: '/id-in/x',
    from: 'Sgw1',
    requestIdentifier: 'q1',
    responseType: 2 as const,
    notificationUris: ['/id-mn1/Sgw1'],
    filterCriteria: { filterUsage: 1 as const, labels: ['a'], attributes: { csi: ['/id-mn1'] } },
  };
  const wire = encodeContent(nestedRequest(request));
  t.same(wire, { 'm2m:rqp': encodeRequest(request) }, 'a nested request is the one of MQTT');
  t.same(requestOf(decodeContent(wire).requestPrimitive), request);
  for (const broken of [undefined, null, 'x', {}, { operation: 9, to: 'x', requestIdentifier: 'q' }]) {
    t.throws(() => requestOf(broken), DecodeError);
  }
  const response = { responseStatusCode: 2001, requestIdentifier: 'q1', primitiveContent: { uri: 'x' } };
  const inside = decodeContent({ 'm2m:agr': { 'm2m:rsp': [encodeResponse(response), { rsc: 4004 }] } });
  const list = inside.aggregatedResponse?.response as unknown[];
  t.same(list.map(nestedResponse), [response, { responseStatusCode: 4004, requestIdentifier: '' }]);
  for (const broken of [null, [], { responseStatusCode: 'x' }])
    t.throws(() => nestedResponse(broken), DecodeError);
  t.same(decodeResponse(encodeResponse(response)), response);
  t.end();
});
