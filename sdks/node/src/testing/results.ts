import type { ExtensionValue } from "../columns/extensions.js";
import type { TestSpan } from "./spans.js";

/** One output. */
export interface TestOutput {
  /** Index of the input; -1: from the whole batch, or from a source. */
  readonly parent: number;
  /** The payload as JSON; bytes when its media type is not JSON, or it is none after all. */
  readonly value: unknown;
  /** The payload's bytes. */
  readonly data: Buffer;
  /** Media type. */
  readonly contentType: string | undefined;
  /** Ordering key. */
  readonly key: string | undefined;
  /** The route it takes; undefined: the default one. */
  readonly route: string | undefined;
  /** CloudEvents `type`. */
  readonly type: string | undefined;
  /** CloudEvents `subject`. */
  readonly subject: string | undefined;
  /** CloudEvents `id`. */
  readonly id: string | undefined;
  /** CloudEvents `dataschema`. */
  readonly dataSchema: string | undefined;
  /** Nanoseconds since the Unix epoch. */
  readonly timeNs: bigint | undefined;
  /** Extension attributes, those of the input among them; null: removed. */
  readonly extensions: Record<string, ExtensionValue | null>;
}

/** One failure. */
export interface TestFailure {
  /** Index of the input; -1: a failure of the whole batch. */
  readonly input: number;
  /** Its code. */
  readonly reason: string;
  /** What went wrong, for a person. */
  readonly message: string;
  /** Retries: the delay asked for, milliseconds. */
  readonly afterMs: number | undefined;
  /** Attempt that failed. */
  readonly attempt: number;
}

/** What became of an input in the end: `output`, `drop`, or `reject REASON`, `retry REASON`. */
export type Verdict = "output" | "drop" | `reject ${string}` | `retry ${string}`;

/** What became of the events. */
export interface RunResult {
  /** Values of the outputs, in order of their inputs. */
  readonly values: unknown[];
  /** All outputs, in order of their inputs. */
  readonly outputs: TestOutput[];
  /** What became of each input. Of a sink, `drop` is delivered. */
  readonly verdicts: Verdict[];
  /** Indexes of inputs that ended on purpose with no output; for a sink: the delivered ones. */
  readonly dropped: number[];
  /** Inputs that became dead letters. */
  readonly rejected: TestFailure[];
  /** Every retry that was asked for, also those after which the input was tried again. */
  readonly retried: TestFailure[];
  /** With `redeliver`: what became of the second delivery. */
  readonly redelivered: RunResult | undefined;
  /** The spans that ended; without `spans` none. */
  readonly spans: readonly TestSpan[];
  /** Sources: the last checkpoint. */
  readonly checkpoint: unknown;
  /** Sources: whether it came to its end. */
  readonly exhausted: boolean;
}

/** All of it but for what belongs to the run rather than to a delivery. */
export type Delivered = Omit<RunResult, "spans" | "redelivered">;
