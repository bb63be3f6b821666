import { Batch } from "../columns/batch.js";
import { type ExtensionInput, type ExtensionValue, readOutputExtensions } from "../columns/extensions.js";
import { MAX_EVENT_BYTES, NONE, WHOLE } from "../columns/limits.js";
import { StringsColumn } from "../columns/strings.js";
import { asBuffer, readU32, ValuesColumn } from "../columns/values.js";
import {
  FailureAction,
  Ordering,
  type Outputs,
  ProcessRequest,
  ProcessResponse,
  type WorkResult,
} from "../gen/meshloom/v1/process.js";
import { ProduceRequest, ProduceResponse } from "../gen/meshloom/v1/produce.js";
import { Instances } from "../instances.js";
import type { Node } from "../node.js";
import { fromDuration } from "../process/verdicts.js";
import { ProcessSession } from "../process/session.js";
import { ProduceSession } from "../produce/session.js";
import { CallTable } from "../transport/calls.js";
import { PROTOCOL } from "../version.js";
import { type Prepared, prepare, toBatch } from "./batches.js";
import { recordSpans, type TestSpan } from "./spans.js";
import { MemoryWire } from "./wire.js";

/** Attributes that a test may give an input, by `output(value, { key })`. */
export interface TestEvent {
  key?: string;
  type?: string;
  subject?: string;
  id?: string;
  source?: string;
  from?: string;
  dataSchema?: string;
  contentType?: string;
  time?: Date | bigint | null;
  extensions?: Record<string, ExtensionInput>;
}

/** How to run. */
export interface RunOptions {
  /** The node's config, as in a pipeline file. */
  config?: Record<string, unknown>;
  /** Try inputs again that asked for a retry, up to this many attempts each. Default 1: no. */
  redeliver?: number | boolean;
  /** Events per batch; default: all in one. */
  splits?: number;
  /** Time for one handler call, milliseconds; at its end the call's signal aborts. */
  timeoutMs?: number;
  /** Keep the events of one key in order. */
  ordered?: boolean;
  /** Trace every event and tell the spans. The process must have no OpenTelemetry of its own. */
  spans?: boolean;
  /** Sources: the checkpoint to go on from. */
  checkpoint?: unknown;
  /** Sources: stop after this many events. */
  limit?: number;
}

/** One output. */
export interface TestOutput {
  /** Index of the input; -1: from the whole batch, or from a source. */
  readonly parent: number;
  /** The payload as JSON; bytes when its media type is not JSON. */
  readonly value: unknown;
  readonly data: Buffer;
  readonly contentType: string | undefined;
  readonly key: string | undefined;
  readonly route: string | undefined;
  readonly type: string | undefined;
  readonly subject: string | undefined;
  readonly id: string | undefined;
  readonly extensions: Record<string, ExtensionValue | null>;
}

/** One failure. */
export interface TestFailure {
  /** Index of the input; -1: a failure of the whole batch. */
  readonly input: number;
  readonly reason: string;
  readonly message: string;
  /** Retries: the delay asked for, milliseconds. */
  readonly afterMs: number | undefined;
  /** Attempt that failed. */
  readonly attempt: number;
}

/** What became of the events. */
export interface RunResult {
  /** Values of the outputs, in order of their inputs. */
  readonly values: unknown[];
  readonly outputs: TestOutput[];
  /** Indexes of inputs that ended on purpose with no output; for a sink: the delivered ones. */
  readonly dropped: number[];
  readonly rejected: TestFailure[];
  /** Every retry that was asked for, also those that were redelivered. */
  readonly retried: TestFailure[];
  /** With `spans`: the spans that ended. */
  readonly spans: readonly TestSpan[];
  /** Sources: the last checkpoint. */
  readonly checkpoint: unknown;
  /** Sources: whether it came to its end. */
  readonly exhausted: boolean;
}

/** Runs a node on inputs: JSON values, bytes, or `output(value, { key, ... })` for attributes. Throws if it cannot start. */
export async function run(node: Node, inputs: readonly unknown[] = [], options: RunOptions = {}): Promise<RunResult> {
  const instances = new Instances();
  const recorder = options.spans === true ? await recordSpans() : undefined;
  try {
    const result =
      node.definition.role === "source"
        ? await runSource(node, options, instances)
        : await runTransform(node, inputs, options, instances);
    return { ...result, spans: recorder?.finished() ?? [] };
  } finally {
    await instances.close();
  }
}

type Untraced = Omit<RunResult, "spans">;

const opening = (node: Node, options: RunOptions) => ({
  protocol: PROTOCOL,
  pipeline: "test",
  node: node.name,
  handler: node.name,
  replica: { index: 0, of: 1 },
  capabilities: [],
  configJson: Buffer.from(JSON.stringify(options.config ?? {})),
});

async function runTransform(
  node: Node,
  inputs: readonly unknown[],
  options: RunOptions,
  instances: Instances,
): Promise<Untraced> {
  const wire = new MemoryWire();
  const session = new ProcessSession(wire, [node.definition], instances, new CallTable(), () => undefined);
  const send = (request: ProcessRequest["request"]): void =>
    session.receive(asBuffer(ProcessRequest.encode({ request }).finish()));
  const ordering = options.ordered === true ? Ordering.ORDERING_KEY : Ordering.ORDERING_NONE;
  send({ $case: "open", value: { ...opening(node, options), ordering, concurrency: 0 } });
  await wire.next();
  const books = new Books();
  const attempts = options.redeliver === true ? 10 : options.redeliver || 1;
  const seconds = options.timeoutMs === undefined ? undefined : Math.floor(options.timeoutMs / 1000);
  const timeout =
    seconds === undefined
      ? undefined
      : { seconds: BigInt(seconds), nanos: Math.round((options.timeoutMs! % 1000) * 1e6) };
  let sequence = 0n;
  let left: readonly Indexed[] = inputs.map((input, index) => ({ index, event: prepare(input, index) }));
  for (let attempt = 1; left.length > 0 && attempt <= attempts; attempt++) {
    const again: Indexed[] = [];
    for (const part of split(left, options.splits ?? left.length)) {
      const prepared = part.map(({ event }) => event);
      const work = { sequence: ++sequence, timeout, ...toBatch(prepared, options.spans === true) };
      send({ $case: "work", value: work });
      again.push(...(await books.settle(wire, part, new Batch(work.batch, work.attempts))));
    }
    left = again.sort((a, b) => a.index - b.index);
    for (const { event } of left) event.attempt++;
  }
  session.halfClosed();
  return books.result();
}

interface Indexed {
  readonly index: number;
  readonly event: Prepared;
}

function* split<T>(items: readonly T[], size: number): Iterable<readonly T[]> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}

/** Collects what became of the inputs. */
class Books {
  private readonly outputs: TestOutput[] = [];
  private readonly dropped: number[] = [];
  private readonly rejected: TestFailure[] = [];
  private readonly retried: TestFailure[] = [];

  /** Reads the answers to one work; returns the inputs that asked for a retry. */
  async settle(wire: MemoryWire, part: readonly Indexed[], batch: Batch): Promise<Indexed[]> {
    const open = new Set(part.keys());
    const again: Indexed[] = [];
    for (let last = false; !last;) {
      const message = await wire.next();
      if (message === undefined) throw new Error("the node ended the stream");
      const { response } = ProcessResponse.decode(asBuffer(message));
      if (response?.$case !== "result") continue;
      ({ last } = response.value);
      for (const output of readOutputs(response.value, batch)) {
        open.delete(output.parent);
        this.outputs.push({ ...output, parent: output.parent === WHOLE ? -1 : part[output.parent]!.index });
      }
      this.fail(response.value, part, open, again);
    }
    for (const row of open) this.dropped.push(part[row]!.index);
    return again;
  }

  private fail(result: WorkResult, part: readonly Indexed[], open: Set<number>, again: Indexed[]): void {
    for (const { index: row, action, reason, message, retryAfter } of result.failures) {
      const whole = row === WHOLE;
      const failed = whole ? part : [part[row]!];
      const attempt = failed[0]!.event.attempt;
      const rejects = action === FailureAction.FAILURE_ACTION_REJECT;
      const input = whole ? -1 : failed[0]!.index;
      const afterMs = fromDuration(retryAfter);
      (rejects ? this.rejected : this.retried).push({ input, reason, message, afterMs, attempt });
      if (!rejects) again.push(...failed);
      if (whole) open.clear();
      else open.delete(row);
    }
  }

  result(): Untraced {
    const outputs = this.outputs.sort((a, b) => a.parent - b.parent);
    return {
      values: outputs.map((output) => output.value),
      outputs,
      dropped: this.dropped.sort((a, b) => a - b),
      rejected: this.rejected,
      retried: this.retried,
      checkpoint: undefined,
      exhausted: false,
    };
  }
}

function readOutputs({ outputs }: WorkResult, batch: Batch): TestOutput[] {
  if (outputs === undefined) return [];
  const { count } = outputs;
  const parents =
    outputs.parent.byteLength === 0 ? Uint32Array.from({ length: count }, (_, i) => i) : readU32(outputs.parent);
  const payload = outputs.payload && ValuesColumn.read(outputs.payload, "payload", MAX_EVENT_BYTES, count);
  const text = (name: "contentType" | "type" | "subject" | "key" | "id" | "route") => {
    const column = StringsColumn.read(outputs[name], name, count);
    return (row: number, parent: string | undefined): string | undefined => {
      const own = column?.at(row);
      return own === undefined ? parent : own === "" ? undefined : own;
    };
  };
  const [contentType, type, subject, key, id, route] = [
    text("contentType"),
    text("type"),
    text("subject"),
    text("key"),
    text("id"),
    text("route"),
  ];
  return Array.from(parents, (parent, row) => {
    const from = parent === NONE ? undefined : batch.event(parent);
    const data = payload?.bytes(row) ?? from?.data ?? Buffer.alloc(0);
    const media = contentType(row, from?.contentType);
    return {
      parent,
      data,
      value: toValue(data, media),
      contentType: media,
      key: key(row, from?.key),
      route: route(row, undefined),
      type: type(row, from?.type),
      subject: subject(row, from?.subject),
      id: id(row, from?.id),
      extensions: { ...from?.extensions, ...outputExtensions(outputs, row) },
    };
  });
}

const outputExtensions = (outputs: Outputs, row: number): Record<string, ExtensionValue | null> =>
  readOutputExtensions(outputs.extensions, outputs.count, row);

const toValue = (data: Buffer, contentType: string | undefined): unknown =>
  contentType !== undefined && /[/+]json\b/.test(contentType) ? JSON.parse(data.toString()) : data;

async function runSource(node: Node, options: RunOptions, instances: Instances): Promise<Untraced> {
  const wire = new MemoryWire();
  const session = new ProduceSession(wire, [node.definition], instances, () => undefined);
  const send = (request: ProduceRequest["request"]): void =>
    session.receive(asBuffer(ProduceRequest.encode({ request }).finish()));
  const checkpoint = options.checkpoint === undefined ? undefined : Buffer.from(JSON.stringify(options.checkpoint));
  const limit = options.limit ?? Infinity;
  send({
    $case: "open",
    value: {
      ...opening(node, options),
      checkpoint,
      trace: { rule: { $case: "ratio", value: options.spans === true ? 1 : 0 } },
    },
  });
  send({ $case: "demand", value: { events: BigInt(Math.min(limit, 1e12)), bytes: 1n << 50n } });
  const outputs: TestOutput[] = [];
  let [last, exhausted] = [options.checkpoint, false];
  for (let message = await wire.next(); message !== undefined; message = await wire.next()) {
    const { response } = ProduceResponse.decode(asBuffer(message));
    if (response?.$case === "exhausted") exhausted = true;
    if (response?.$case !== "produced") continue;
    const wireBatch = response.value.batch!;
    const batch = new Batch({ ...wireBatch, uid: Buffer.alloc(wireBatch.count * 16) }, Buffer.alloc(0));
    for (const event of batch) outputs.push(fromEvent(event));
    if (response.value.checkpoint !== undefined) last = JSON.parse(Buffer.from(response.value.checkpoint).toString());
    send({ $case: "settled", value: { sequence: response.value.sequence, checkpoint: response.value.checkpoint } });
    if (outputs.length >= limit) send({ $case: "stop", value: {} });
  }
  const values = outputs.map((output) => output.value);
  return { values, outputs, dropped: [], rejected: [], retried: [], checkpoint: last, exhausted };
}

function fromEvent(event: ReturnType<Batch["event"]>): TestOutput {
  const { data, contentType, key, type, subject, id, extensions } = event;
  return {
    parent: -1,
    data,
    value: toValue(data, contentType),
    contentType,
    key,
    route: undefined,
    type,
    subject,
    id,
    extensions,
  };
}
