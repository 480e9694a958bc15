import { millis } from '../../src/base/units.ts';
import { serveRequests } from '../../src/coap/coap-binding.ts';
import { sleep } from '../../src/host/clock.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../src/onem2m/primitives.ts';
import { generateCoap } from './coap-generator.ts';
import { CoapWorld } from './coap-world.ts';
import { expect, fateOf } from './target.ts';
import type { Input, Size, Subject, Target } from './target.ts';

/**
 * The CoAP endpoint in both roles: as a server of oneM2M requests behind block-wise transfer, and as a client whose
 * answers are made up. A channel is the number of a peer; after a space `ask` opens a request to it, `answer` puts the
 * message ID and the token of such a request into the datagram.
 */
export const coapTarget: Target = {
  name: 'coap',
  open: () => new EndpointSubject(),
  generate: (dice) => generateCoap(dice, { kind: 'content', hasClient: true }),
};

class EndpointSubject implements Subject {
  readonly #world = new CoapWorld();
  #handled = 0;

  constructor() {
    serveRequests(this.#world.endpoint, (request) => this.#answer(request));
  }

  /** Answers are short, long or slow, as the request has it. */
  async #answer(request: RequestPrimitive): Promise<ResponsePrimitive> {
    this.#handled++;
    const choice = fateOf(request.requestIdentifier);
    if (choice === 1) throw new Error('the handler broke');
    if (choice === 2) await sleep(this.#world.clock, millis(80));
    const { requestIdentifier, primitiveContent } = request;
    const text = choice === 3 ? 'x'.repeat(6_000) : 'x';
    // What came in may go out again, as long as it is something that can.
    const content =
      choice % 2 === 0 && primitiveContent !== undefined ? primitiveContent : { debugInfo: text };
    return { responseStatusCode: 2000, requestIdentifier, primitiveContent: content };
  }

  feed(input: Input): void {
    const handled = this.#handled;
    this.#world.feed(input);
    expect(this.#handled - handled <= 1, 'the handler ran more than once for one datagram');
  }

  settle(): Promise<void> {
    return this.#world.settle();
  }

  sizes(): readonly Size[] {
    return this.#world.sizes();
  }

  reached(): Readonly<Record<string, number>> {
    return { handled: this.#handled, ...this.#world.reached };
  }

  close(): Promise<void> {
    return this.#world.close();
  }
}
