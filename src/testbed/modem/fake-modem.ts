import { assert } from '../../base/assert.ts';
import { millis } from '../../base/units.ts';
import type { Millis } from '../../base/units.ts';
import { every } from '../../host/clock.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import { randomFraction } from '../../host/entropy.ts';
import type { Entropy } from '../../host/entropy.ts';
import { LineSplitter } from '../../host/line-splitter.ts';
import type { FieldMeasurement, FieldSample, RadioField } from '../radio-field/radio-field.ts';

/** Which module the double prints like: they differ in identity and in the columns of `+QENG`. */
export type FakeModemModel = 'EC25' | 'RM520N-GL' | 'SIM7600' | 'generic';

/**
 * How it misbehaves: `normal` not at all; `silent` says nothing; `garbage` answers and chatters in random octets;
 * `slow` answers after `slowMs`; `urcStorm` puts unsolicited lines before every answer; `splitWrites` sends octet by
 * octet; `truncated` stops in the middle of every answer; `late` answers each command after another while, often later
 * than anybody waits; `urcFlood` never stops talking beside its answers.
 */
export type FakeModemMode =
  'normal' | 'silent' | 'garbage' | 'slow' | 'urcStorm' | 'splitWrites' | 'truncated' | 'late' | 'urcFlood';

/** What brings a hung modem back: time alone, a reset command, its port opened anew, or the means of the board. */
export type FakeModemCure = 'time' | 'softReset' | 'reopen' | 'usbReset' | 'powerCycle';

/** What stands between the modem and the network: the SIM, the network, or the modem's own radio until it is cycled. */
export type FakeModemTrouble = 'simMissing' | 'simPinLocked' | 'denied' | 'radioHung';

export const fakeModemModes: readonly FakeModemMode[] = [
  'normal',
  'silent',
  'garbage',
  'slow',
  'urcStorm',
  'splitWrites',
  'truncated',
  'late',
  'urcFlood',
];

const tickMs = millis(200);
/** How long a hang lasts that needs no cure, and how long the modem starts. */
const hangMs = millis(15_000);
const bootMs = millis(9000);
const floodMs = millis(30);
const identities: Readonly<Record<FakeModemModel, readonly string[]>> = {
  'EC25': ['Quectel', 'EC25', 'Revision: EC25EFAR06A01M4G'],
  'RM520N-GL': ['Quectel', 'RM520N-GL', 'Revision: RM520NGLAAR03A03M4G'],
  'SIM7600': ['Manufacturer: SIMCOM INCORPORATED', 'Model: SIMCOM_SIM7600E', 'Revision: LE11B14SIM7600E'],
  'generic': ['Baton', 'Test modem', 'Revision: 1'],
};

/**
 * A modem that answers AT commands from a radio field. Octets go in by `receive` and out by `write`; time comes from
 * the clock, the place on the drive from `fieldTimeMs`.
 */
export class FakeModem {
  readonly #clock: Clock;
  readonly #entropy: Entropy;
  readonly #field: RadioField;
  readonly #fieldTimeMs: () => number;
  readonly #write: (data: Uint8Array) => void;
  readonly #model: FakeModemModel;
  readonly #slowMs: Millis;
  readonly #onRestart: (bootMs: number) => void;
  readonly #splitter: LineSplitter;
  readonly #urcModes = new Map<string, number>();
  #echo = true;
  #verboseErrors = false;
  #mode: FakeModemMode = 'normal';
  #lastCell: string | undefined;
  #stopTicking: CancelTimer | undefined;
  #cure: FakeModemCure | undefined;
  #trouble: FakeModemTrouble | undefined;
  #deafUntilMs = 0;
  #nextFloodMs = 0;

  constructor(options: {
    clock: Clock;
    entropy: Entropy;
    field: RadioField;
    /** Time since the start of the drive. */
    fieldTimeMs: () => number;
    write: (data: Uint8Array) => void;
    model?: FakeModemModel;
    slowMs?: Millis;
    /** Called when it starts anew, with the time that takes: its port goes away meanwhile. */
    onRestart?: (bootMs: number) => void;
  }) {
    this.#clock = options.clock;
    this.#entropy = options.entropy;
    this.#field = options.field;
    this.#fieldTimeMs = options.fieldTimeMs;
    this.#write = options.write;
    this.#model = options.model ?? 'EC25';
    this.#slowMs = options.slowMs ?? millis(1200);
    this.#onRestart = options.onRestart ?? ((): void => undefined);
    this.#splitter = new LineSplitter({ lengthMax: 512, onLine: (line) => this.#execute(line) });
  }

  /** Begins to watch the field, so that a change of cell is reported unasked. */
  start(): void {
    assert(this.#stopTicking === undefined, 'a modem is started once');
    this.#stopTicking = every(this.#clock, tickMs, () => this.#tick());
  }

  stop(): void {
    this.#stopTicking?.();
    this.#stopTicking = undefined;
  }

  /** Behaves differently from now on. */
  setMode(mode: FakeModemMode): void {
    this.#mode = mode;
  }

  /** Hangs from now on, until it is cured. */
  hang(cure: FakeModemCure): void {
    this.#cure = cure;
    if (cure !== 'time') return;
    this.#cure = undefined;
    this.#deafUntilMs = this.#clock.monotonicMs() + hangMs;
  }

  /** Takes what is done to it from outside; a cure that fits, and a loss of power always, starts it anew. */
  treat(means: FakeModemCure): void {
    if (this.#cure === undefined ? means !== 'powerCycle' : means !== this.#cure && means !== 'powerCycle')
      return;
    this.#cure = undefined;
    this.#reboot(means === 'reopen' ? 0 : bootMs);
  }

  /** Keeps it from the network, or no longer. */
  setTrouble(trouble: FakeModemTrouble | undefined): void {
    this.#trouble = trouble;
  }

  #reboot(delayMs: number): void {
    if (this.#trouble === 'radioHung') this.#trouble = undefined;
    this.reset();
    this.#deafUntilMs = this.#clock.monotonicMs() + delayMs;
    if (delayMs > 0) this.#onRestart(delayMs);
  }

  /** Forgets its settings, as after a loss of power. */
  reset(): void {
    this.#echo = true;
    this.#verboseErrors = false;
    this.#urcModes.clear();
    this.#splitter.reset();
  }

  /** Takes octets from the serial line. */
  receive(data: Uint8Array): void {
    this.#splitter.push(data);
  }

  #execute(octets: Uint8Array): void {
    const text = Buffer.from(octets).toString('latin1').trim();
    const at = text.toUpperCase().indexOf('AT');
    if (this.#mode === 'silent' || at < 0 || this.#isDeaf()) {
      if (this.#cure === 'softReset' && /AT\+CFUN=1,1$/i.test(text)) this.treat('softReset');
      return;
    }
    const command = text.slice(at + 2);
    const answer = this.#answer(command);
    const body = answer.map((line) => `\r\n${line}\r\n`).join('');
    const echo = this.#echo ? `${text}\r` : '';
    if (this.#mode === 'slow' || this.#mode === 'late') {
      const delayMs = this.#mode === 'slow' ? this.#slowMs : millis(5000 * randomFraction(this.#entropy));
      this.#clock.schedule(delayMs, () => this.#send(echo + body));
    } else {
      this.#send(echo + body);
    }
  }

  #send(text: string): void {
    const octets = Buffer.from(text, 'latin1');
    switch (this.#mode) {
      case 'silent':
        return;
      case 'garbage':
        this.#write(this.#entropy.bytes(octets.length + 8));
        return;
      case 'urcStorm':
        this.#write(Buffer.concat([Buffer.from(this.#storm(), 'latin1'), octets]));
        return;
      case 'splitWrites':
        for (const octet of octets) this.#write(Uint8Array.of(octet));
        return;
      case 'truncated':
        this.#write(octets.subarray(0, Math.max(1, octets.length >> 1)));
        return;
      case 'normal':
      case 'slow':
      case 'late':
      case 'urcFlood':
        this.#write(octets);
    }
  }

  #isDeaf(): boolean {
    return this.#cure !== undefined || this.#clock.monotonicMs() < this.#deafUntilMs;
  }

  #storm(): string {
    const sample = this.#field.sampleAt(this.#fieldTimeMs());
    const lines = [
      '+CMTI: "SM",3',
      'RING',
      '+CGEV: ME PDN ACT 1',
      '^RSSI:26',
      `+CEREG: ${registrationTail(sample)}`,
    ];
    return lines.map((line) => `\r\n${line}\r\n`).join('');
  }

  #tick(): void {
    if (this.#mode === 'silent' || this.#isDeaf()) return;
    if (this.#mode === 'urcFlood') this.#flood();
    if (this.#mode === 'garbage') {
      this.#write(this.#entropy.bytes(24));
      return;
    }
    const sample = this.#field.sampleAt(this.#fieldTimeMs());
    const cell = String(sample.serving?.cell.cellId);
    if (this.#lastCell !== undefined && cell !== this.#lastCell) {
      for (const [prefix, urcMode] of this.#urcModes) {
        if (urcMode === 2) this.#send(`\r\n+${prefix}: ${registrationTail(sample)}\r\n`);
        else if (urcMode === 1) this.#send(`\r\n+${prefix}: ${sample.registration === 'home' ? 1 : 2}\r\n`);
      }
    }
    this.#lastCell = cell;
  }

  /** Lines without end: the next ones come before the line was ever quiet. */
  #flood(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#nextFloodMs) return;
    this.#nextFloodMs = nowMs + tickMs;
    for (let delayMs = 0; delayMs < tickMs; delayMs += floodMs) {
      this.#clock.schedule(millis(delayMs), () => this.#write(Buffer.from(this.#storm(), 'latin1')));
    }
  }

  /** The lines of the answer, the final result last. */
  #answer(command: string): string[] {
    const upper = command.toUpperCase();
    const registration = /^\+(CREG|CEREG)(\?|=([012]))$/.exec(upper);
    if (registration?.[1] !== undefined) return this.#answerRegistration(registration[1], registration[3]);
    switch (upper) {
      case '':
        return ['OK'];
      case 'I':
        return [identities[this.#model].join('\r\n'), 'OK'];
      case 'E0':
      case 'E1':
        this.#echo = upper === 'E1';
        return ['OK'];
      case '+CMEE=0':
      case '+CMEE=1':
        this.#verboseErrors = upper === '+CMEE=1';
        return ['OK'];
      case '+CGMI':
        return [identities[this.#model][0] ?? '', 'OK'];
      case '+CGMM':
        return [identities[this.#model][1] ?? '', 'OK'];
      case '+CPIN?':
        if (this.#trouble === 'simMissing') return ['+CME ERROR: 10'];
        return [this.#trouble === 'simPinLocked' ? '+CPIN: SIM PIN' : '+CPIN: READY', 'OK'];
      case '+CFUN=0':
      case '+CFUN=1':
        if (upper === '+CFUN=1' && this.#trouble === 'radioHung') this.#trouble = undefined;
        return ['OK'];
      case '+CFUN=1,1':
        this.#reboot(bootMs);
        return ['OK'];
      default:
        return this.#answerMeasurement(upper);
    }
  }

  #answerMeasurement(upper: string): string[] {
    const sample = this.#sample();
    const quectel = this.#model === 'EC25' || this.#model === 'RM520N-GL';
    if (upper === '+CSQ') return [formatCsq(sample), 'OK'];
    if (upper === '+CESQ') return [formatCesq(sample), 'OK'];
    if (upper === '+CPSI?' && this.#model === 'SIM7600') return [formatCpsi(sample), 'OK'];
    if (upper === '+COPS?') return [formatCops(sample), 'OK'];
    if (quectel && upper === '+QENG="SERVINGCELL"') return [formatServing(sample, this.#model), 'OK'];
    if (quectel && upper === '+QENG="NEIGHBOURCELL"') return [formatNeighbours(sample), 'OK'];
    return [this.#verboseErrors && upper.startsWith('+') ? '+CME ERROR: 4' : 'ERROR'];
  }

  /** What the radio hears: nothing of a cell that serves, while it is kept from the network. */
  #sample(): FieldSample {
    const sample = this.#field.sampleAt(this.#fieldTimeMs());
    if (this.#trouble === undefined) return sample;
    const { serving: _, ...rest } = sample;
    return { ...rest, registration: 'searching' };
  }

  #answerRegistration(prefix: string, mode: string | undefined): string[] {
    if (mode !== undefined) {
      this.#urcModes.set(prefix, Number(mode));
      return ['OK'];
    }
    const urcMode = this.#urcModes.get(prefix) ?? 0;
    const sample = this.#sample();
    if (this.#trouble !== undefined)
      return [
        `+${prefix}: ${urcMode},${this.#trouble === 'denied' ? 3 : this.#trouble === 'radioHung' ? 2 : 0}`,
        'OK',
      ];
    const tail = urcMode === 2 ? registrationTail(sample) : String(sample.registration === 'home' ? 1 : 2);
    return [`+${prefix}: ${urcMode},${tail}`, 'OK'];
  }
}

function formatCpsi(sample: FieldSample): string {
  const serving = sample.serving;
  if (serving === undefined) return '+CPSI: NO SERVICE,Online';
  const { mcc, mnc, tac, cellId, pci, band, arfcn } = serving.cell;
  const [rsrp, rsrq, rssi, sinr] = levels(serving);
  const area = `0x${tac.toString(16).toUpperCase()}`;
  return `+CPSI: LTE,Online,${mcc}-${mnc},${area},${cellId},${pci},EUTRAN-BAND${band},${arfcn},5,5,${rsrq * 10},${rsrp * 10},${rssi * 10},${sinr}`;
}

function registrationTail(sample: FieldSample): string {
  const cell = sample.serving?.cell;
  if (cell === undefined) return '2';
  const hex = (value: number, digits: number): string =>
    value.toString(16).toUpperCase().padStart(digits, '0');
  return `1,"${hex(cell.tac, 4)}","${hex(cell.cellId, 7)}",7`;
}

function formatCsq(sample: FieldSample): string {
  if (sample.serving === undefined) return '+CSQ: 99,99';
  return `+CSQ: ${clampIndex((sample.serving.rssiDbm + 113) / 2, 31)},99`;
}

function formatCesq(sample: FieldSample): string {
  const serving = sample.serving;
  if (serving === undefined) return '+CESQ: 99,99,255,255,255,255';
  return `+CESQ: 99,99,255,255,${clampIndex((serving.rsrqDb + 20) * 2, 34)},${clampIndex(serving.rsrpDbm + 141, 97)}`;
}

function formatCops(sample: FieldSample): string {
  const cell = sample.serving?.cell;
  return cell === undefined ? '+COPS: 0' : `+COPS: 0,2,"${cell.mcc}${cell.mnc}",7`;
}

function formatServing(sample: FieldSample, model: FakeModemModel): string {
  const serving = sample.serving;
  if (serving === undefined) return '+QENG: "servingcell","SEARCH"';
  const { cell } = serving;
  const identity = [
    cell.mcc,
    cell.mnc,
    cell.cellId.toString(16).toUpperCase(),
    cell.pci,
    cell.arfcn,
    cell.band,
  ];
  const columns = [...identity, 5, 5, cell.tac.toString(16).toUpperCase(), ...levels(serving)];
  const tail = model === 'RM520N-GL' ? [12, 50, '-'] : ['-'];
  return `+QENG: "servingcell","NOCONN","LTE","FDD",${[...columns, ...tail].join(',')}`;
}

function formatNeighbours(sample: FieldSample): string {
  const rows = [sample.serving, ...sample.neighbours].flatMap((measurement) => {
    if (measurement === undefined) return [];
    const [rsrp, rsrq, rssi] = levels(measurement);
    const { arfcn, pci } = measurement.cell;
    return [`+QENG: "neighbourcell intra","LTE",${arfcn},${pci},${rsrq},${rsrp},${rssi},-,-,-,-,-,-`];
  });
  return rows.join('\r\n');
}

/** RSRP, RSRQ, RSSI and SINR as whole numbers within what a modem prints. */
function levels(measurement: FieldMeasurement): [number, number, number, number] {
  return [
    clamp(measurement.rsrpDbm, -139, -45),
    clamp(measurement.rsrqDb, -30, -3),
    clamp(measurement.rssiDbm, -120, -25),
    clamp(measurement.sinrDb, -20, 30),
  ];
}

function clamp(value: number, min: number, max: number): number {
  return Math.round(Math.max(min, Math.min(max, value)));
}

function clampIndex(value: number, max: number): number {
  return Math.floor(Math.max(0, Math.min(max, value)));
}
