import type { Binding } from './binding.ts';
import { encodeCbor } from './cbor.ts';
import { encodeRequest, encodeResponse } from './serialisation.ts';

/** What went over bindings: octets of primitives as CBOR, without the headers of a transport and its repeats. */
export interface Traffic {
  readonly requests: number;
  readonly bytes: number;
}

/** Counts the requests that go over the bindings given to it, and their answers. */
export class TrafficMeter {
  #requests = 0;
  #bytes = 0;

  get traffic(): Traffic {
    return { requests: this.#requests, bytes: this.#bytes };
  }

  /** The same binding, counted. */
  over(binding: Binding): Binding {
    return {
      send: async (request, options) => {
        this.#requests += 1;
        this.#bytes += encodeCbor(encodeRequest(request)).length;
        const outcome = await binding.send(request, options);
        if (outcome.ok) this.#bytes += encodeCbor(encodeResponse(outcome.value)).length;
        return outcome;
      },
      close: () => binding.close(),
    };
  }
}
