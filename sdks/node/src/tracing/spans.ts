import {
  type Attributes,
  type Context as OtelContext,
  context,
  createTraceState,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { Batch, HopContext } from "../columns/batch.js";
import { type EventFailure, FailureAction } from "../gen/meshloom/v1/process.js";
import type { Scope } from "../process/scope.js";
import { VERSION } from "../version.js";
import { preciseNow } from "./clock.js";
import { Attr, MAX_LINKS, SCOPE, SYSTEM, type Verdict } from "./names.js";

const tracer = (): Tracer => trace.getTracer(SCOPE, VERSION);

/** The hop's context as a remote parent; the ambient span plays no part. */
function parentOf(hop: HopContext): OtelContext {
  return trace.setSpanContext(ROOT_CONTEXT, toSpanContext(hop));
}

function toSpanContext(hop: HopContext): SpanContext {
  return {
    traceId: hop.traceId,
    spanId: hop.spanId,
    traceFlags: hop.traceFlags,
    isRemote: true,
    ...(hop.traceState === "" ? {} : { traceState: createTraceState(hop.traceState) }),
  };
}

function common(scope: Scope): Attributes {
  return {
    [Attr.SYSTEM]: SYSTEM,
    [Attr.OPERATION_NAME]: "process",
    [Attr.OPERATION_TYPE]: "process",
    [Attr.DESTINATION]: scope.node,
    [Attr.CLIENT_ID]: scope.replica.name,
    [Attr.PIPELINE]: scope.pipeline,
  };
}

function ofEvent(batch: Batch, index: number): Attributes {
  const attributes: Attributes = {
    [Attr.MESSAGE_ID]: batch.uid(index),
    [Attr.ATTEMPT]: batch.attempt(index),
  };
  const id = batch.id(index);
  const source = batch.source(index);
  const type = batch.type(index);
  if (id !== undefined) attributes[Attr.EVENT_ID] = id;
  if (source !== undefined) attributes[Attr.EVENT_SOURCE] = source;
  if (type !== undefined) attributes[Attr.EVENT_TYPE] = type;
  return attributes;
}

/** `process NODE` of one sampled event, child of its hop. */
export function startProcess(scope: Scope, batch: Batch, index: number, hop: HopContext): Span {
  return tracer().startSpan(
    `process ${scope.node}`,
    { kind: SpanKind.CONSUMER, startTime: preciseNow(), attributes: { ...common(scope), ...ofEvent(batch, index) } },
    parentOf(hop),
  );
}

/** Runs `fn` with `span` current, also over its awaits. */
export function within<T>(span: Span, fn: () => T): T {
  return context.with(trace.setSpan(ROOT_CONTEXT, span), fn);
}

/** The spans of one batch call: one for the call, linked with one for each sampled event. */
export class BatchSpans {
  readonly call: Span;
  private readonly events: Map<number, Span>;

  constructor(scope: Scope, batch: Batch) {
    const sampled = [...batch.spans];
    const links: Link[] = sampled.slice(0, MAX_LINKS).map(([, hop]) => ({ context: toSpanContext(hop) }));
    this.call = tracer().startSpan(
      `process ${scope.node}`,
      {
        kind: SpanKind.CONSUMER,
        startTime: preciseNow(),
        root: true,
        links,
        attributes: { ...common(scope), [Attr.BATCH_COUNT]: batch.count },
      },
      ROOT_CONTEXT,
    );
    const back: Link[] = [{ context: this.call.spanContext() }];
    this.events = new Map(
      sampled.map(([index, hop]) => [
        index,
        tracer().startSpan(
          `process ${scope.node}`,
          {
            kind: SpanKind.CONSUMER,
            startTime: preciseNow(),
            links: back,
            attributes: { ...common(scope), ...ofEvent(batch, index) },
          },
          parentOf(hop),
        ),
      ]),
    );
  }

  /** Ends every span with its event's verdict. */
  end(verdictOf: (index: number) => Verdict | EventFailure, failure?: EventFailure): void {
    for (const [index, span] of this.events) endSpan(span, verdictOf(index));
    if (failure === undefined) this.call.end(preciseNow());
    else endSpan(this.call, failure);
  }
}

/** Ends a span with its verdict; a failure makes its status an error. */
export function endSpan(span: Span, verdict: Verdict | EventFailure, error?: unknown): void {
  if (typeof verdict === "string") span.setAttribute(Attr.VERDICT, verdict);
  else {
    const rejected = verdict.action === FailureAction.FAILURE_ACTION_REJECT;
    span.setAttribute(Attr.VERDICT, rejected ? "reject" : "retry");
    span.setAttribute(Attr.ERROR_TYPE, verdict.reason);
    if (error instanceof Error) span.recordException(error);
    span.setStatus({ code: SpanStatusCode.ERROR, message: verdict.message });
  }
  span.end(preciseNow());
}

/** `send NODE` of a source's event: a new root, or the child of the sampled context that the event came with. */
export function startSend(scope: Scope, parent: SpanContext | undefined, attributes: Attributes): Span {
  return tracer().startSpan(
    `send ${scope.node}`,
    {
      kind: SpanKind.PRODUCER,
      startTime: preciseNow(),
      attributes: { ...common(scope), [Attr.OPERATION_NAME]: "send", [Attr.OPERATION_TYPE]: "send", ...attributes },
    },
    parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent),
  );
}
