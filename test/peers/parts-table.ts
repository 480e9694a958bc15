// The kinds of real peers, in the order in which they are run.
import { dtlsPart } from './dtls.ts';
import { libcoapPart } from './libcoap.ts';
import { mosquittoPart } from './mosquitto.ts';
import { nodeCoapPart } from './node-coap.ts';
import type { PeerPart } from './peer-bench.ts';

export const parts: readonly PeerPart[] = [libcoapPart, dtlsPart, nodeCoapPart, mosquittoPart];
