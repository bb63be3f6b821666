import type { StandardSchemaV1 } from "@standard-schema/spec";
import { ConfigError, type ConfigViolation } from "./errors.js";

/** The config of a node that declares no schema: any JSON object. */
export type AnyConfig = Record<string, unknown>;

/** Validates the config of a node. Throws `ConfigError` with a violation per field. */
export async function readConfig(json: Uint8Array, schema: StandardSchemaV1 | undefined): Promise<unknown> {
  const raw = parseObject(json);
  if (schema === undefined) return raw;
  refuseUnknownKeys(raw, schema);
  const result = await schema["~standard"].validate(raw);
  if (result.issues === undefined) return result.value;
  throw new ConfigError(
    result.issues.map((issue) => ({
      field: (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join("."),
      message: issue.message,
    })),
  );
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
  throw new ConfigError(`the config must be a JSON object, not ${Array.isArray(value) ? "an array" : typeof value}`);
}

interface ObjectSchema {
  readonly properties?: Record<string, unknown>;
  readonly additionalProperties?: unknown;
}

/** JSON Schema of the config as its author writes it; undefined when the schema library cannot say (StandardJSONSchemaV1). */
export function jsonSchemaOf(schema: StandardSchemaV1 | undefined): ObjectSchema | undefined {
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
function refuseUnknownKeys(raw: AnyConfig, schema: StandardSchemaV1): void {
  const json = jsonSchemaOf(schema);
  const open = json?.additionalProperties !== undefined && json.additionalProperties !== false;
  if (json?.properties === undefined || open) return;
  const known = Object.keys(json.properties);
  const violations: ConfigViolation[] = Object.keys(raw)
    .filter((key) => !known.includes(key))
    .map((key) => ({ field: key, message: `unknown key; known: ${known.join(", ") || "none"}` }));
  if (violations.length > 0) throw new ConfigError(violations);
}

const DURATION_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_BYTES: Record<string, number> = {
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Milliseconds of a duration written like `10s`, `1m30s`, `250ms`. Throws `ConfigError`. */
export function durationMs(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text) {
    throw new ConfigError(`${JSON.stringify(text)} is not a duration; write it like 10s, 1m30s or 250ms`);
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * DURATION_MS[unit!]!, 0);
}

/** Bytes of a size written like `64MiB`, `1.5GB` or `512`. Throws `ConfigError`. */
export function sizeBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const unit = SIZE_BYTES[match?.[2] === "" ? "B" : (match?.[2] ?? "")];
  if (match === null || unit === undefined) {
    throw new ConfigError(`${JSON.stringify(text)} is not a size; write it like 64MiB, 1.5GB or 512`);
  }
  return Math.floor(Number(match[1]) * unit);
}
