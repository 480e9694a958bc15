import type { Command } from './command.ts';

/** What an actuator made of a command. */
export type Performed =
  | { readonly status: 'done'; readonly value?: unknown }
  /** It was refused, nothing took effect. */
  | { readonly status: 'failed'; readonly reason: string }
  /** Nobody can say whether it took effect. */
  | { readonly status: 'unknown'; readonly reason: string };

/**
 * What commands act on. What it throws counts as `unknown`: it may have happened all the same. Commands of one actuator are
 * given to it one after the other.
 */
export interface Actuator {
  /**
   * What a command that was begun when the process died means to the next run: `report` answers it with `unknown` and does
   * not begin it again, which is right for everything where a second effect does harm and costs one flush more a command;
   * `repeat` begins it again, for what can be done twice.
   */
  readonly afterCrash: 'report' | 'repeat';
  /** Why this can be no command for it; undefined when it may be one. Asked before the command is taken. */
  whyNot?(command: Pick<Command, 'command' | 'value'>): string | undefined;
  /** Carries a command out; `signal` aborts when it takes too long. */
  perform(command: Command, signal: AbortSignal): Promise<Performed>;
}

/** The gateway itself as an actuator: `ping` is answered. */
export const gatewayActuator: Actuator = {
  afterCrash: 'repeat',
  whyNot: ({ command }) =>
    command === 'ping' ? undefined : 'the gateway knows no such command; known: ping',
  perform: () => Promise.resolve({ status: 'done' }),
};
