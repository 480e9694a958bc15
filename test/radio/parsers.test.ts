// Proves: every captured reply shape reads to the values that its capture supports; numbers that mean "not known",
// and numbers outside what a quantity can be, never leave a parser; broken firmware output is joined or refused; no
// text makes a parser throw. Rows name the modem and firmware as far as known, and the id of the capture in the
// sample collection.
import t from 'tap';
import fc from 'fast-check';
import {
  parseExtendedSignalQuality,
  parseIdentity,
  parseModel,
  parseOperator,
  parseSignalQuality,
  servingCellsOf,
} from '../../src/radio/vendor/generic.ts';
import { parseReply } from '../../src/radio/parse-reply.ts';
import { parseCells } from '../../src/radio/vendor/quectel.ts';
import type { CellMeasurement, Metric } from '../../src/radio/radio-sample.ts';
import { parseRegistration, registrationShape } from '../../src/radio/registration.ts';
import { problemsOf } from './report-checks.ts';
import type { RegistrationDomain } from '../../src/radio/registration.ts';

const parseServingCell = (lines: readonly string[]): readonly CellMeasurement[] =>
  parseCells(lines, {}).cells ?? [];
const parseNeighbourCells = (lines: readonly string[]): readonly CellMeasurement[] =>
  (parseCells(lines, {}).cells ?? []).filter((cell) => !cell.serving);

/**
 * `rat*` marks a serving cell; then identity mcc-mnc/tac/cell/pci@arfcn:band; then rsrp rsrq sinr rssi, `?` suspect,
 * `-` not known, `.` absent.
 */
function show(cell: CellMeasurement): string {
  const { mcc, mnc, tac, cellId, pci, arfcn, band } = cell.identity;
  const plmn = mcc === undefined ? '' : `${mcc}-${mnc}/${tac?.toString(16)}/${cellId?.toString(16)}/`;
  const metric = (value: Metric<number> | undefined): string =>
    value === undefined
      ? '.'
      : value.suspect === true
        ? '?'
        : value.value === undefined
          ? '-'
          : String(value.value);
  const levels = [cell.rsrpDbm, cell.rsrqDb, cell.sinrDb, cell.rssiDbm].map(metric).join(' ');
  return `${cell.rat}${cell.serving ? '*' : ''} ${plmn}${pci}@${arfcn}:${band} ${levels}`;
}

type Row = readonly [modem: string, capture: string, reply: string, expected: readonly string[]];
const q = (body: string): string => `+QENG: "servingcell",${body}`;

const servingRows: readonly Row[] = [
  [
    'EP06-A',
    'at-001',
    `AT+QENG="servingcell"\r\n${q('"NOCONN","LTE","FDD",310,260,1452808,315,5035,12,2,2,3AFD,-104,-11,-78,12,20')}\r\n\r\nOK\r\n`,
    ['lte* 310-260/3afd/1452808/315@5035:12 -104 -11 12 -78'],
  ],
  [
    'Quectel, model unknown, TDD',
    'at-003',
    q('"NOCONN","LTE","TDD",460,00,6C4E907,198,38950,40,5,5,7208,-88,-6,-80,29,38'),
    ['lte* 460-00/7208/6c4e907/198@38950:40 -88 -6 29 -80'],
  ],
  [
    'QDC507',
    'at-004',
    q('"NOCONN","LTE","FDD",302,220,188E598,428,66935,66,5,5,2CEE,-122,-19,-82,-9,5'),
    ['lte* 302-220/2cee/188e598/428@66935:66 -122 -19 -9 -82'],
  ],
  [
    'Quectel, model unknown, srxlev "-"',
    'at-006',
    q('"NOCONN","LTE","FDD",440,10,950FE00,43,6100,19,3,3,909A,-71,-5,-47,30,-'),
    ['lte* 440-10/909a/950fe00/43@6100:19 -71 -5 30 -47'],
  ],
  [
    'RM520N-GL, 20 columns',
    'at-008',
    q('"NOCONN","LTE","FDD",222,01,4940206,427,1350,3,5,5,BFF,-93,-11,-61,11,7,50,-'),
    ['lte* 222-01/bff/4940206/427@1350:3 -93 -11 11 -61'],
  ],
  [
    'RM520N-GL RM520NGLAAR03A03M4G, EN-DC',
    'at-009',
    '+QENG: "servingcell","NOCONN"\n+QENG: "LTE","FDD",222,01,328261F,280,275,1,4,4,BE3,-99,-14,-66,7,4,30,-\n+QENG: "NR5G-NSA",222,01,920,-96,18,-10,648768,78,10,1',
    [
      'lte* 222-01/be3/328261f/280@275:1 -99 -14 7 -66',
      'nr* 222-01/undefined/undefined/920@648768:78 -96 -10 18 .',
    ],
  ],
  [
    'EG25 class, newline after the colon',
    'at-013',
    '+QENG:\n"servingcell","NOCONN","LTE","FDD",214,01,7676A09,188,6300,20,3,3,603,-104,-9,-78,11,23\n\nOK',
    ['lte* 214-01/603/7676a09/188@6300:20 -104 -9 11 -78'],
  ],
  [
    'RM520N-GL, NR SA, 36-bit cell',
    'at-020',
    q('"NOCONN","NR5G-SA","TDD",310,260,18666712F,335,794E00,516270,41,12,-75,-11,5,1,-'),
    ['nr* 310-260/794e00/18666712f/335@516270:41 -75 -11 5 .'],
  ],
  [
    'RG650V-NA RG650VNA01ACR02A04G8G',
    'at-022',
    q('"NOCONN","NR5G-SA","FDD",310,260,187461035,721,870100,127490,71,2,-99,-13,4,0,-'),
    ['nr* 310-260/870100/187461035/721@127490:71 -99 -13 4 .'],
  ],
  [
    'RG502Q, EN-DC',
    'at-032',
    '+QENG: "servingcell","NOCONN"\n+QENG: "LTE","FDD",262,01,1C36403,246,1300,3,5,5,BFF,-93,-11,-61,21,15,100,-\n+QENG: "NR5G-NSA",262,01,242,-102,19,-11,431070,1,3,0',
    [
      'lte* 262-01/bff/1c36403/246@1300:3 -93 -11 21 -61',
      'nr* 262-01/undefined/undefined/242@431070:1 -102 -11 19 .',
    ],
  ],
  [
    'Quectel, model unknown, private NR SA',
    'at-037',
    '+QENG:\n"servingcell","NOCONN","NR5G-SA","TDD",999,70,E00,0,1,641280,78,6,-67,-11,31,1,-\nOK',
    ['nr* 999-70/1/e00/0@641280:78 -67 -11 31 .'],
  ],
  [
    'Quectel, model unknown, tac before arfcn in an LTE line',
    'at-047',
    q('"NOCONN","LTE","FDD",460,11,24211A484,649,242000,1650,1,5,5,-85,-9,-61,15'),
    [],
  ],
  [
    'Quectel, model unknown, middle elided',
    'at-049',
    q('"LIMSRV","NR5G-SA","TDD",...,-95,-12,-3276,1,-'),
    ['nr* undefined@undefined:undefined -95 -12 ? .'],
  ],
  [
    'Quectel, model unknown, no blank after the colon',
    'at-050',
    '+QENG:"servingcell","LIMSRV","LTE","FDD",460,11,6935932,30,1825,3,4,4,6934,-115,-13,-83,13,0',
    ['lte* 460-11/6934/6935932/30@1825:3 -115 -13 13 -83'],
  ],
  [
    'BG9x, LTE-M',
    'at-051',
    q('"LIMSRV","eMTC","FDD",240,42,C511706,6,9435,28,2,2,8,-82,-5,-63,16,57'),
    ['lte* 240-42/8/c511706/6@9435:28 -82 -5 16 -63'],
  ],
  [
    'BG95-S5, satellite NB-IoT, SINR raw/5-20',
    'at-052',
    `${q('"LIMSRV","NTN NBIoT","FDD",901,98,DC379,9,7685,23,0,0,7D9,-123,-14,-108,85,17')}\n`,
    ['lte* 901-98/7d9/dc379/9@7685:23 -123 -14 -3 -108'],
  ],
  [
    'Quectel, model unknown, empty last column',
    'at-053',
    q('"CONNECT","NTN NBIoT","FDD",901,98,DC379,9,7685,23,0,0,7D9,-126,-18,-107,75,'),
    ['lte* 901-98/7d9/dc379/9@7685:23 -126 -18 -5 -107'],
  ],
  ['Quectel, model unknown, searching', 'at-054', '+QENG: "servingcell","SEARCH"', []],
  ['Quectel, model unknown, cut off', 'at-055', '+QENG: "servingcell","LIMSRV","LTE"', []],
  [
    'Quectel, model unknown, WCDMA',
    'at-056',
    q('"LIMSRV","WCDMA",460,01,A538,1EB578B,10763,60,2,-106,-13,-,-,-,-,-'),
    ['wcdma* 460-01/a538/1eb578b/60@10763:undefined . . . .'],
  ],
  [
    'Quectel, model unknown, GSM, echo ending CR CR LF',
    'at-058',
    'AT+QENG="servingcell";\r\r\n+QENG: "servingcell","LIMSRV","GSM",432,11,587,293A,31,98,-,-63,255,255,0,43,43,1,-,-,-,-,-,-,-,-,-,"-"\r\n\r\nOK\r\n',
    ['gsm* 432-11/587/293a/undefined@98:undefined . . . -63'],
  ],
  [
    'Quectel manual, GSM, torn inside quotes',
    'at-059',
    '+QENG:"servingcell","LIMSRV","GSM",460,01,5504,2B55,52,123,0,-67,5,14,64,30,28,0,-,-,-,-,-,-,-,-,-,"\n-"\n\nOK',
    ['gsm* 460-01/5504/2b55/undefined@123:undefined . . . -67'],
  ],
  [
    'RM500U type (Unisoc)',
    'at-060',
    q('"CONNECT","NR5G-SA","FDD",460,00,A08EF0011,463,100039,152650,28,30,-87,-10,-3,20,0,0'),
    ['nr* 460-00/100039/a08ef0011/463@152650:28 -87 -10 -3 .'],
  ],
  [
    'RM500U-CNV RM500UCNVCAR03A12M2G',
    'at-106',
    `AT+QENG="servingcell"\r\r\n${q('"CONNECT","NR5G-SA","TDD",460,11,760BF0114,702,76010F,633984,78,100,-89,-8,15,18,34,1')}\r\n\r\nOK\r\n`,
    ['nr* 460-11/76010f/760bf0114/702@633984:78 -89 -8 15 .'],
  ],
  [
    'Quectel, model unknown, NR line without blank',
    'at-125',
    '+QENG: "servingcell","NOCONN"\n+QENG: "LTE","FDD",515,03,3359966,1,150,1,5,5,4AA3,-89,-13,-58,16,15,20,-\n+QENG:"NR5G-NSA",515,03,832,-76,21,-11,528030,41,8,1\n\n+QSPN: "SUN","SUN","SUN",0,"51503"',
    [
      'lte* 515-03/4aa3/3359966/1@150:1 -89 -13 16 -58',
      'nr* 515-03/undefined/undefined/832@528030:41 -76 -11 21 .',
    ],
  ],
  [
    'Quectel, model unknown, blank before the MCC',
    'at-129',
    q('"NOCONN","NR5G-SA","TDD", 515,66,100072000,538,114000,620640,78,12,-109,-12,14,1,-'),
    ['nr* 515-66/114000/100072000/538@620640:78 -109 -12 14 .'],
  ],
  [
    'constructed: 18 columns in the order of NR, with a 36-bit cell',
    'none',
    q('"NOCONN","LTE","FDD",460,11,24211A484,649,242000,1650,1,5,5,-85,-9,-61,15,-'),
    [],
  ],
  [
    'constructed: 255, -32768 and -3276 for "not known"',
    'none',
    q('"LIMSRV","LTE","FDD",460,11,6935932,30,1825,3,4,4,6934,-32768,-3276,255,-3276,0'),
    ['lte* 460-11/6934/6935932/30@1825:3 ? ? ? ?'],
  ],
  [
    'constructed: floor and best possible RSRP',
    'none',
    `${q('"NOCONN","LTE","FDD",460,11,6935932,30,1825,3,4,4,FFFE,-140,-9,-60,1,0')}\n${q('"NOCONN","NR5G-SA","TDD",460,11,FFFFFFFFF,30,FFFFFF,633984,78,3,-44,-12,-3276,1,-')}`,
    [
      'lte* 460-11/undefined/6935932/30@1825:3 ? -9 1 -60',
      'nr* 460-11/undefined/undefined/30@633984:78 ? -12 ? .',
    ],
  ],
];

const neighbourRows: readonly Row[] = [
  [
    'Quectel, model unknown',
    'at-011',
    '+QENG: "neighbourcell intra","LTE",275,280,-14,-99,-67,-,-,-,-,-,-\n+QENG: "neighbourcell intra","LTE",275,34,-20,-105,-76,-,-,-,-,-,-\n+QENG: "neighbourcell inter","LTE",1350,240,-18,-95,-68,-,-,-,-,-',
    [
      'lte 280@275:undefined -99 -14 - -67',
      'lte 34@275:undefined -105 -20 - -76',
      'lte 240@1350:undefined -95 -18 - -68',
    ],
  ],
  [
    'EG25 class, rows without measurement, WCDMA rows',
    'at-014',
    '+QENG: "neighbourcell intra","LTE",6300,188,-12,-105,-75,-20,23,4,12,10,62\n+QENG: "neighbourcell inter","LTE",1501,-,-,-,-,-,-,0,10,7\n+QENG: "neighbourcell","WCDMA",3062,3,16,2,-,-,-,-',
    ['lte 188@6300:undefined -105 -12 ? -75'],
  ],
  [
    'Quectel, model unknown, NR row seen',
    'at-017',
    '+QENG: "neighbourcell","NR5G",504990,123,-80,-10,15',
    ['nr 123@504990:undefined -80 -10 15 .'],
  ],
  [
    'RM500U-CNV RM500UCNVCAR03A12M2G',
    'at-105',
    'AT+QENG="neighbourcell"\r\r\n+QENG: "neighbourcell","NR",633984,262,-102,-17,-6,-,32\r\n\r\nOK\r\n',
    ['nr 262@633984:undefined -102 -17 -6 .'],
  ],
  [
    'constructed: two responses on one line',
    'none',
    '+QENG: "neighbourcell intra","LTE",275,34,-20,-105,-76,-,-,-,-,-,-+QENG: "neighbourcell inter","LTE",1350,240,-18,-95,-68,-,-,-,-,-',
    ['lte 34@275:undefined -105 -20 - -76', 'lte 240@1350:undefined -95 -18 - -68'],
  ],
];

await t.test('Quectel serving cell', (t) => {
  for (const [modem, capture, reply, expected] of servingRows) {
    t.same(parseServingCell([reply]).map(show), expected, `${modem} (${capture})`);
  }
  t.equal(parseCells(['+QENG: "servingcell","SEARCH"'], {}).modemState, 'searching');
  t.equal(parseCells(['+QENG: "servingcell","LIMSRV","LTE"'], {}).refusedRows, 1);
  t.equal(parseCells(servingRows[0]?.[2].split('\n') ?? [], {}).modemState, 'idle');
  t.end();
});

await t.test('Quectel neighbours', (t) => {
  for (const [modem, capture, reply, expected] of neighbourRows) {
    t.same(parseNeighbourCells([reply]).map(show), expected, `${modem} (${capture})`);
  }
  t.end();
});

await t.test('+CSQ and +CESQ', (t) => {
  const csq: readonly (readonly [string, string, string, number | undefined])[] = [
    ['Quectel, model unknown', 'at-027', '+CSQ: 16,99', -81],
    ['Fibocom, model unknown, blank after the comma', 'at-257', '+CSQ: 9, 99', -95],
    ['FM350, NR', 'at-274', '+CSQ: 99,99', undefined],
    ['constructed: index out of range', 'none', '+CSQ: 32,0', undefined],
  ];
  for (const [modem, capture, reply, expected] of csq) {
    t.equal(parseSignalQuality([reply])?.value, expected, `${modem} (${capture})`);
  }
  const cesq: readonly (readonly [string, string, string, readonly string[]])[] = [
    [
      'Air724UG LuatOS-Air_V4032',
      'at-072',
      'AT+CESQ\r\n\r\n+CESQ: 99,99,255,255,19,51\r\n\r\nOK\r\n',
      ['lte* undefined@undefined:undefined -90 -10.5 . .'],
    ],
    [
      'Nordic, model unknown',
      'at-237',
      '+CESQ: 99,0,255,255,255,65',
      ['lte* undefined@undefined:undefined -76 - . .'],
    ],
    ['nRF9151 mfw_nrf91x1_2.0.3', 'at-240', '+CESQ: 99,99,255,255,255,255', []],
    [
      'FM350-GL, NR',
      'at-241',
      '+CESQ: 99,99,255,255,255,255,65,70,77',
      ['nr* undefined@undefined:undefined -87 -11 15 .'],
    ],
    [
      'Fibocom, model unknown, rxlev set on LTE',
      'at-244',
      '+CESQ: 27,99,255,255,16,44,255,255,255',
      ['lte* undefined@undefined:undefined -97 -12 . .'],
    ],
    [
      'Fibocom, model unknown, EN-DC',
      'at-245',
      '+CESQ: 17,99,255,255,4,29,75,52,57\r\n\r\nOK\r\n',
      ['lte* undefined@undefined:undefined -112 -18 . .', 'nr* undefined@undefined:undefined -105 -6 5 .'],
    ],
    ['Fibocom, model unknown, no signal', 'at-246', '+CESQ: 99,99,255,255,255,255,255,255,255', []],
    ['constructed: seven fields', 'none', '+CESQ: 99,99,255,255,16,44,3', []],
    ['constructed: index out of range', 'none', '+CESQ: 99,99,255,255,35,98', []],
  ];
  for (const [modem, capture, reply, expected] of cesq) {
    t.same(
      servingCellsOf(parseExtendedSignalQuality([reply]), undefined, {}).map(show),
      expected,
      `${modem} (${capture})`,
    );
  }
  t.equal(
    parseExtendedSignalQuality(['+CESQ: 99,99,255,255,16,44'])?.rsrpDbm?.raw,
    '44',
    'the index stays beside the value',
  );
  t.end();
});

await t.test('registration', (t) => {
  const rows: readonly (readonly [string, string, string, RegistrationDomain, string, string])[] = [
    [
      'Quectel, model unknown, NSSAI tail',
      'at-128',
      '+C5GREG: 2,1,"114000","100072000",11,4,"01.010101"',
      'C5GREG',
      'read',
      'home 1 114000 100072000 11',
    ],
    [
      'Nordic, model unknown, unsolicited; a cell of more than 28 bits is none',
      'at-238',
      '+CEREG: 1,"4321","12345678",7,,,"11100000","00010011"',
      'CEREG',
      'unsolicited',
      'home 1 4321 undefined 7',
    ],
    [
      'nRF9151 mfw_nrf91x1_2.0.3, no SIM',
      'at-239',
      '+CEREG: 90',
      'CEREG',
      'ambiguous',
      'idle 90 undefined undefined undefined',
    ],
    [
      'Fibocom, model unknown',
      'at-258',
      '+CEREG: 2,1,"1234","00123456",7',
      'CEREG',
      'read',
      'home 1 1234 123456 7',
    ],
    [
      'Fibocom, model unknown, one value',
      'at-259',
      '+C5GREG: 0',
      'C5GREG',
      'ambiguous',
      'idle 0 undefined undefined undefined',
    ],
    [
      'constructed: bare hex, unsolicited',
      'none',
      '+CREG: 5,1A2B,01B2C3D,2',
      'CREG',
      'unsolicited',
      'roaming 5 1a2b 1b2c3d 2',
    ],
    [
      'constructed: decimal-looking area, unsolicited',
      'none',
      '+CREG: 1,0001,0002',
      'CREG',
      'unsolicited',
      'home 1 1 2 undefined',
    ],
    [
      'constructed: leading zeros and blanks',
      'none',
      '+CGREG: 02, 001, "00C8" , "0A1B2C3" , 07',
      'CGREG',
      'read',
      'home 1 c8 a1b2c3 7',
    ],
    [
      'constructed: routing area before the cell',
      'none',
      '+CGREG: 2,1,"1A2B","0F","0C3D4E5",2',
      'CGREG',
      'read',
      'home 1 1a2b c3d4e5 2',
    ],
    [
      'constructed: routing area after the cell',
      'none',
      '+CGREG: 2,5,"1A2B","0C3D4E5","0F",2',
      'CGREG',
      'read',
      'roaming 5 1a2b c3d4e5 2',
    ],
    [
      'constructed: all-ones codes are none',
      'none',
      '+CEREG: 2,4,"FFFF","FFFFFFFF",7',
      'CEREG',
      'read',
      'unknown 4 undefined undefined 7',
    ],
    [
      'constructed: emergency only',
      'none',
      '+CEREG: 0,8',
      'CEREG',
      'read',
      'limited 8 undefined undefined undefined',
    ],
  ];
  for (const [modem, capture, line, domain, shape, expected] of rows) {
    t.equal(registrationShape(line), shape, `shape: ${modem} (${capture})`);
    const read = parseRegistration([line], domain);
    const shown = [
      read?.state,
      read?.stat,
      read?.tac?.toString(16),
      read?.cellId?.toString(16),
      read?.accessTechnology,
    ];
    t.equal(shown.join(' ').replace(/ (?= |$)/g, ' undefined'), expected, `values: ${modem} (${capture})`);
  }
  t.equal(registrationShape('+CSQ: 1,2'), undefined);
  t.equal(parseRegistration(['+CEREG: 2,77'], 'CEREG'), undefined, 'an unknown state is none');
  t.end();
});

await t.test('operator and identity', (t) => {
  const operators: readonly (readonly [string, string, string, string])[] = [
    ['Quectel, model unknown', 'at-031', '+COPS: 5', '5 undefined undefined'],
    ['Quectel, model unknown', 'at-038', '+COPS: 0,0,"999 70 Magic",11', '0 999 70 Magic 11'],
    [
      'RM500U-CNV RM500UCNVCAR03A12M2G',
      'at-095',
      'AT+COPS?\r\r\n+COPS: 0,2,"46011",11\r\n\r\nOK\r\n',
      '0 46011 11',
    ],
    ['Fibocom, model unknown', 'at-256', '+COPS:0,2,"25001",13', '0 25001 13'],
  ];
  for (const [modem, capture, reply, expected] of operators) {
    const read = parseOperator([reply]);
    t.equal(
      `${read.operatorMode} ${read.operator} ${read.accessTechnology}`,
      expected,
      `${modem} (${capture})`,
    );
  }
  t.same(
    parseIdentity(['Quectel', 'RM500U-CNV', 'Revision: RM500UCNVCAR03A12M2G']),
    { manufacturer: 'Quectel', model: 'RM500U-CNV', revision: 'RM500UCNVCAR03A12M2G' },
    'RM500U-CNV (at-089)',
  );
  t.same(
    parseIdentity(['Manufacturer: huawei', 'Model: E398']),
    { manufacturer: 'huawei', model: 'E398' },
    'E398 (at-267)',
  );
  t.same(
    parseIdentity(['LuatOS-Air_V4032_RDA8910_TTS_NOLVGL_FLOAT']),
    { model: 'LuatOS-Air_V4032_RDA8910_TTS_NOLVGL_FLOAT' },
    'Air724UG (at-121)',
  );
  t.equal(parseModel(['RM500U-CNV']), 'RM500U-CNV', 'RM500U-CNV (at-093)');
  t.equal(parseModel([]), undefined);
  t.end();
});

const problemsIn = (reply: string): string[] =>
  problemsOf(parseReply({ command: '', response: reply }).report, reply);

await t.test('no text makes a parser throw or invent a value', (t) => {
  const replies = [...servingRows, ...neighbourRows].map((row) => row[2]);
  const mutated = fc
    .tuple(
      fc.constantFrom(...replies),
      fc.array(
        fc.tuple(fc.nat(400), fc.constantFrom('', ',', '"', '\n', '-', '9', 'F', '+QENG:', '\0', '999999')),
        { maxLength: 6 },
      ),
    )
    .map(([reply, edits]) =>
      edits.reduce(
        (text, [at, insert]) => text.slice(0, at) + insert + text.slice(at + (insert === '' ? 1 : 0)),
        reply,
      ),
    );
  fc.assert(
    fc.property(mutated, (reply) => problemsIn(reply).length === 0),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(
      fc.constantFrom('+QENG:', '+CESQ:', '+CSQ:', '+CEREG:', '+COPS:', ''),
      fc.string({ unit: 'binary', maxLength: 300 }),
      (prefix, tail) => problemsIn(prefix + tail).length === 0,
    ),
    { numRuns: 1000 },
  );
  const numbers = fc.array(
    fc.oneof(
      fc.integer({ min: -40000, max: 70000 }).map(String),
      fc.constantFrom('-', '', '"x"', 'FFFFFFF', '255'),
    ),
    { minLength: 1, maxLength: 20 },
  );
  const heads = [
    '+QENG: "servingcell","NOCONN","LTE","FDD",',
    '+QENG: "servingcell","NOCONN","NR5G-SA","TDD",',
    '+QENG: "NR5G-NSA",',
    '+QENG: "neighbourcell intra","LTE",',
    '+CESQ: ',
    '+CEREG: ',
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...heads),
      numbers,
      (head, values) => problemsIn(head + values.join(',')).length === 0,
    ),
    { numRuns: 3000 },
  );
  t.pass('no problem found');
  t.end();
});
