/** A duration or size that is written in no way that we know. Names the text; who reads a config finds its field. */
export class UnitError extends RangeError {
  override readonly name = "UnitError";

  constructor(
    /** What was written. */
    readonly text: string,
    message: string,
  ) {
    super(message);
  }
}

/**
 * What a schema library hands to a transformation beside the value. Those of zod take issues; to others a mistake is
 * thrown.
 */
interface Refinement {
  addIssue(issue: { code: "custom"; message: string }): void;
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

/**
 * Milliseconds of a duration written like `10s`, `1m30s`, `250ms`: `z.string().transform(durationMs)`. Throws RangeError,
 * which the config's author reads with the field's name.
 */
export function durationMs(text: string, context?: unknown): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join("") !== text) {
    return refuse(text, "a duration; write it like 10s, 1m30s or 250ms", context);
  }
  return parts.reduce((sum, [, number, unit]) => sum + Number(number) * DURATION_MS[unit!]!, 0);
}

/** Bytes of a size written like `64MiB`, `1.5GB` or `512`: `z.string().transform(sizeBytes)`. Throws RangeError likewise. */
export function sizeBytes(text: string, context?: unknown): number {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const unit = SIZE_BYTES[match?.[2] === "" ? "B" : (match?.[2] ?? "")];
  if (match === null || unit === undefined) {
    return refuse(text, "a size; write it like 64MiB, 1.5GB or 512", context);
  }
  return Math.floor(Number(match[1]) * unit);
}

function refuse(text: string, expected: string, context: unknown): number {
  const message = `${JSON.stringify(text)} is not ${expected}`;
  if (!takesIssues(context)) throw new UnitError(text, message);
  context.addIssue({ code: "custom", message });
  return Number.NaN;
}

const takesIssues = (context: unknown): context is Refinement =>
  typeof (context as Partial<Refinement> | undefined)?.addIssue === "function";
