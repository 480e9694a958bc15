import { didYouMean } from '../../base/text.ts';
import { AccessControlOperations } from '../../onem2m/enums.ts';
import { attributeNames } from '../../onem2m/names.ts';
import { parseTimestamp } from '../../onem2m/primitives.ts';
import type { PrimitiveContent } from '../../onem2m/resources.ts';
import type { AttributePolicy, TypePolicy, ValueKind } from './attribute-table.ts';
import { badRequest } from './refusal.ts';
import type { Attributes } from './resource-tree.ts';

/** The root element of a CREATE or UPDATE body with its attributes; refuses a body that does not fit the type. */
export function rootOf(
  content: PrimitiveContent | undefined,
  policy: TypePolicy,
): { root: string; attributes: Attributes } {
  const entries = Object.entries(content ?? {});
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) {
    return badRequest(`the body must have exactly one root element, not ${entries.length}`);
  }
  const [root, attributes] = entry;
  if (policy.root !== undefined && root !== policy.root) {
    return badRequest(`root element ${root} does not fit the resource type; ${policy.root} is expected`);
  }
  if (typeof attributes !== 'object' || attributes === null || Array.isArray(attributes)) {
    return badRequest(`root element ${root} must be an object`);
  }
  return { root, attributes: { ...(attributes as Attributes) } };
}

/** Refuses attributes that a CREATE of this type must not carry, misses, or carries with a value of the wrong kind. */
export function checkCreate(policy: TypePolicy, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const rule = policyOf(policy, name);
    if (rule === undefined) continue;
    if (rule.onCreate === 'forbidden')
      badRequest(`${shown(name)} is set by the CSE and must not be in CREATE`);
    if (value === null && rule.kind !== 'creator')
      badRequest(`${shown(name)}: null has no meaning in CREATE`);
    checkValue(name, rule.kind, value);
  }
  for (const [name, rule] of Object.entries(policy.attributes)) {
    if (rule.onCreate === 'mandatory' && attributes[name] === undefined) {
      badRequest(`${shown(name)} is mandatory in CREATE and missing`);
    }
  }
}

/** Refuses attributes that an UPDATE of this type must not carry; `null` removes an optional attribute. */
export function checkUpdate(policy: TypePolicy, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    const rule = policyOf(policy, name);
    if (rule === undefined) continue;
    if (rule.onUpdate === 'forbidden') badRequest(`${shown(name)} cannot be changed by UPDATE`);
    if (value === null) {
      if (rule.onCreate === 'mandatory') badRequest(`${shown(name)} is mandatory and cannot be removed`);
    } else {
      checkValue(name, rule.kind, value);
    }
  }
}

function policyOf(policy: TypePolicy, name: string): AttributePolicy | undefined {
  const rule = Object.hasOwn(policy.attributes, name) ? policy.attributes[name] : undefined;
  if (rule !== undefined || policy.customAttributes === true) return rule;
  return badRequest(`unknown attribute ${shown(name)}; ${didYouMean(name, Object.keys(policy.attributes))}`);
}

function checkValue(name: string, kind: ValueKind, value: unknown): void {
  const wrong = problem(kind, value);
  if (wrong !== undefined) badRequest(`${shown(name)} ${wrong}`);
}

function problem(kind: ValueKind, value: unknown): string | undefined {
  switch (kind) {
    case 'text':
      return typeof value === 'string' ? undefined : 'must be text';
    case 'texts':
      return isList(value, (item) => typeof item === 'string') ? undefined : 'must be a list of texts';
    case 'uint':
      return isUint(value) ? undefined : 'must be a non-negative integer';
    case 'uints':
      return isList(value, isUint) ? undefined : 'must be a list of non-negative integers';
    case 'flag':
      return typeof value === 'boolean' ? undefined : 'must be true or false';
    case 'timestamp':
      return typeof value === 'string' && parseTimestamp(value) !== undefined
        ? undefined
        : 'must be a time YYYYMMDDTHHMMSS';
    case 'object':
      return isObject(value) ? undefined : 'must be an object';
    case 'rules':
      return rulesProblem(value);
    case 'creator':
      return value === null ? undefined : 'can only be null (the CSE fills it in)';
    case 'any':
      return undefined;
  }
}

/** TS-0004 7.4.2: an empty set is allowed; contexts and attribute limits are not enforced here, so not accepted. */
function rulesProblem(value: unknown): string | undefined {
  if (!isObject(value)) return 'must be an object with acr';
  const rules = value.accessControlRule ?? [];
  if (!Array.isArray(rules)) return 'must hold acr as a list';
  for (const rule of rules as unknown[]) {
    if (!isObject(rule)) return 'must hold acr as a list of objects';
    const { accessControlOriginators, accessControlOperations, ...rest } = rule;
    if (!isList(accessControlOriginators, (item) => typeof item === 'string')) return 'lacks acor in a rule';
    if (!isUint(accessControlOperations) || accessControlOperations > AccessControlOperations.all) {
      return 'lacks acop (0 to 63) in a rule';
    }
    const [extra] = Object.keys(rest);
    if (extra !== undefined) return `holds ${extra} in a rule, which this CSE does not enforce`;
  }
  return undefined;
}

function isUint(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isList(value: unknown, holds: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(holds);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An attribute as a reader of the specification knows it: long and short name. */
function shown(name: string): string {
  const short = attributeNames[name]?.[0];
  return short === undefined ? name : `${name} (${short})`;
}
