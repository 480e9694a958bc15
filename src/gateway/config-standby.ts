import * as v from 'valibot';
import type { StandbyConfig } from './config.ts';
import { duration, flag, octets, whole } from './config-keys.ts';

const mebibyte = 1024 * 1024;

/** Keys of the warm standby (warm-standby.ts). */
export const standbyKeys: v.GenericSchema<unknown, StandbyConfig> = v.strictObject({
  enabled: flag(
    false,
    'Whether the bundle is prepared ahead at the best alternative, so that a handover to it costs the claim and the switch only.',
  ),
  holdMs: duration(
    0,
    3_600_000,
    10_000,
    'How long without a break a CSE has to be the best alternative before it is prepared.',
  ),
  refreshMs: duration(
    5000,
    3_600_000,
    60_000,
    'Time between two proofs that the standby works; one that was proved longer ago than twice this is not used as such.',
  ),
  requestsPerHour: v.optional(
    whole({
      meaning: 'Requests that keeping the standby may take in an hour; what would exceed it is put off.',
      ...{ min: 10, max: 1_000_000, example: 1200, unit: '' },
    }),
    1200,
  ),
  bytesPerHour: octets(
    10_000,
    1024 * mebibyte,
    mebibyte,
    'Octets that it may take in an hour, counted without the headers of the transport.',
  ),
});
