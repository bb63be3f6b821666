import type { StandardSchemaV1 } from "@standard-schema/spec";

/** One step into a value: a key of an object, or an index of an array. */
export type Step = string | number;

/** The steps of a Standard Schema issue. */
export const stepsOf = (issue: StandardSchemaV1.Issue): Step[] =>
  (issue.path ?? []).map((part) => {
    const key = typeof part === "object" ? part.key : part;
    return typeof key === "number" ? key : String(key);
  });

/** A path as people write it: `limits.rate`, `sensors[2]`; empty for the value itself. */
export const writePath = (steps: readonly Step[]): string =>
  steps.map((step, i) => (typeof step === "number" ? `[${step}]` : i === 0 ? step : `.${step}`)).join("");
