import { UsageError } from '../../base/errors.ts';
import { didYouMean } from '../../base/text.ts';

/** A place on the ground in metres. */
export interface Position {
  readonly x: number;
  readonly y: number;
}

/** An LTE cell of the field. */
export interface FieldCell {
  /** Name of the area that the cell belongs to; a demo puts one MN-CSE behind each area. */
  readonly area: string;
  readonly mcc: string;
  readonly mnc: string;
  readonly tac: number;
  /** 28-bit E-UTRA cell identity. */
  readonly cellId: number;
  readonly pci: number;
  readonly arfcn: number;
  readonly band: number;
  readonly position: Position;
  /** Transmit power of one resource element in dBm. */
  readonly elementPowerDbm: number;
}

/** A stretch of a drive in which every cell is attenuated. */
export interface Fade {
  /** Fractions of the drive. */
  readonly from: number;
  readonly to: number;
  readonly lossDb: number;
}

/** A field with a path through it; the same path is driven in any time. */
export interface Drive {
  readonly name: string;
  readonly description: string;
  readonly cells: readonly FieldCell[];
  /** Standard deviation of the shadowing; its values are cut at twice that. */
  readonly shadowingDb: number;
  readonly fades: readonly Fade[];
  /** Where the gateway is after `fraction` of the drive; fractions above 1 go on. */
  readonly positionAt: (fraction: number) => Position;
}

const ringRadiusM = 600;
const spacingM = 1000;

function cell(index: number, position: Position): FieldCell {
  return {
    area: `mn${index + 1}`,
    mcc: '001',
    mnc: '01',
    tac: 0x1001 + index,
    cellId: 0x0a1b_c01 + index * 0x100,
    pci: 101 + index * 67,
    arfcn: 1300,
    band: 3,
    position,
    elementPowerDbm: 18,
  };
}

/** A point on the circle around the origin, by the fraction of a turn. */
function onCircle(radiusM: number, turn: number): Position {
  return { x: radiusM * Math.cos(2 * Math.PI * turn), y: radiusM * Math.sin(2 * Math.PI * turn) };
}

/** 0 at whole turns, 1 half-way between, in straight lines. */
function triangle(turn: number): number {
  const phase = turn - Math.floor(turn);
  return phase < 0.5 ? 2 * phase : 2 - 2 * phase;
}

const pair = [cell(0, { x: 0, y: 60 }), cell(1, { x: spacingM, y: 60 })];
const ringCells = [0, 1, 2].map((index) => cell(index, onCircle(ringRadiusM + 60, index / 3)));

/** The drives by name. */
export const drives: ReadonlyMap<string, Drive> = new Map(
  (
    [
      {
        name: 'ring',
        description: 'one round past three cells and back to the first',
        cells: ringCells,
        shadowingDb: 4,
        fades: [],
        positionAt: (fraction) => onCircle(ringRadiusM, fraction),
      },
      {
        name: 'corridor',
        description: 'from one cell to another and back, twice',
        cells: pair,
        shadowingDb: 4,
        fades: [],
        positionAt: (fraction) => ({ x: spacingM * triangle(2 * fraction), y: 0 }),
      },
      {
        name: 'edge',
        description: 'along the border of two cells, which provokes ping-pong',
        cells: pair,
        shadowingDb: 6,
        fades: [],
        positionAt: (fraction) => ({
          x: spacingM / 2 + 60 * Math.sin(2 * Math.PI * 4 * fraction),
          y: -300 + 600 * triangle(fraction),
        }),
      },
      {
        name: 'tunnel',
        description: 'from one cell to another through a tunnel without coverage',
        cells: pair,
        shadowingDb: 4,
        fades: [{ from: 0.4, to: 0.55, lossDb: 60 }],
        positionAt: (fraction) => ({ x: spacingM * triangle(fraction / 2), y: 0 }),
      },
    ] satisfies Drive[]
  ).map((drive) => [drive.name, drive]),
);

/** The drive called `name`. Throws `UsageError` with the nearest name. */
export function findDrive(name: string): Drive {
  const drive = drives.get(name);
  if (drive === undefined) {
    throw new UsageError(`unknown drive "${name}": ${didYouMean(name, [...drives.keys()])}`);
  }
  return drive;
}
