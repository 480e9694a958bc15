import { millis } from '../../base/units.ts';
import { randomHex } from '../../host/entropy.ts';
import { ResourceType, ResponseStatusCode } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { nestedRequest } from '../../onem2m/serialisation.ts';
import { respond, timeLeftMs } from './cse-core.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import { badRequest, noPrivilege, notFound, refuse } from './refusal.ts';
import type { StoredResource } from './resource-tree.ts';

const waitingMax = 256;

/** A request that waits to be fetched, or for the answer of the AE that fetched it. */
interface Parked {
  readonly request: RequestPrimitive;
  settle(response: ResponsePrimitive): void;
}

interface Channel {
  readonly waiting: Parked[];
  readonly fetched: Map<string, Parked>;
  readonly polls: ((parked: Parked | undefined) => void)[];
}

/** Requests for AEs that cannot be reached from outside (TS-0001 9.6.21, 10.2.5.15; TS-0004 7.4.22). */
export class PollingChannels {
  readonly #core: CseCore;
  readonly #channels = new Map<string, Channel>();

  constructor(core: CseCore) {
    this.#core = core;
    core.lifetime.addEventListener(
      'abort',
      () => {
        for (const id of [...this.#channels.keys()]) this.#close(id);
      },
      { once: true },
    );
  }

  /** Leaves a request for the AE and waits for its answer; 4008 when none comes in time. */
  deliver(pollingChannel: StoredResource, request: RequestPrimitive): Promise<ResponsePrimitive> {
    const channel = this.#channel(pollingChannel);
    if (channel.waiting.length >= waitingMax) {
      const debugInfo = `${waitingMax} requests wait in the polling channel already`;
      return Promise.resolve(respond(request, ResponseStatusCode.targetNotReachable, { debugInfo }));
    }
    const isTaken = [...channel.waiting, ...channel.fetched.values()].some(
      (parked) => parked.request.requestIdentifier === request.requestIdentifier,
    );
    const carried: RequestPrimitive = {
      ...request,
      requestIdentifier: isTaken ? randomHex(this.#core.entropy, 6) : request.requestIdentifier,
    };
    return new Promise((resolve) => {
      const limitMs = millis(Math.max(0, timeLeftMs(this.#core, request) ?? 0));
      const parked: Parked = {
        request: carried,
        settle: (response) => {
          cancel();
          const at = channel.waiting.indexOf(parked);
          if (at >= 0) channel.waiting.splice(at, 1);
          channel.fetched.delete(carried.requestIdentifier);
          resolve({ ...response, requestIdentifier: request.requestIdentifier });
        },
      };
      const cancel = this.#core.clock.schedule(limitMs, () => {
        const debugInfo = `the polling channel was not served within ${limitMs} ms`;
        parked.settle(respond(request, ResponseStatusCode.requestTimeout, { debugInfo }));
      });
      const poll = channel.polls.shift();
      if (poll === undefined) channel.waiting.push(parked);
      else poll(parked);
    });
  }

  /** RETRIEVE of `pcu`: the next request for the AE, waiting for one until the poll itself expires (4008). */
  async poll(pollingChannel: StoredResource, incoming: IncomingRequest): Promise<ResponsePrimitive> {
    const { request } = incoming;
    this.#requireOwner(pollingChannel, incoming);
    const channel = this.#channel(pollingChannel);
    const parked = channel.waiting.shift() ?? (await this.#nextArrival(channel, incoming));
    if (parked === undefined) {
      return refuse(ResponseStatusCode.requestTimeout, 'nothing arrived in the polling channel');
    }
    channel.fetched.set(parked.request.requestIdentifier, parked);
    return respond(request, ResponseStatusCode.ok, nestedRequest(parked.request));
  }

  /** NOTIFY to `pcu`: the AE's answer to a request it fetched before. */
  answer(pollingChannel: StoredResource, incoming: IncomingRequest): ResponsePrimitive {
    const { request } = incoming;
    this.#requireOwner(pollingChannel, incoming);
    const response = request.primitiveContent?.responsePrimitive as Partial<ResponsePrimitive> | undefined;
    if (typeof response !== 'object' || typeof response.responseStatusCode !== 'number') {
      return badRequest('a NOTIFY to pcu must carry m2m:rsp with a response status code');
    }
    const identifier = response.requestIdentifier ?? '';
    const parked = this.#channel(pollingChannel).fetched.get(identifier);
    if (parked === undefined)
      return notFound(`no request "${identifier}" waits for an answer in this channel`);
    parked.settle(response as ResponsePrimitive);
    return respond(request, ResponseStatusCode.ok);
  }

  /** Ends every poll and every waiting request of a channel that was deleted. */
  close(pollingChannel: StoredResource): void {
    this.#close(pollingChannel.id);
  }

  #close(id: string): void {
    const channel = this.#channels.get(id);
    if (channel === undefined) return;
    this.#channels.delete(id);
    for (const poll of channel.polls.splice(0)) poll(undefined);
    for (const parked of [...channel.waiting, ...channel.fetched.values()]) {
      const debugInfo = 'the polling channel was deleted';
      parked.settle(respond(parked.request, ResponseStatusCode.targetNotReachable, { debugInfo }));
    }
  }

  #channel(pollingChannel: StoredResource): Channel {
    let channel = this.#channels.get(pollingChannel.id);
    if (channel === undefined) {
      channel = { waiting: [], fetched: new Map(), polls: [] };
      this.#channels.set(pollingChannel.id, channel);
    }
    return channel;
  }

  #nextArrival(channel: Channel, { request }: IncomingRequest): Promise<Parked | undefined> {
    const limitMs = millis(Math.max(0, timeLeftMs(this.#core, request) ?? 0));
    if (channel.polls.length >= waitingMax) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const poll = (parked: Parked | undefined): void => {
        cancel();
        const at = channel.polls.indexOf(poll);
        if (at >= 0) channel.polls.splice(at, 1);
        resolve(parked);
      };
      const cancel = this.#core.clock.schedule(limitMs, () => poll(undefined));
      channel.polls.push(poll);
    });
  }

  #requireOwner(pollingChannel: StoredResource, { originator }: IncomingRequest): void {
    const owner = pollingChannel.parent;
    const isOwner =
      owner?.type === ResourceType.remoteCse
        ? owner.attributes.cseId === originator
        : owner?.id === originator;
    if (!isOwner) noPrivilege(`${originator} does not own this polling channel`);
  }
}
