/**
 * Defects on purpose, each put between the gateway and its world, so that the whole behaves as if the gateway had it: a
 * simulation that does not find them proves nothing. None of them is in the gateway's own code.
 */
import { millis } from '../../base/units.ts';
import type { Clock } from '../../host/clock.ts';
import type { FileHandle, Filesystem } from '../../host/filesystem.ts';
import { Operation, ResourceType, ResponseStatusCode } from '../../onem2m/enums.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import type { CseTransport } from '../cse/cse-transport.ts';
import { decodeServingEntry } from '../../handover/serving-record.ts';
import { aeName } from './bundle-names.ts';
import { passThrough } from './gateway-machine.ts';
import type { Mutant, Simulation } from './simulation.ts';

type Answer = ResponsePrimitive | undefined;
type Wrap = NonNullable<Mutant['wrapTransport']>;

const journalLateMs = millis(400);

/** The mutants by name. */
export const mutants: readonly Mutant[] = [
  {
    // The sensor is told that a reading is stored before it is.
    name: 'acknowledgedBeforeDurable',
    wrapFilesystem: (filesystem) =>
      passThrough(filesystem, (path, handle) =>
        path.endsWith('/slots') ? changed(handle, { datasync: () => Promise.resolve() }) : handle,
      ),
  },
  {
    // A state of the handover is on the disk only some time after its effect was seen.
    name: 'journalAfterEffect',
    wrapFilesystem: (filesystem, clock) => lateJournal(filesystem, clock),
  },
  {
    // 4105 to a repeated reading is taken for a failure.
    name: 'conflictIsFailure',
    wrapTransport: (_cseId, transport) =>
      answering(transport, (request, answer) =>
        isInstance(request) && answer?.responseStatusCode === ResponseStatusCode.conflict
          ? { ...answer, responseStatusCode: ResponseStatusCode.internalServerError }
          : answer,
      ),
  },
  { name: 'nonceNotCompared', wrapTransport: blindToNonces() },
  {
    // What is in doubt is sent again without asking: whoever is asked has nothing.
    name: 'doubtsNotAsked',
    wrapTransport: (_cseId, transport, { plan }) =>
      answering(transport, (request, answer) => {
        const container = request.to.split('/')[2]?.replace(/\.history$/u, '');
        const isRecord = request.operation === Operation.retrieve && request.to.split('/').length === 4;
        if (!isRecord || !plan.streams.some(({ name }) => name === container)) return answer;
        const { requestIdentifier } = request;
        return { responseStatusCode: ResponseStatusCode.notFound, requestIdentifier };
      }),
  },
  { name: 'commandsNotDeduplicated', wrapTransport: everyCommandNew() },
  {
    // Nobody looks for commands that a CSE could not deliver.
    name: 'commandsNotFetched',
    wrapTransport: (_cseId, transport) =>
      answering(transport, (request, answer) =>
        request.operation === Operation.retrieve && request.to.endsWith('/cmd') && answer !== undefined
          ? { ...answer, primitiveContent: { uriList: [] } }
          : answer,
      ),
  },
  { name: 'releasedBeforeClaim', wrapTransport: releasingEarly() },
  { name: 'bundleSplit', wrapTransport: losingOneAe() },
];

function changed(handle: FileHandle, changes: Partial<FileHandle>): FileHandle {
  return {
    read: (target, position) => handle.read(target, position),
    write: (data, position) => handle.write(data, position),
    datasync: () => handle.datasync(),
    size: () => handle.size(),
    isInPlace: () => handle.isInPlace(),
    close: () => handle.close(),
    ...changes,
  };
}

function lateJournal(filesystem: Filesystem, clock: Clock): Filesystem {
  return passThrough(filesystem, (path, handle) => {
    if (!path.includes('/handover.')) return handle;
    return changed(handle, {
      write: (data, position) => {
        const copy = Uint8Array.from(data);
        const write = async (): Promise<void> => {
          await handle.write(copy, position);
          await handle.datasync();
        };
        clock.schedule(journalLateMs, () => void write().catch(() => undefined));
        return Promise.resolve();
      },
      datasync: () => Promise.resolve(),
      // What was written last has still to come.
      close: () => Promise.resolve(),
    });
  });
}

/** Changes what the requests from the network are answered. */
function answering(
  transport: CseTransport,
  change: (request: RequestPrimitive, answer: Answer) => Answer | Promise<Answer>,
  before: (request: RequestPrimitive) => Promise<void> = () => Promise.resolve(),
): CseTransport {
  return {
    listen: (handler) =>
      transport.listen(async (request, origin) => {
        await before(request);
        return change(request, await handler(request, origin));
      }),
    canReach: (pointOfAccess) => transport.canReach(pointOfAccess),
    send: (pointOfAccess, request, options) => transport.send(pointOfAccess, request, options),
    close: () => transport.close(),
  };
}

function isInstance({ operation, resourceType }: RequestPrimitive): boolean {
  return operation === Operation.create && resourceType === ResourceType.contentInstance;
}

function isClaim(request: RequestPrimitive): boolean {
  const name = request.primitiveContent?.contentInstance?.resourceName;
  return isInstance(request) && request.to.endsWith('/serving') && /^e\d+$/u.test(name ?? '');
}

/** Whoever claimed an epoch, the gateway is told that it did. */
function blindToNonces(): Wrap {
  return (_cseId, transport) => {
    const claims = new Map<string, unknown>();
    return answering(
      transport,
      (request, answer) => {
        const content = claims.get(request.to.split('/').at(-1) ?? '');
        const instance = answer?.primitiveContent?.contentInstance;
        if (answer === undefined || instance === undefined || content === undefined) return answer;
        return { ...answer, primitiveContent: { contentInstance: { ...instance, content } } };
      },
      (request) => {
        const instance = request.primitiveContent?.contentInstance;
        if (isClaim(request)) claims.set(instance?.resourceName ?? '', instance?.content);
        return Promise.resolve();
      },
    );
  };
}

/** The same command looks like another one each time it is told. */
function everyCommandNew(): Wrap {
  let count = 0;
  const renamed = (instance: unknown): unknown => {
    const { content } = (instance ?? {}) as { content?: { id?: unknown } };
    if (typeof content?.id !== 'string') return instance;
    return { ...(instance as object), content: { ...content, id: `${content.id}#${++count}` } };
  };
  return (_cseId, transport) => ({
    ...answering(transport, (request, answer) => {
      const isCommand = request.operation === Operation.retrieve && request.to.includes('/cmd/');
      const instance = answer?.primitiveContent?.contentInstance;
      if (!isCommand || answer === undefined || instance === undefined) return answer;
      return { ...answer, primitiveContent: { contentInstance: renamed(instance) as typeof instance } };
    }),
    send: (pointOfAccess, request, options) => {
      const notification = request.primitiveContent?.notification;
      const representation = notification?.notificationEvent?.representation;
      if (notification === undefined || representation === undefined) {
        return transport.send(pointOfAccess, request, options);
      }
      const contentInstance = renamed(
        representation.contentInstance,
      ) as typeof representation.contentInstance;
      const event = {
        ...notification.notificationEvent,
        representation: { ...representation, contentInstance },
      };
      const primitiveContent = { notification: { ...notification, notificationEvent: event } };
      return transport.send(pointOfAccess, { ...request, primitiveContent } as RequestPrimitive, options);
    },
  });
}

/** The source is given up when the claim is asked for, not when it is made. */
function releasingEarly(): Wrap {
  return (_cseId, transport, simulation: Simulation) =>
    answering(
      transport,
      (_request, answer) => answer,
      async (request) => {
        const source = simulation.observer.newest?.cse;
        if (!isClaim(request) || source === undefined) return;
        await simulation.cses.find(source.cseId)?.handle(
          {
            operation: Operation.update,
            to: `${source.cseBaseName}/gw1`,
            from: 'COperator',
            requestIdentifier: 'early-release',
            releaseVersionIndicator: '4',
            primitiveContent: { ae: { labels: ['baton:dev=gw1', 'baton:state=moved'] } },
          },
          { serialisation: 'cbor' },
        );
      },
    );
}

/** The target of a claim loses one AE of the bundle, which is as if only the others had moved. */
function losingOneAe(): Wrap {
  return (_cseId, transport, simulation) =>
    answering(
      transport,
      (_request, answer) => answer,
      async (request) => {
        if (!isClaim(request) || simulation.plan.aes === 1) return;
        const { cse } = decodeServingEntry(request.primitiveContent?.contentInstance?.content);
        await simulation.cses.find(cse.cseId)?.handle(
          {
            operation: Operation.delete,
            to: `${cse.cseBaseName}/${aeName(1)}`,
            from: 'COperator',
            requestIdentifier: 'split',
            releaseVersionIndicator: '4',
          },
          { serialisation: 'cbor' },
        );
      },
    );
}
