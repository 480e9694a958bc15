import * as v from 'valibot';
import { parsePointOfAccess } from '../onem2m/address.ts';
import type { PointOfAccess } from '../onem2m/address.ts';
import type { BrokerConfig, MqttConfig, PskConfig, SecurityConfig, TlsConfig } from './config.ts';
import { note, path, text, whole } from './config-keys.ts';

/** The keys by which MQTT brokers and their credentials are configured; parts of the table in config-schema.ts. */

type Key<Out> = v.GenericSchema<Out, Out>;

/**
 * A point of access of one of these schemes; only those of MQTT may have a path, which prefixes the topics. A user name in it
 * would be told to every CSE, so it has no place there.
 */
export const pointOfAccess = (
  schemes: readonly PointOfAccess['scheme'][],
  example: string,
  meaning: string,
): v.GenericSchema<string, string> =>
  v.pipe(
    v.string(),
    v.check((value) => {
      const parsed = parsePointOfAccess(value);
      if (parsed === undefined || !schemes.includes(parsed.scheme) || /[#?@]/u.test(value)) return false;
      const isMqtt = parsed.scheme.startsWith('mqtt');
      return (
        /^[A-Za-z0-9.:-]{1,253}$/u.test(parsed.host) &&
        (parsed.path === '' || (isMqtt && /^[^+#\p{C}\s]{1,255}$/u.test(parsed.path)))
      );
    }),
    note<string>({
      expected: `a point of access, ${schemes.map((scheme) => `${scheme}://HOST:PORT`).join(' or ')}`,
      meaning,
      example,
    }),
  );

const tlsKeys: Key<TlsConfig> = v.strictObject({
  caFile: v.exactOptional(
    path(
      'pki/ca.pem',
      'Certificates (PEM) of the authorities that sign for brokers; those of the system when absent.',
    ),
  ),
  certFile: v.exactOptional(
    path('pki/gw1.pem', 'Certificate (PEM) of this gateway, with its chain, for brokers that want one.'),
  ),
  keyFile: v.exactOptional(path('pki/gw1.key', 'Its private key (PEM, no passphrase).')),
});

const pskKeys: Key<PskConfig> = v.strictObject({
  host: v.exactOptional(
    text(
      /^[A-Za-z0-9.:-]{1,253}$/u,
      'a host name or an address',
      '192.0.2.1',
      'Host of the CSEs that know the key, as their points of access write it; every other host when absent.',
    ),
  ),
  identity: text(
    /^[\x21-\x7e]{1,128}$/u,
    '1 to 128 ASCII characters without spaces',
    'gw1',
    'Identity that belongs to the key (RFC 4279): how this gateway names itself, and how CSEs do that call it.',
  ),
  keyFile: path(
    'secrets/mn1.psk',
    'File that holds the key, 16 to 128 hexadecimal digits, and nothing else; nobody else may read it.',
  ),
});

/** `security`: what every connection may need. */
export const securityKeys: Key<SecurityConfig> = v.strictObject({
  psk: v.exactOptional(
    v.pipe(
      v.array(pskKeys),
      v.maxLength(64),
      note({
        expected: 'a list of at most 64 keys',
        meaning: 'Pre-shared keys for CSEs at coaps points of access.',
        example: '- { host: 192.0.2.1, identity: gw1, keyFile: secrets/mn1.psk }',
      }),
    ),
  ),
  tls: v.exactOptional(tlsKeys),
});

const username = text(
  /^[^\p{C}]{1,255}$/u,
  '1 to 255 printable characters',
  'gw1',
  'User name at the broker.',
);
const passwordFile = path(
  'secrets/broker.password',
  'File that holds the password for the user name, and nothing else.',
);

const brokerKeys: Key<BrokerConfig> = v.strictObject({
  url: v.pipe(
    pointOfAccess(
      ['mqtt', 'mqtts'],
      'mqtts://broker.example:8883',
      'The broker that the keys beside this are for.',
    ),
  ),
  advertise: v.exactOptional(
    pointOfAccess(
      ['mqtt', 'mqtts'],
      'mqtt://10.0.0.5:1883',
      'The same broker as CSEs reach it, told to them as our point of access, where that differs.',
    ),
  ),
  serverName: v.exactOptional(
    text(
      /^[A-Za-z0-9.:-]{1,253}$/u,
      'a host name or an address',
      'broker.example',
      'Name that the certificate of the broker must carry; the host of the url when absent.',
    ),
  ),
  username: v.exactOptional(username),
  passwordFile: v.exactOptional(passwordFile),
  tls: v.exactOptional(tlsKeys),
});

/** `mqtt` as it is written. */
export interface MqttInput {
  readonly keepaliveS?: number | undefined;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly brokers?: BrokerConfig[] | undefined;
}

/** `mqtt`: how brokers are used. */
export const mqttKeys: v.GenericSchema<MqttInput, MqttConfig> = v.strictObject({
  keepaliveS: v.optional(
    whole({
      meaning:
        'Silence after which a broker is asked for a sign of life; requests notice a dead link sooner.',
      min: 5,
      max: 3600,
      example: 30,
      unit: 's',
    }),
    30,
  ),
  username: v.exactOptional(username),
  passwordFile: v.exactOptional(passwordFile),
  brokers: v.optional(
    v.pipe(
      v.array(brokerKeys),
      v.maxLength(16),
      note({
        expected: 'a list of at most 16 brokers',
        meaning: 'What is otherwise at single brokers.',
        example: '- url: mqtts://broker.example:8883',
      }),
    ),
    [],
  ),
});
