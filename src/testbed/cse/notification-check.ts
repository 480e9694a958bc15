import { randomHex } from '../../host/entropy.ts';
import { NotificationEventType, Operation, ResponseStatusCode, isSuccess } from '../../onem2m/enums.ts';
import type { EventNotificationCriteria } from '../../onem2m/resources.ts';
import type { CseCore, IncomingRequest } from './cse-core.ts';
import { isSameEntity } from './delivery.ts';
import type { Delivery } from './delivery.ts';
import { badRequest, refuse } from './refusal.ts';
import type { Attributes } from './resource-tree.ts';

/** The events that this CSE detects. */
const knownEvents: readonly number[] = [
  NotificationEventType.updateOfResource,
  NotificationEventType.deleteOfResource,
  NotificationEventType.createOfDirectChild,
  NotificationEventType.deleteOfDirectChild,
  NotificationEventType.missingDataPoints,
];
const knownCriteria: readonly (keyof EventNotificationCriteria)[] = [
  'notificationEventType',
  'attribute',
  'childResourceType',
  'missingData',
];

/** Refuses subscription attributes this CSE does not act on, so that nobody waits for notifications in vain. */
export function checkSubscription(attributes: Attributes): void {
  const targets = attributes.notificationUri;
  if (Array.isArray(targets) && targets.length === 0) badRequest('notificationURI (nu) is empty');
  const contentType = attributes.notificationContentType;
  if (typeof contentType === 'number' && (contentType < 1 || contentType > 3)) {
    badRequest(`notificationContentType (nct) ${contentType} is not supported; 1, 2 or 3`);
  }
  if (attributes.expirationCounter === 0) badRequest('expirationCounter (exc) must be positive');
  checkCriteria(attributes.eventNotificationCriteria);
  const batch = attributes.batchNotify as { number?: unknown; duration?: unknown } | undefined | null;
  if (batch === undefined || batch === null) return;
  if (batch.number === undefined && batch.duration === undefined) {
    badRequest('batchNotify (bn) needs number (num) or duration (dur)');
  }
  if (batch.number !== undefined && !(typeof batch.number === 'number' && batch.number >= 1)) {
    badRequest('batchNotify number (num) must be positive');
  }
  if (batch.duration !== undefined && durationMs(batch.duration) === undefined) {
    badRequest('batchNotify duration (dur) must be like PT5S or a count of milliseconds');
  }
}

/**
 * Verification of every notification target that is not the creator itself (TS-0001 10.2.10.3): 4101 and 5205 of the
 * target are passed on, any other failure is 5204.
 */
export async function verifyTargets(
  core: CseCore,
  delivery: Delivery,
  incoming: IncomingRequest,
  targets: readonly string[],
  subscriptionReference: string,
): Promise<void> {
  const foreign = targets.filter((target) => !isSameEntity(core, target, incoming.originator));
  const { cseId } = core.settings;
  for (const target of foreign) {
    const response = await delivery.toNotificationTarget(target, {
      operation: Operation.notify,
      to: target,
      from: cseId,
      requestIdentifier: randomHex(core.entropy, 6),
      releaseVersionIndicator: '4',
      primitiveContent: {
        notification: {
          verificationRequest: true,
          subscriptionReference,
          creator: incoming.originator,
        },
      },
    });
    const code = response.responseStatusCode;
    if (isSuccess(code)) continue;
    const passesOn =
      code === ResponseStatusCode.subscriptionCreatorHasNoPrivilege ||
      code === ResponseStatusCode.subscriptionHostHasNoPrivilege;
    const said = response.primitiveContent?.debugInfo ?? 'no reason given';
    refuse(
      passesOn ? code : ResponseStatusCode.subscriptionVerificationInitiationFailed,
      `verification of ${target} was answered ${code}: ${said}`,
    );
  }
}

/** Milliseconds of an XML duration `PT5S` or of a plain count of milliseconds; undefined when it is neither. */
export function durationMs(value: unknown): number | undefined {
  if (typeof value === 'number') return value > 0 ? value : undefined;
  if (typeof value !== 'string') return undefined;
  if (/^\d{1,10}$/u.test(value)) return Number(value);
  const match = /^P(?:(\d{1,4})D)?(?:T(?:(\d{1,5})H)?(?:(\d{1,6})M)?(?:(\d{1,7}(?:\.\d{1,3})?)S)?)?$/u.exec(
    value,
  );
  if (match === null || value.endsWith('P') || value.endsWith('T')) return undefined;
  const [, days = '0', hours = '0', minutes = '0', seconds = '0'] = match;
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60_000 + Number(seconds) * 1000;
}

function checkCriteria(value: unknown): void {
  if (value === undefined || value === null) return;
  for (const name of Object.keys(value)) {
    if (!(knownCriteria as readonly string[]).includes(name)) {
      badRequest(`eventNotificationCriteria (enc): ${name} is not supported; ${knownCriteria.join(', ')}`);
    }
  }
  const criteria = value as EventNotificationCriteria;
  for (const list of [criteria.notificationEventType, criteria.attribute, criteria.childResourceType]) {
    if (list !== undefined && !Array.isArray(list))
      badRequest('eventNotificationCriteria (enc) holds lists only');
  }
  for (const event of criteria.notificationEventType ?? []) {
    if (!knownEvents.includes(event)) {
      badRequest(`notificationEventType (net) ${event} is not supported; ${knownEvents.join(', ')}`);
    }
  }
}
