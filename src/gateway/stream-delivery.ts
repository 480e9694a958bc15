import { millis } from '../base/units.ts';
import type { StreamDelivery } from '../uplink/lane-options.ts';
import type { StreamConfig } from './config.ts';

/** What the buffer waits for company of a class B reading unless told otherwise, in ms. */
const lingerMsDefault = 100;
/** What a flush may take beyond that, in ms: a slower one merely lets a later reading miss its batch. */
const flushMs = 50;

/** How a configured stream is delivered. */
export function deliveryOf(stream: StreamConfig): StreamDelivery {
  const { order, batch, unit, class: durability, lingerMs = lingerMsDefault } = stream;
  const lateMs = millis((durability === 'A' ? 0 : lingerMs) + flushMs);
  return {
    order,
    ...(batch === undefined ? {} : { batch: { ...batch, lateMs } }),
    ...(unit === undefined ? {} : { unit }),
  };
}
