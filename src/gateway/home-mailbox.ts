/**
 * The way down from the IN-CSE: commands in `<device>-home/cmd` and triggers in `<device>-home/intents` reach the gateway
 * wherever it is registered, also while no MN-CSE serves it.
 *
 *     setting up ─ echo arrives ─▶ notified    the home AE has the gateway's point of access at this CSE (CoAP or a broker)
 *          │ no echo ─ polling channel ─ echo arrives ─▶ long poll
 *          └ neither ─▶ polled, every 10 s or as `downlink.pollMs` says
 *
 * No request is left open at a CSE that is known not to notify over this binding (way-down.ts): ACME over CoAP takes up one
 * request after the other, and one that waits there keeps everybody waiting.
 *
 * Notifications bring commands at once; triggers only say that there is something, for what counts is the container that they
 * lie in. Whatever the mode, the containers are looked into when the gateway starts, when something was refused or missed,
 * and every five minutes: what a lost notification left is found then, and since what was taken is deleted, a look that
 * finds nothing costs two small requests.
 */
import { LinkedAbort } from '../base/linked-abort.ts';
import { errorText } from '../base/errors.ts';
import { millis } from '../base/units.ts';
import type { Millis } from '../base/units.ts';
import { catchUp, echoName } from '../downlink/catch-up.ts';
import type { HeldInstance, Taken } from '../downlink/command.ts';
import type { Downlink } from '../downlink/downlink.ts';
import { subscriptionOf } from '../handover/bundle-manifest.ts';
import type { HomeAe } from '../handover/home-ae.ts';
import type { CseReference } from '../handover/handover-state.ts';
import { sleep } from '../host/clock.ts';
import type { Clock } from '../host/clock.ts';
import { randomHex } from '../host/entropy.ts';
import type { Entropy } from '../host/entropy.ts';
import { isRejectedWith } from '../onem2m/cse-client.ts';
import type { CallOptions, CseClient, CseFailure } from '../onem2m/cse-client.ts';
import { ResourceType, ResponseStatusCode, ResultContent } from '../onem2m/enums.ts';
import { PollingChannel } from '../onem2m/polling-channel.ts';
import type { RequestHandler } from '../onem2m/binding.ts';
import type { PrimitiveContent } from '../onem2m/resources.ts';
import type { WayDown } from './way-down.ts';

/** What a mailbox works with. */
export interface HomeMailboxOptions {
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly downlink: Pick<Downlink, 'catchUp' | 'awaitEcho'> & { readonly handle: RequestHandler };
  readonly inCse: CseReference;
  readonly home: HomeAe;
  /** Acts as the home AE. */
  readonly client: CseClient;
  /** The same for requests that stay open until something comes. */
  readonly pollClient: CseClient;
  /** Where the IN-CSE reaches the gateway. */
  readonly pointOfAccess: () => string;
  readonly wayDown: Pick<WayDown, 'pollingOf' | 'noteAnswer' | 'noteEcho'>;
  readonly deadlineMs: Millis;
  /** Takes what lies in `intents`. */
  readonly takeTrigger: (instance: HeldInstance) => Promise<Taken>;
  /** What is wrong; undefined when commands come down again. */
  readonly onAlarm: (text: string | undefined) => void;
}

/** How what is put into the mailbox reaches the gateway. */
export type MailboxMode = 'settingUp' | 'notified' | 'longPoll' | 'polled';

const lookMs = millis(300_000);
const pollMsDefault = millis(10_000);
/** Looks follow each other no faster, whatever asks for them. */
const spacingMs = millis(1000);
const echoMs = millis(3000);
const retryMs = { first: 5000, most: 60_000 };
/** A CSE that could not notify is asked again after so long. */
const hopeMs = 3_600_000;

/** The mailbox at the IN-CSE; see the header of this file. */
export class HomeMailbox {
  readonly #options: HomeMailboxOptions;
  readonly #seen = { cmd: new Set<string>(), intents: new Set<string>() };
  #mode: MailboxMode = 'settingUp';
  #told: string | undefined;
  #isMissed = false;
  #wake = new AbortController();
  #channel: AbortController | undefined;
  #setUpMs = 0;
  #failures = 0;

  constructor(options: HomeMailboxOptions) {
    this.#options = options;
  }

  get mode(): MailboxMode {
    return this.#mode;
  }

  /** Something lies there that no notification will bring. */
  lookSoon(): void {
    this.#isMissed = true;
    this.#wake.abort();
  }

  /** Brings down what comes until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { clock } = this.#options;
      const isOld = this.#mode === 'polled' && clock.monotonicMs() - this.#setUpMs > hopeMs;
      if (this.#mode === 'settingUp' || isOld || this.#told !== this.#options.pointOfAccess()) {
        await this.#setUp(signal).catch((error: unknown) => this.#fail(errorText(error)));
      }
      if (!signal.aborted) await this.#look(signal);
      await this.#pause(signal);
    }
    this.#channel?.abort();
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    await sleep(clock, spacingMs, signal).catch(() => undefined);
    const wake = new LinkedAbort(signal);
    this.#wake = new AbortController();
    this.#wake.signal.addEventListener('abort', () => wake.abort(), { once: true });
    if (this.#isMissed) wake.abort();
    await sleep(clock, this.#pauseMs(), wake.signal).catch(() => undefined);
    wake.release();
  }

  #pauseMs(): Millis {
    if (this.#failures > 0) {
      return millis(Math.min(retryMs.most, retryMs.first * 2 ** Math.min(this.#failures - 1, 8)));
    }
    const { inCse, wayDown } = this.#options;
    if (this.#mode !== 'polled') return lookMs;
    const polling = wayDown.pollingOf(inCse);
    return polling?.isOrdered === true ? polling.everyMs : pollMsDefault;
  }

  /** Reads what lies in both containers. */
  async #look(signal: AbortSignal): Promise<void> {
    const { downlink, client, inCse, home, takeTrigger } = this.#options;
    const source = (name: 'cmd' | 'intents') => ({
      cseId: inCse.cseId,
      container: `${home.address}/${name}`,
      seen: this.#seen[name],
    });
    const isExpected = this.#isMissed || this.#mode === 'polled';
    this.#isMissed = false;
    let triggers = 0;
    try {
      const [commands, intents] = await Promise.all([
        downlink.catchUp(client, source('cmd'), { signal }),
        catchUp(
          client,
          source('intents'),
          { signal },
          {
            take: (instance) => {
              triggers += 1;
              return takeTrigger(instance);
            },
            room: () => Promise.resolve(),
          },
        ),
      ]);
      if (!commands.ok) this.#settle(commands.error);
      else if (!intents.ok) this.#settle(intents.error);
      else if (this.#mode !== 'settingUp') {
        this.#failures = 0;
        this.#options.onAlarm(undefined);
        // It should have been told: the address there may be an old one.
        if (!isExpected && commands.value + triggers > 0) this.#mode = 'settingUp';
      }
    } catch (error) {
      if (!signal.aborted) this.#fail(`commands cannot be kept: ${errorText(error)}`);
    }
  }

  /** A CSE out of reach is no news; one that does not know the home AE is. */
  #settle(failure: CseFailure): void {
    const isNews = failure.kind === 'rejected' && failure.responseStatusCode < 5000;
    if (isNews) this.#mode = 'settingUp';
    this.#fail(isNews ? `${failure.message}; "baton provision" makes what is missing` : undefined);
  }

  #fail(text: string | undefined): void {
    this.#failures += 1;
    if (text !== undefined) this.#options.onAlarm(`mailbox at ${this.#options.inCse.cseId}: ${text}`);
  }

  async #setUp(signal: AbortSignal): Promise<void> {
    const { clock, inCse, wayDown, pointOfAccess } = this.#options;
    this.#channel?.abort();
    this.#channel = undefined;
    this.#setUpMs = clock.monotonicMs();
    const told = pointOfAccess();
    const polling = wayDown.pollingOf(inCse);
    if (polling?.isOrdered === true) {
      this.#told = told;
      this.#mode = 'polled';
      return;
    }
    if (!(await this.#register(told, signal))) return;
    this.#told = told;
    if (await this.#isEchoed(signal)) {
      wayDown.noteEcho(inCse, true);
      this.#mode = 'notified';
    } else if (!signal.aborted) {
      const mayWait = wayDown.pollingOf(inCse) === undefined;
      this.#mode = mayWait && (await this.#openChannel(signal)) ? 'longPoll' : 'polled';
      if (this.#mode === 'polled') wayDown.noteEcho(inCse, false);
    }
  }

  /** Tells the IN-CSE where the gateway is, and asks it to notify. */
  async #register(told: string, signal: AbortSignal): Promise<boolean> {
    const { home, client } = this.#options;
    const limits = this.#limits(signal);
    const updated = await client.update(
      home.address,
      { ae: { pointOfAccess: [told], requestReachability: true } },
      { ...limits, resultContent: ResultContent.nothing },
    );
    if (!updated.ok) {
      this.#settle(updated.error);
      return false;
    }
    const made = await Promise.all(
      (['cmd', 'intents'] as const).map((name) => {
        const { name: resourceName, attributes } = subscriptionOf(`${name}-sub`, [home.aeId]);
        const content = { subscription: { resourceName, ...attributes } } as PrimitiveContent;
        return this.#ensure(`${home.address}/${name}`, ResourceType.subscription, content, limits);
      }),
    );
    const failure = made.find((each) => each !== undefined);
    if (failure !== undefined) this.#settle(failure);
    return failure === undefined;
  }

  /** Whether what is put into the mailbox is told to the gateway. */
  async #isEchoed(signal: AbortSignal): Promise<boolean> {
    const { clock, entropy, downlink, client, home, inCse, wayDown } = this.#options;
    const nonce = randomHex(entropy, 6);
    const giveUp = new LinkedAbort(signal);
    const cancel = clock.schedule(echoMs, () => giveUp.abort());
    const echo = downlink.awaitEcho(nonce, giveUp.signal).then(
      () => true,
      () => false,
    );
    try {
      const content = { contentInstance: { resourceName: echoName(nonce), content: { echo: nonce } } };
      const options = { ...this.#limits(signal), resultContent: ResultContent.nothing };
      const put = await client.create(`${home.address}/cmd`, ResourceType.contentInstance, content, options);
      if (put.ok) wayDown.noteAnswer(inCse, put.value);
      else giveUp.abort();
      return await echo;
    } finally {
      cancel();
      giveUp.abort();
      giveUp.release();
    }
  }

  /** Has the IN-CSE keep requests until they are fetched (TS-0001 9.6.21); false where it cannot. */
  async #openChannel(signal: AbortSignal): Promise<boolean> {
    const { clock, entropy, home, client, pollClient, downlink } = this.#options;
    const limits = this.#limits(signal);
    const content: PrimitiveContent = { pollingChannel: { resourceName: 'pch' } };
    if ((await this.#ensure(home.address, ResourceType.pollingChannel, content, limits)) !== undefined)
      return false;
    // With a point of access that leads nowhere a CSE would go on trying that.
    const ae = { pointOfAccess: null, requestReachability: false } as unknown as PrimitiveContent['ae'];
    const hidden = await client.update(home.address, { ae: ae ?? {} }, limits);
    if (!hidden.ok) return false;
    const open = new AbortController();
    this.#channel = open;
    signal.addEventListener('abort', () => open.abort(), { once: true, signal: open.signal });
    const address = `${home.address}/pch`;
    const handler: RequestHandler = (request) => downlink.handle(request);
    const channel = new PollingChannel({ client: pollClient, clock, entropy, address, handler });
    void channel.run(open.signal).then((end) => {
      if (end === 'stopped' || this.#channel !== open) return;
      this.#mode = 'settingUp';
      this.lookSoon();
    });
    if (await this.#isEchoed(signal)) return true;
    open.abort();
    this.#channel = undefined;
    return false;
  }

  async #ensure(
    parent: string,
    resourceType: ResourceType,
    content: PrimitiveContent,
    limits: CallOptions,
  ): Promise<CseFailure | undefined> {
    const options = { ...limits, resultContent: ResultContent.nothing };
    const created = await this.#options.client.create(parent, resourceType, content, options);
    if (created.ok || isRejectedWith(created.error, ResponseStatusCode.conflict)) return undefined;
    return created.error;
  }

  #limits(signal: AbortSignal): CallOptions {
    return { deadlineMs: this.#options.deadlineMs, signal };
  }
}
