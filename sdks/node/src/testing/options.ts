import type { ExtensionInput } from "../columns/extensions.js";

/** Attributes that a test may give an input, by `output(value, { key })`. */
export interface TestEvent {
  /** Ordering key. */
  key?: string;
  /** CloudEvents `type`. */
  type?: string;
  /** CloudEvents `subject`. */
  subject?: string;
  /** CloudEvents `id`. */
  id?: string;
  /** CloudEvents `source`. */
  source?: string;
  /** The upstream, when the node has several. */
  from?: string;
  /** CloudEvents `dataschema`. */
  dataSchema?: string;
  /** Media type; by default application/json, for bytes application/octet-stream. */
  contentType?: string;
  /** Time of occurrence: a Date, or nanoseconds since the Unix epoch. */
  time?: Date | bigint | null;
  /** Extension attributes. */
  extensions?: Record<string, ExtensionInput>;
}

/** How to run. */
export interface RunOptions {
  /** The node's config, as in a pipeline file. */
  config?: Record<string, unknown>;
  /** How often an input is tried at most while it asks for a retry. Default 1: a retry is where it ends. */
  attempts?: number;
  /**
   * Delivers every input once more when all are answered, under the same uid and as the next attempt, as after a lost
   * connection. What comes of it is `redelivered` of the result. Default false.
   */
  redeliver?: boolean;
  /**
   * Into how many batches the inputs are cut, or `"random"`: batches of random sizes, by a seed that is written to standard
   * error. Default 1.
   */
  splits?: number | "random";
  /** Seed of random splits, 0 to 2^32 - 1, to have the same ones again. Default: another one each time. */
  seed?: number;
  /** Time for one handler call, milliseconds; a call beyond it is stopped and is a retry with the reason TIMEOUT. */
  timeoutMs?: number;
  /** When it aborts, the batch in hand and those to come are taken back, as a coordinator does when it stops. */
  signal?: AbortSignal;
  /** Keep the events of one key in order. */
  ordered?: boolean;
  /** Trace every event and tell the spans. The process must have no OpenTelemetry of its own. */
  spans?: boolean;
  /** Sources: the checkpoint to go on from. */
  checkpoint?: unknown;
  /** Sources: stop after this many events. */
  limit?: number;
  /** Sources: whether what comes settles at once. Default true; false: as when everything hangs behind it. */
  settle?: boolean;
}
