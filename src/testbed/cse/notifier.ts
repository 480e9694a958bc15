import { millis } from '../../base/units.ts';
import type { CancelTimer } from '../../host/clock.ts';
import { randomHex } from '../../host/entropy.ts';
import {
  NotificationContentType,
  NotificationEventType,
  Operation,
  ResourceType,
  isSuccess,
} from '../../onem2m/enums.ts';
import { shortAttributeName } from '../../onem2m/names.ts';
import type { EventNotificationCriteria, Notification, PrimitiveContent } from '../../onem2m/resources.ts';
import { removeResource } from './cse-core.ts';
import type { CseCore, ResourceChange } from './cse-core.ts';
import type { Delivery } from './delivery.ts';
import { durationMs } from './notification-check.ts';
import { numberOf, textOf, textsOf } from './resource-tree.ts';
import type { Attributes, StoredResource } from './resource-tree.ts';

const batchMax = 1000;

/** Notifications under way at once; more than a slow receiver's share is dropped, as a CSE without a queue does. */
const underWayMax = 1000;

interface Batch {
  notifications: Notification[];
  cancel: CancelTimer | undefined;
}

/** Watches changes of the tree for the subscriptions on it and sends what they ask for (TS-0001 10.2.10, TS-0004 7.5.1). */
export class Notifier {
  readonly #core: CseCore;
  readonly #delivery: Delivery;
  readonly #batches = new Map<string, Batch>();
  #underWay = 0;

  constructor(core: CseCore, delivery: Delivery) {
    this.#core = core;
    this.#delivery = delivery;
    core.lifetime.addEventListener('abort', () => this.#forgetBatches(), { once: true });
  }

  /** Called for every change, after it was made. */
  observe(change: ResourceChange): void {
    const { resource } = change;
    const net = NotificationEventType;
    switch (change.kind) {
      case 'created':
        if (resource.parent !== undefined) this.#event(resource.parent, net.createOfDirectChild, resource);
        break;
      case 'updated':
        this.#event(resource, net.updateOfResource, resource, change.modified);
        break;
      case 'deleted':
        // What is above goes first: a subscription must still be there when its resource reports its own end.
        for (const removed of [...change.removed].reverse()) this.#deleted(removed);
        if (resource.parent !== undefined) this.#event(resource.parent, net.deleteOfDirectChild, resource);
        break;
    }
  }

  /** Reports missing data points of a time series to its subscriptions (TS-0001 10.2.4.27). */
  reportMissing(series: StoredResource, missing: readonly string[]): void {
    for (const subscription of [...series.subscriptions]) {
      const criteria = criteriaOf(subscription);
      if (criteria.notificationEventType?.includes(NotificationEventType.missingDataPoints) !== true)
        continue;
      const wanted = criteria.missingData?.number;
      if (typeof wanted === 'number' && missing.length < wanted) continue;
      const representation: PrimitiveContent = {
        timeSeries: { missingDataList: [...missing], missingDataCurrentNr: missing.length },
      };
      this.#notify(subscription, NotificationEventType.missingDataPoints, representation);
    }
  }

  #deleted(resource: StoredResource): void {
    this.#event(resource, NotificationEventType.deleteOfResource, resource);
    if (resource.type !== ResourceType.subscription) return;
    this.#flush(resource);
    const subscriber = textOf(resource, 'subscriberUri');
    if (subscriber === undefined) return;
    const notification: Notification = {
      subscriptionDeletion: true,
      subscriptionReference: referenceOf(this.#core, resource),
    };
    this.#send(subscriber, { notification });
  }

  #event(subject: StoredResource, net: number, about: StoredResource, modified?: readonly string[]): void {
    for (const subscription of [...subject.subscriptions]) {
      if (subscription === about) continue;
      const criteria = criteriaOf(subscription);
      const events = criteria.notificationEventType ?? [NotificationEventType.updateOfResource];
      if (!events.includes(net)) continue;
      if (subject !== about && !includesType(criteria, about.type)) continue;
      if (modified !== undefined && !includesAttribute(criteria, modified)) continue;
      this.#notify(subscription, net, representationFor(this.#core, subscription, about, modified));
    }
  }

  #notify(subscription: StoredResource, net: number, representation: PrimitiveContent): void {
    const creator = textOf(subscription, 'creator');
    const forwardingUri = textOf(subscription, 'notificationForwardingUri');
    const notification: Notification = {
      notificationEvent: { notificationEventType: net, representation },
      subscriptionReference: referenceOf(this.#core, subscription),
      ...(creator === undefined ? {} : { creator }),
      ...(forwardingUri === undefined ? {} : { notificationForwardingUri: forwardingUri }),
    };
    if (subscription.attributes.batchNotify === undefined) this.#sendToAll(subscription, { notification });
    else this.#collect(subscription, notification);
    this.#countDown(subscription);
  }

  /** TS-0001 9.6.8 `expirationCounter`: at zero the subscription ends. */
  #countDown(subscription: StoredResource): void {
    const left = numberOf(subscription, 'expirationCounter');
    if (left === undefined) return;
    subscription.attributes.expirationCounter = left - 1;
    if (left <= 1) removeResource(this.#core, subscription);
  }

  #collect(subscription: StoredResource, notification: Notification): void {
    let batch = this.#batches.get(subscription.id);
    if (batch === undefined) {
      batch = { notifications: [], cancel: undefined };
      this.#batches.set(subscription.id, batch);
    }
    batch.notifications.push(notification);
    const { number: countWanted, duration } = subscription.attributes.batchNotify as {
      number?: number;
      duration?: unknown;
    };
    if (batch.notifications.length >= Math.min(countWanted ?? batchMax, batchMax)) {
      this.#flush(subscription);
      return;
    }
    const waitMs = durationMs(duration);
    if (waitMs !== undefined && batch.cancel === undefined) {
      batch.cancel = this.#core.clock.schedule(millis(waitMs), () => this.#flush(subscription));
    }
  }

  #flush(subscription: StoredResource): void {
    const batch = this.#batches.get(subscription.id);
    if (batch === undefined) return;
    this.#batches.delete(subscription.id);
    batch.cancel?.();
    const notifications =
      subscription.attributes.latestNotify === true ? batch.notifications.slice(-1) : batch.notifications;
    this.#sendToAll(subscription, { aggregatedNotification: { notification: notifications } });
  }

  #forgetBatches(): void {
    for (const batch of this.#batches.values()) batch.cancel?.();
    this.#batches.clear();
  }

  #sendToAll(subscription: StoredResource, content: PrimitiveContent): void {
    for (const target of textsOf(subscription, 'notificationUri')) this.#send(target, content);
  }

  #send(target: string, content: PrimitiveContent): void {
    const core = this.#core;
    if (this.#underWay >= underWayMax) {
      const reason = `${underWayMax} notifications are under way already`;
      core.emit({ kind: 'notificationFailed', cseId: core.settings.cseId, target, reason });
      return;
    }
    this.#underWay++;
    const sending = this.#delivery.toNotificationTarget(target, {
      operation: Operation.notify,
      to: target,
      from: core.settings.cseId,
      requestIdentifier: randomHex(core.entropy, 6),
      releaseVersionIndicator: '4',
      primitiveContent: content,
    });
    void sending.then((response) => {
      this.#underWay--;
      if (isSuccess(response.responseStatusCode) || core.lifetime.aborted) return;
      const reason = `${response.responseStatusCode} ${response.primitiveContent?.debugInfo ?? ''}`;
      core.emit({ kind: 'notificationFailed', cseId: core.settings.cseId, target, reason });
    });
  }
}

function criteriaOf(subscription: StoredResource): EventNotificationCriteria {
  return subscription.attributes.eventNotificationCriteria ?? {};
}

function includesType(criteria: EventNotificationCriteria, type: number): boolean {
  return criteria.childResourceType === undefined || criteria.childResourceType.includes(type);
}

/** `enc.atr` carries short names, as on the wire. */
function includesAttribute(criteria: EventNotificationCriteria, modified: readonly string[]): boolean {
  const { attribute } = criteria;
  return (
    attribute === undefined ||
    modified.some((name) => attribute.includes(name) || attribute.includes(shortAttributeName(name)))
  );
}

function representationFor(
  core: CseCore,
  subscription: StoredResource,
  about: StoredResource,
  modified: readonly string[] | undefined,
): PrimitiveContent {
  const contentType = numberOf(subscription, 'notificationContentType');
  if (contentType === NotificationContentType.resourceId)
    return { uri: `${core.settings.cseId}/${about.id}` };
  if (contentType === NotificationContentType.modifiedAttributes && modified !== undefined) {
    const changed: Attributes = {};
    for (const name of modified) changed[name] = about.attributes[name] ?? null;
    return { [about.root]: { ...changed, lastModifiedTime: about.attributes.lastModifiedTime } };
  }
  return { [about.root]: { ...about.attributes } };
}

/** `sur`: SP-relative, so that a receiver with subscriptions at several CSEs can tell them apart. */
function referenceOf(core: CseCore, subscription: StoredResource): string {
  return `${core.settings.cseId}/${subscription.id}`;
}
