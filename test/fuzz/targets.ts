import { atTarget } from './at-target.ts';
import { cborTarget } from './cbor-target.ts';
import { coapTarget } from './coap-target.ts';
import { mqttTarget } from './mqtt-target.ts';
import { notifyTarget } from './notify-target.ts';
import type { Target } from './target.ts';

/** All targets. */
export const targets: readonly Target[] = [coapTarget, cborTarget, mqttTarget, notifyTarget, atTarget];
