/**
 * The radio field of a drive as a pure function of time: the same drive, seed and time give the same levels, in
 * whatever order they are asked for.
 *
 * Level of a cell = element power - path loss (urban macro, 128.1 + 37.6 log10 of the distance in km) + shadowing +
 * fast fading. Shadowing is drawn on a grid of places and interpolated between them, so that it changes with distance
 * and not with time, and is cut at twice its deviation, so that a cell at hand is the best one for every seed. Fast
 * fading is drawn per step of 100 ms. RSRQ and SINR follow from the levels of all cells and noise.
 *
 * The network chooses the serving cell as an LTE network would: event A3 with 2 dB offset, 1 dB hysteresis, 320 ms;
 * loss of the serving cell below -124 dBm for one second; acquisition of the best cell above -120 dBm after half a
 * second.
 */
import { assert } from '../../base/assert.ts';
import { hash32 } from '../seeded-entropy.ts';
import type { Drive, FieldCell, Position } from './drives.ts';

/** One cell as the gateway's modem would measure it. */
export interface FieldMeasurement {
  readonly cell: FieldCell;
  readonly rsrpDbm: number;
  readonly rsrqDb: number;
  readonly sinrDb: number;
  readonly rssiDbm: number;
}

/** The field at one time and place. */
export interface FieldSample {
  readonly position: Position;
  readonly registration: 'home' | 'searching';
  readonly serving?: FieldMeasurement;
  /** The other cells that can be measured, strongest first. */
  readonly neighbours: readonly FieldMeasurement[];
}

const stepMs = 100;
const gridM = 50;
const fadingDb = 1;
const noiseDbm = -125;
const detectableDbm = -125;
const a3Db = 3;
const a3Steps = 4;
const lossDbm = -124;
const lossSteps = 10;
const acquireDbm = -120;
const acquireSteps = 5;
const resourceBlocks = 50;
/** Share of the elements in use in other cells. */
const load = 0.5;

interface NetworkState {
  step: number;
  /** Index of the serving cell, -1 for none. */
  serving: number;
  /** Index of the cell that A3 holds for, -1 for none. */
  better: number;
  betterSteps: number;
  weakSteps: number;
  acquireSteps: number;
}

/** The field of one drive. */
export class RadioField {
  readonly drive: Drive;
  readonly seed: number;
  /** Time in which the drive is driven once. */
  readonly durationMs: number;
  #state: NetworkState;

  constructor(options: { drive: Drive; seed: number; seconds: number }) {
    assert(options.seconds > 0, `a drive takes more than 0 s, got ${options.seconds}`);
    this.drive = options.drive;
    this.seed = options.seed >>> 0;
    this.durationMs = options.seconds * 1000;
    this.#state = this.#firstState();
  }

  /** What a modem would measure `tMs` after the start of the drive. */
  sampleAt(tMs: number): FieldSample {
    const step = Math.max(0, Math.floor(tMs / stepMs));
    const serving = this.#servingAt(step);
    const measured = this.#measure(step);
    const neighbours = measured
      .filter((_, index) => index !== serving)
      .filter((measurement) => measurement.rsrpDbm > detectableDbm)
      .sort((a, b) => b.rsrpDbm - a.rsrpDbm);
    const position = this.#positionAt(step);
    const current = measured[serving];
    if (current === undefined) return { position, registration: 'searching', neighbours };
    return { position, registration: 'home', serving: current, neighbours };
  }

  #positionAt(step: number): Position {
    return this.drive.positionAt((step * stepMs) / this.durationMs);
  }

  /**
   * The choice depends on what came before; asking for an earlier time starts it over, which gives the same answer.
   */
  #servingAt(step: number): number {
    if (step < this.#state.step) this.#state = this.#firstState();
    while (this.#state.step < step) {
      this.#state.step++;
      advanceNetwork(this.#state, this.#levels(this.#state.step));
    }
    return this.#state.serving;
  }

  #firstState(): NetworkState {
    const serving = bestOf(this.#levels(0));
    return { step: 0, serving, better: -1, betterSteps: 0, weakSteps: 0, acquireSteps: 0 };
  }

  #levels(step: number): number[] {
    const position = this.#positionAt(step);
    const fraction = (step * stepMs) / this.durationMs;
    let fadeDb = 0;
    for (const fade of this.drive.fades) {
      if (fraction % 1 >= fade.from && fraction % 1 < fade.to) fadeDb += fade.lossDb;
    }
    return this.drive.cells.map((cell, index) => {
      const dx = position.x - cell.position.x;
      const dy = position.y - cell.position.y;
      const distanceKm = Math.max(0.02, Math.sqrt(dx * dx + dy * dy) / 1000);
      const pathLossDb = 128.1 + 37.6 * Math.log10(distanceKm);
      const fading = fadingDb * normalOf(this.seed, 1, index, step);
      return cell.elementPowerDbm - pathLossDb + this.#shadowingDb(index, position) + fading - fadeDb;
    });
  }

  #shadowingDb(index: number, position: Position): number {
    const gx = Math.floor(position.x / gridM);
    const gy = Math.floor(position.y / gridM);
    const fx = position.x / gridM - gx;
    const fy = position.y / gridM - gy;
    const corner = (x: number, y: number): number => normalOf(this.seed, 2, index, x, y);
    const weights = [(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy];
    const values = [corner(gx, gy), corner(gx + 1, gy), corner(gx, gy + 1), corner(gx + 1, gy + 1)];
    let sum = 0;
    let power = 0;
    for (let at = 0; at < 4; at++) {
      sum += (weights[at] ?? 0) * (values[at] ?? 0);
      power += (weights[at] ?? 0) ** 2;
    }
    // Averaging four values narrows their spread; dividing by the weights' norm restores it everywhere.
    const normal = sum / Math.sqrt(power);
    return this.drive.shadowingDb * Math.max(-2, Math.min(2, normal));
  }

  #measure(step: number): FieldMeasurement[] {
    const levels = this.#levels(step);
    const noise = toMilliwatt(noiseDbm);
    const powers = levels.map(toMilliwatt);
    const total = powers.reduce((sum, power) => sum + power, 0);
    return this.drive.cells.map((cell, index) => {
      const own = powers[index] ?? 0;
      const interference = load * (total - own) + noise;
      const rssiDbm = toDbm(12 * resourceBlocks * (load * own + interference));
      const rsrpDbm = levels[index] ?? -200;
      return {
        cell,
        rsrpDbm,
        rssiDbm,
        rsrqDb: 10 * Math.log10(resourceBlocks) + rsrpDbm - rssiDbm,
        sinrDb: toDbm(own) - toDbm(interference),
      };
    });
  }
}

function advanceNetwork(state: NetworkState, levels: readonly number[]): void {
  const serving = levels[state.serving];
  const best = bestOf(levels);
  if (serving === undefined) {
    state.acquireSteps = (levels[best] ?? -200) > acquireDbm ? state.acquireSteps + 1 : 0;
    if (state.acquireSteps >= acquireSteps) serveBy(state, best);
    return;
  }
  state.weakSteps = serving < lossDbm ? state.weakSteps + 1 : 0;
  if (state.weakSteps >= lossSteps) {
    serveBy(state, -1);
    return;
  }
  const isBetter = best !== state.serving && (levels[best] ?? -200) > serving + a3Db;
  state.betterSteps = isBetter && best === state.better ? state.betterSteps + 1 : isBetter ? 1 : 0;
  state.better = isBetter ? best : -1;
  if (state.betterSteps >= a3Steps) serveBy(state, best);
}

function serveBy(state: NetworkState, serving: number): void {
  state.serving = serving;
  state.better = -1;
  state.betterSteps = 0;
  state.weakSteps = 0;
  state.acquireSteps = 0;
}

function bestOf(levels: readonly number[]): number {
  let best = 0;
  for (let index = 1; index < levels.length; index++) {
    if ((levels[index] ?? -200) > (levels[best] ?? -200)) best = index;
  }
  return best;
}

/** A value of mean 0 and deviation 1, near enough to normal (sum of four uniform ones), from whole numbers. */
function normalOf(...parts: readonly number[]): number {
  let sum = 0;
  for (let draw = 0; draw < 4; draw++) sum += hash32(...parts, draw) / 0x1_0000_0000 - 0.5;
  return sum * Math.sqrt(3);
}

function toMilliwatt(levelDbm: number): number {
  return 10 ** (levelDbm / 10);
}

function toDbm(power: number): number {
  return 10 * Math.log10(power);
}
