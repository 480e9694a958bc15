import { assert } from '../../base/assert.ts';
import { errorText } from '../../base/errors.ts';
import { millis } from '../../base/units.ts';
import type { Clock } from '../../host/clock.ts';
import type { Entropy } from '../../host/entropy.ts';
import { ResourceType, ResponseStatusCode, ResponseType } from '../../onem2m/enums.ts';
import { encodeTimestamp } from '../../onem2m/primitives.ts';
import type { RequestPrimitive, ResponsePrimitive } from '../../onem2m/primitives.ts';
import { typePolicies } from './attribute-table.ts';
import { respond } from './cse-core.ts';
import type { CseEvent, CseSettings, RegistrarSettings } from './cse-core.ts';
import { CseRun } from './cse-run.ts';
import type { CseTransport, RequestOrigin } from './cse-transport.ts';
import { Misbehaviour, markCorrupt } from './misbehaviour.ts';
import type { MisbehaviourAction } from './misbehaviour.ts';
import { addressedType } from './request-dispatch.ts';
import { ResourceTree, structuredPath } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';

/** How a testbed CSE is made; what is left out has a default fit for tests. */
export interface TestbedCseOptions
  extends
    Pick<CseSettings, 'cseId' | 'cseBaseName' | 'cseType' | 'adminOriginator' | 'spId'>,
    Partial<
      Omit<CseSettings, 'cseId' | 'cseBaseName' | 'cseType' | 'adminOriginator' | 'spId' | 'registrar'>
    > {
  readonly registrar?: RegistrarSettings;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly transports: readonly CseTransport[];
  readonly misbehaviour?: Misbehaviour;
  readonly onEvent?: (event: CseEvent) => void;
}

/** A resource as `dump` shows it. */
export interface ResourceDump {
  /** Structured CSE-relative address. */
  readonly path: string;
  readonly resourceType: number;
  readonly attributes: Attributes;
  /** Monotonic time at which the CREATE arrived, in ms. */
  readonly arrivalMs: number;
}

const defaults = {
  labels: [],
  requestDeadlineMs: millis(10_000),
  registrationRetryMs: millis(1000),
  registrationCheckMs: millis(5000),
  registrationLeaseMs: millis(30_000),
  lifetimeMaxMs: millis(5 * 365 * 24 * 3_600_000),
  resourcesMax: 500_000,
  remoteCseReaders: [],
  serialisation: 'json',
  notifiesEveryPointOfAccess: false,
} as const;

/**
 * A double of a oneM2M CSE (TS-0001, TS-0004 Release 3) in this process: IN-CSE or MN-CSE, over any number of
 * transports. Not a product CSE: everything is in memory, and `crash` and `Misbehaviour` make it fail on purpose.
 */
export class TestbedCse {
  readonly settings: CseSettings;
  readonly misbehaviour: Misbehaviour;
  readonly #options: TestbedCseOptions;
  #tree: ResourceTree;
  #run: CseRun | undefined;
  #pointsOfAccess: readonly string[] = [];

  constructor(options: TestbedCseOptions) {
    this.#options = options;
    const { clock: _clock, entropy, transports: _transports, misbehaviour, onEvent: _on, ...given } = options;
    this.settings = { ...defaults, ...given };
    this.misbehaviour = misbehaviour ?? new Misbehaviour({ entropy });
    this.#tree = this.#emptyTree();
  }

  /** Where the CSE is reached, one entry per transport; empty before `start`. */
  get pointsOfAccess(): readonly string[] {
    return this.#pointsOfAccess;
  }

  /** True between `start` or `restart` and `crash` or `stop`. */
  get isRunning(): boolean {
    return this.#run !== undefined;
  }

  /** Opens the transports and begins to serve; an MN-CSE registers at its registrar in the background. */
  async start(): Promise<void> {
    assert(this.#run === undefined, `${this.settings.cseId} runs already`);
    const { transports, clock, entropy } = this.#options;
    const pointsOfAccess: string[] = [];
    for (const transport of transports) {
      pointsOfAccess.push(await transport.listen((request, origin) => this.handle(request, origin)));
    }
    this.#pointsOfAccess = pointsOfAccess;
    this.#tree.root.attributes.pointOfAccess = pointsOfAccess;
    this.#run = new CseRun({
      settings: this.settings,
      clock,
      entropy,
      transports,
      pointsOfAccess,
      tree: this.#tree,
      misbehaviour: this.misbehaviour,
      emit: (event) => this.#options.onEvent?.(event),
    });
  }

  /** Answers a request as a transport delivers it; undefined means silence (crashed, or scripted). Never throws. */
  async handle(request: RequestPrimitive, origin: RequestOrigin): Promise<ResponsePrimitive | undefined> {
    const run = this.#run;
    if (run === undefined) return undefined;
    const arrivalMs = run.clock.monotonicMs();
    const action = this.misbehaviour.decide('incoming', request, addressedType(run, request));
    const response = await this.#behave(run, request, origin, { action, arrivalMs });
    const answered = run.lifetime.aborted ? undefined : response;
    this.#options.onEvent?.({
      kind: 'answered',
      cseId: this.settings.cseId,
      request,
      responseStatusCode: answered?.responseStatusCode,
      arrivalMs,
    });
    return answered;
  }

  /** Ends at once, as by a power cut: nothing under way is answered, no pending notification leaves. */
  async crash(): Promise<void> {
    const run = this.#run;
    if (run === undefined) return;
    this.#run = undefined;
    run.end();
    this.#options.onEvent?.({ kind: 'crashed', cseId: this.settings.cseId });
    await Promise.all(this.#options.transports.map((transport) => transport.close()));
  }

  /** Begins to serve again after `crash`, with the resources it had or with none. */
  async restart(options: { keepState: boolean }): Promise<void> {
    await this.crash();
    if (!options.keepState) this.#tree = this.#emptyTree();
    await this.start();
    this.#options.onEvent?.({ kind: 'restarted', cseId: this.settings.cseId });
  }

  /** Ends for good and closes the transports. */
  async stop(): Promise<void> {
    const run = this.#run;
    this.#run = undefined;
    run?.end();
    await Promise.all(this.#options.transports.map((transport) => transport.close()));
  }

  /** The resource at a structured CSE-relative address; undefined when there is none. */
  find(path: string): ResourceDump | undefined {
    const resource = this.#tree.byPath(path.split('/'));
    return resource === undefined ? undefined : dumpOf(resource);
  }

  /** Every resource with a copy of its attributes, parents before children, in order of creation. */
  dump(): ResourceDump[] {
    return [...this.#tree.all()].map(dumpOf);
  }

  async #behave(
    run: CseRun,
    request: RequestPrimitive,
    origin: RequestOrigin,
    { action, arrivalMs }: { action: MisbehaviourAction | undefined; arrivalMs: number },
  ): Promise<ResponsePrimitive | undefined> {
    switch (action?.kind) {
      case undefined:
        return this.#answer(run, request, origin, arrivalMs);
      case 'delay':
        await run.pause(action);
        return run.lifetime.aborted ? undefined : this.#answer(run, request, origin, arrivalMs);
      case 'dropRequest':
        return undefined;
      case 'answer':
        return respond(request, action.responseStatusCode, {
          debugInfo: action.debugInfo ?? 'scripted answer',
        });
      case 'dropAnswer':
        await this.#answer(run, request, origin, arrivalMs);
        return undefined;
      case 'wrongIdentifier': {
        const response = await this.#answer(run, request, origin, arrivalMs);
        return response && { ...response, requestIdentifier: `not-${request.requestIdentifier}` };
      }
      case 'corrupt': {
        const response = await this.#answer(run, request, origin, arrivalMs);
        return response && markCorrupt(response, action.corruption);
      }
      case 'crash':
        if (action.when === 'afterExecution') await this.#answer(run, request, origin, arrivalMs);
        await this.#crashFor(action);
        return undefined;
    }
  }

  async #crashFor(action: Extract<MisbehaviourAction, { kind: 'crash' }>): Promise<void> {
    const { restartAfterMs, keepState = true } = action;
    const crashed = this.crash();
    if (restartAfterMs !== undefined) {
      this.#options.clock.schedule(restartAfterMs, () => {
        if (this.#run === undefined) void this.restart({ keepState });
      });
    }
    await crashed;
  }

  async #answer(
    run: CseRun,
    request: RequestPrimitive,
    origin: RequestOrigin,
    arrivalMs: number,
  ): Promise<ResponsePrimitive | undefined> {
    try {
      const response = await run.answer(request, origin, arrivalMs);
      return request.responseType === ResponseType.noResponse ? undefined : response;
    } catch (error) {
      // A defect of the double itself must not take the tests' process down; it shows as 5000.
      return respond(request, ResponseStatusCode.internalServerError, { debugInfo: errorText(error) });
    }
  }

  #emptyTree(): ResourceTree {
    const { cseId, cseBaseName, cseType, labels } = this.settings;
    const now = encodeTimestamp(this.#options.clock.unixMs());
    const id = `cb-${cseId.slice(1)}`;
    return new ResourceTree({
      type: ResourceType.cseBase,
      root: 'cseBase',
      id,
      name: cseBaseName,
      parent: undefined,
      attributes: {
        resourceType: ResourceType.cseBase,
        resourceId: id,
        resourceName: cseBaseName,
        creationTime: now,
        lastModifiedTime: now,
        labels: [...labels],
        cseType,
        cseId,
        supportedResourceType: [...typePolicies.keys()],
        supportedReleaseVersions: ['2a', '3', '4', '5'],
        contentSerialization: ['application/cbor', 'application/json'],
        pointOfAccess: [],
      },
      children: new Map(),
      instances: [],
      subscriptions: new Set(),
      createdBy: cseId,
      arrivalMs: this.#options.clock.monotonicMs(),
    });
  }
}

function dumpOf(resource: StoredResource): ResourceDump {
  return {
    path: structuredPath(resource),
    resourceType: resource.type,
    attributes: structuredClone(resource.attributes),
    arrivalMs: resource.arrivalMs,
  };
}
