import { millis } from '../../base/units.ts';
import type { CancelTimer, Clock } from '../../host/clock.ts';
import type { Terminal, TerminalSize } from '../../host/terminal.ts';
import { encodeLine } from './line.ts';
import { layoutView, renderHeadline } from './render-view.ts';
import { updateView } from './view-model.ts';
import type { ViewInput, ViewModel } from './view-model.ts';

/** What the view is drawn with. */
export interface LiveViewOptions {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly model: ViewModel;
}

const framePeriodMs = millis(100);
/** Without cursor control: one line of text this often. */
const headlinePeriodMs = millis(5000);
/** A terminal that has not taken so much yet (a slow serial console) is left alone for a frame. */
const backlogBytesMax = 64 * 1024;

const screenOn = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J'; // other screen, no cursor, no wrap, clear
const screenOff = '\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l';

/**
 * The view on a terminal: on the alternate screen, drawn anew at most ten times a second, only the lines that changed.
 * The terminal is restored by `stop` and when the process ends. Where the cursor cannot be moved (a pipe, `TERM=dumb`)
 * it prints one line every few seconds instead.
 */
export class LiveView {
  readonly #terminal: Terminal;
  readonly #clock: Clock;
  #model: ViewModel;
  #drawn: string[] = [];
  #drawnSize: TerminalSize = { columns: 0, rows: 0 };
  #cancelFrame: CancelTimer | undefined;
  #nextHeadlineMs = 0;
  #release: readonly (() => void)[] = [];
  #isOn = false;

  constructor(options: LiveViewOptions) {
    this.#terminal = options.terminal;
    this.#clock = options.clock;
    this.#model = options.model;
  }

  /** What is shown. */
  get model(): ViewModel {
    return this.#model;
  }

  start(): void {
    if (this.#isOn) return;
    this.#isOn = true;
    if (!this.#terminal.hasCursorControl) return;
    this.#release = [
      this.#terminal.onExit(() => this.stop()),
      this.#terminal.onResize(() => this.#schedule()),
    ];
    this.#terminal.write(screenOn);
    this.#draw();
  }

  /** Takes in a status, an event or the progress of a drive, and shows it with the next frame. */
  update(input: ViewInput): void {
    this.#model = updateView(this.#model, input);
    if (this.#isOn) this.#schedule();
  }

  /** Restores the terminal; calling it again does nothing. */
  stop(): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#cancelFrame?.();
    this.#cancelFrame = undefined;
    for (const release of this.#release) release();
    this.#release = [];
    if (this.#terminal.hasCursorControl) this.#terminal.write(screenOff);
  }

  #schedule(): void {
    if (!this.#terminal.hasCursorControl) {
      this.#printHeadline();
      return;
    }
    this.#cancelFrame ??= this.#clock.schedule(framePeriodMs, () => {
      this.#cancelFrame = undefined;
      if (this.#isOn) this.#draw();
    });
  }

  #draw(): void {
    if (this.#terminal.isBroken) return;
    if (this.#terminal.backlogBytes > backlogBytesMax) {
      this.#schedule();
      return;
    }
    const size = this.#terminal.size();
    const appearance = { unicode: this.#terminal.hasUnicode, colour: this.#terminal.hasColour };
    const lines = layoutView(this.#model, size).map((line) => encodeLine(line, size.columns, appearance));
    const isResized = size.columns !== this.#drawnSize.columns || size.rows !== this.#drawnSize.rows;
    let frame = isResized ? '\x1b[2J' : '';
    for (const [row, line] of lines.entries()) {
      if (isResized || this.#drawn[row] !== line) frame += `\x1b[${row + 1};1H${line}\x1b[K`;
    }
    this.#drawn = lines;
    this.#drawnSize = size;
    if (frame !== '') this.#terminal.write(frame);
  }

  #printHeadline(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#nextHeadlineMs || this.#model.status === undefined) return;
    this.#nextHeadlineMs = nowMs + headlinePeriodMs;
    this.#terminal.write(`${renderHeadline(this.#model, this.#terminal.hasUnicode)}\n`);
  }
}
