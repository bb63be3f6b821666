import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ConfigError, type ConfigViolation } from "./errors.js";
import { type Step, stepsOf, writePath } from "./paths.js";
import { UnitError } from "./units.js";

/** The config of a node that declares no schema: any JSON object. */
export type AnyConfig = Record<string, unknown>;

/** Validates the config of a node. Throws `ConfigError` with a violation per field, all that are found at once. */
export async function readConfig(json: Uint8Array, schema: StandardSchemaV1 | undefined): Promise<unknown> {
  const raw = parseObject(json);
  if (schema === undefined) return raw;
  const unknown = unknownKeys(raw, jsonSchemaOf(schema));
  const result = await validate(raw, schema);
  const invalid = (result.issues ?? []).flatMap(toViolations);
  const known = new Set(unknown.map(({ field }) => field));
  const violations = [...unknown, ...invalid.filter(({ field }) => !known.has(field))];
  if (violations.length > 0) throw new ConfigError(violations);
  return (result as StandardSchemaV1.SuccessResult<unknown>).value;
}

async function validate(raw: AnyConfig, schema: StandardSchemaV1): Promise<StandardSchemaV1.Result<unknown>> {
  try {
    return await schema["~standard"].validate(raw);
  } catch (error) {
    if (!(error instanceof UnitError)) throw error;
    const { text, message } = error;
    const found = [...leaves(raw)].filter(([, value]) => value === text);
    return { issues: found.length === 0 ? [{ message }] : found.map(([path]) => ({ message, path })) };
  }
}

function* leaves(value: unknown, path: readonly Step[] = []): Iterable<[Step[], unknown]> {
  if (typeof value !== "object" || value === null) yield [[...path], value];
  else if (Array.isArray(value)) for (const [i, inner] of value.entries()) yield* leaves(inner, [...path, i]);
  else for (const [key, inner] of Object.entries(value)) yield* leaves(inner, [...path, key]);
}

function toViolations(issue: StandardSchemaV1.Issue): ConfigViolation[] {
  const steps = stepsOf(issue);
  // zod tells all unknown keys of one object in one issue, which stands at the object.
  const { code, keys } = issue as { code?: unknown; keys?: unknown };
  if (code === "unrecognized_keys" && Array.isArray(keys)) {
    return keys.map((key) => ({ field: writePath([...steps, String(key)]), message: "unknown key" }));
  }
  return [{ field: writePath(steps), message: issue.message }];
}

function parseObject(json: Uint8Array): AnyConfig {
  if (json.byteLength === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (cause) {
    throw new ConfigError(`the config is not UTF-8 JSON: ${(cause as Error).message}`);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as AnyConfig;
  const what = Array.isArray(value) ? "an array" : value === null ? "null" : typeof value;
  throw new ConfigError(`the config must be a JSON object, not ${what}`);
}

/** What the SDK reads of a JSON Schema. */
interface JsonSchema {
  readonly properties?: Record<string, JsonSchema>;
  readonly additionalProperties?: unknown;
  readonly items?: unknown;
}

/** JSON Schema of the config as its author writes it; undefined when the schema library cannot say (StandardJSONSchemaV1). */
export function jsonSchemaOf(schema: StandardSchemaV1 | undefined): JsonSchema | undefined {
  const standard = schema?.["~standard"] as
    { jsonSchema?: { input(options: { target: string }): Record<string, unknown> } } | undefined;
  try {
    return standard?.jsonSchema?.input({ target: "draft-07" });
  } catch {
    // Some schemas (a bigint, a custom check) have no JSON Schema form; they still validate.
    return undefined;
  }
}

/** Many schema libraries drop unknown keys in silence; a typing mistake in a pipeline file must not vanish. */
function unknownKeys(value: unknown, schema: JsonSchema | undefined, path: readonly Step[] = []): ConfigViolation[] {
  if (typeof value !== "object" || value === null || typeof schema !== "object") return [];
  if (Array.isArray(value)) {
    const items = Array.isArray(schema.items) ? undefined : (schema.items as JsonSchema | undefined);
    return value.flatMap((inner, i) => unknownKeys(inner, items, [...path, i]));
  }
  const { properties, additionalProperties } = schema;
  if (properties === undefined) return [];
  const open = additionalProperties !== undefined && additionalProperties !== false;
  const known = Object.keys(properties).join(", ") || "none";
  return Object.entries(value).flatMap(([key, inner]) => {
    if (Object.hasOwn(properties, key)) return unknownKeys(inner, properties[key], [...path, key]);
    return open ? [] : [{ field: writePath([...path, key]), message: `unknown key; known: ${known}` }];
  });
}
