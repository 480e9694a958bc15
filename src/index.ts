/**
 * What other programs may build on: the gateway itself, the oneM2M client side, and the reader's side of the serving
 * record. Everything else is internal and may change with any version.
 */
export { Gateway } from './gateway/gateway.ts';
export type { GatewayOptions } from './gateway/gateway.ts';
export type { GatewayConfig } from './gateway/config.ts';
export { loadConfig, parseConfig } from './gateway/load-config.ts';
export type { GatewayEvent, GatewayStatus } from './gateway/status.ts';
export { ControlClient } from './gateway/control-client.ts';
export { createNodeHost } from './host/host.ts';
export type { Host } from './host/host.ts';
export { CseClient } from './onem2m/cse-client.ts';
export type { CseFailure, CseOutcome } from './onem2m/cse-client.ts';
export type { Binding, DeliveryError } from './onem2m/binding.ts';
export { announce, followLink } from './onem2m/announcement.ts';
export { createGroup, fanOut, updateMembers } from './onem2m/groups.ts';
export { NonBlockingResults, requestSynch } from './onem2m/non-blocking.ts';
export { PollingChannel } from './onem2m/polling-channel.ts';
export { SubscriptionVerifier } from './onem2m/subscriptions.ts';
export { CapabilityProbe } from './onem2m/capability-probe.ts';
export { readingsOf } from './uplink/batch-instance.ts';
export type { InstanceReading } from './uplink/batch-instance.ts';
export { CoapEndpoint } from './coap/endpoint.ts';
export { CoapBinding, serveRequests } from './coap/coap-binding.ts';
export { Observation } from './coap/observation.ts';
export type { ObservationFailure, ObservationOptions } from './coap/observation.ts';
export type { PeerFigures } from './coap/response-times.ts';
export { MqttBinding } from './mqtt/mqtt-binding.ts';
export { MqttSession } from './mqtt/mqtt-session.ts';
export { ServingRecord, decodeServingEntry } from './handover/serving-record.ts';
export type { ServingEntry, ServingLedger } from './handover/serving-record.ts';
export { ServingResolver } from './uplink/serving-resolver.ts';
export type { ReadingAnswer, ReadingPlace, ServingAnswer } from './uplink/serving-resolver.ts';
export { homeAeOf, provisionHomeAe } from './handover/home-ae.ts';
export { hostingFromAppInstance } from './mec/hosting.ts';
export { computeTrialKpis } from './trial/kpi.ts';
export { readFlightLog } from './trial/recorder.ts';
