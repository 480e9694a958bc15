import type { LinkEvent } from '../../src/link/access-link.ts';
import type { LinkChange } from '../../src/link/link-choice.ts';
import { LabChild } from './lab-child.ts';
import type { LabNetwork, LinkName } from './lab-network.ts';
import { linkNames } from './lab-network.ts';
import type { LinkSubjectPlan } from './link-subject-process.ts';

/** What a reading, or a datagram, went through; times are of CLOCK_MONOTONIC. */
export interface Arrival {
  readonly seq: number;
  /** 0 the first time it was sent; a repetition is labelled by its number. */
  readonly copy: number;
  readonly atMs: number;
}

/** What was seen of a subject so far. */
export interface SubjectSample {
  /** At the far side, which is what counts. */
  readonly arrivals: readonly Arrival[];
  /** Back at the gateway. */
  readonly answers: readonly Arrival[];
  readonly sent: number;
  readonly changes: readonly LinkChange[];
  readonly events: readonly (LinkEvent & { readonly toldMs: number })[];
  readonly problems: readonly string[];
  readonly probeBytes: Readonly<Record<string, number>>;
}

/** What is tried in the lab: a sender, the gateway, a peer to compare with. */
export interface LabSubject {
  readonly name: string;
  /** Resolves when it sends over a link. */
  start(lab: LabNetwork): Promise<void>;
  sample(): Promise<SubjectSample>;
  /** Ends all of its processes; calling it twice is fine. */
  stop(): Promise<void>;
}

/** Period of the readings of every subject. */
export const readingPeriodMs = 100;

type Told =
  | { readonly kind: 'ready' }
  | { readonly kind: 'sample'; readonly sent: number; readonly probeBytes: Record<string, number> }
  | { readonly kind: 'problem'; readonly about: string; readonly text?: string }
  | { readonly kind: 'change'; readonly change: LinkChange }
  | { readonly kind: 'event'; readonly event: SubjectSample['events'][number] }
  | ({ readonly kind: 'arrived' | 'answered' } & Arrival);

/** A sender on AccessLinks with an echo at the edge `ea`; wwan0 is the cheapest link and serves first. */
export class LinkSubject implements LabSubject {
  readonly name = 'links';
  #sender: LabChild | undefined;
  #echo: LabChild | undefined;
  #onSample: ((told: Told & { kind: 'sample' }) => void) | undefined;
  readonly #arrivals: Arrival[] = [];
  readonly #answers: Arrival[] = [];
  readonly #changes: LinkChange[] = [];
  readonly #events: SubjectSample['events'][number][] = [];
  readonly #problems: string[] = [];

  async start(lab: LabNetwork): Promise<void> {
    const server = { address: '10.65.1.2', port: 7007 };
    this.#echo = new LabChild({
      module: new URL('echo-process.js', import.meta.url),
      namespace: lab.namespace('ea'),
      args: [server.address, String(server.port)],
      onValue: (value) => this.#arrivals.push(value as Arrival),
    });
    await this.#echo.next();
    const plan: LinkSubjectPlan = {
      server,
      periodMs: readingPeriodMs,
      links: linkNames.map((name, index) => ({ name, cost: index })),
    };
    const isReady = new Promise<void>((resolve, reject) => {
      this.#sender = new LabChild({
        module: new URL('link-subject-process.js', import.meta.url),
        namespace: lab.namespace('gw'),
        args: [JSON.stringify(plan)],
        onValue: (value) => {
          const told = value as Told;
          if (told.kind === 'ready') resolve();
          else this.#take(told);
        },
      });
      void this.#sender.exited.then(() => reject(new Error('the sender ended')));
    });
    await isReady;
  }

  async sample(): Promise<SubjectSample> {
    const told = await new Promise<Told & { kind: 'sample' }>((resolve, reject) => {
      this.#onSample = resolve;
      void this.#sender?.exited.then(() => reject(new Error('the sender has ended')));
      this.#sender?.tell({});
    });
    return {
      arrivals: [...this.#arrivals],
      answers: [...this.#answers],
      sent: told.sent,
      changes: [...this.#changes],
      events: [...this.#events],
      problems: [...this.#problems],
      probeBytes: told.probeBytes,
    };
  }

  async stop(): Promise<void> {
    await this.#sender?.stop();
    await this.#echo?.stop();
  }

  #take(told: Told): void {
    switch (told.kind) {
      case 'ready':
        return;
      case 'arrived':
      case 'answered':
        this.#answers.push(told);
        return;
      case 'sample':
        return this.#onSample?.(told);
      case 'problem':
        if (told.text !== undefined) this.#problems.push(`${told.about}: ${told.text}`);
        return;
      case 'change':
        this.#changes.push(told.change);
        return;
      case 'event':
        this.#events.push(told.event);
    }
  }
}

/** The link that serves by the changes so far. */
export function servingOf(sample: SubjectSample): LinkName | undefined {
  const target = sample.changes.at(-1)?.target;
  return linkNames.find((name) => name === target);
}
