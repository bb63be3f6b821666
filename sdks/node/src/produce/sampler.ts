import { isValidSpanId, isValidTraceId, type SpanContext, TraceFlags } from "@opentelemetry/api";
import type { TraceSampling } from "../gen/meshloom/v1/produce.js";

/** New traces per second when the pipeline says nothing. */
const DEFAULT_RATE = 10;

/** Decides which of a source's events are traced. */
export class Sampler {
  private readonly ratio: number | undefined;
  private readonly rate: number;
  private tokens: number;
  private refilled: number;

  constructor(
    sampling: TraceSampling | undefined,
    private readonly now: () => number = () => performance.now(),
    private readonly random: () => number = Math.random,
  ) {
    const rule = sampling?.rule;
    this.ratio = rule?.$case === "ratio" ? rule.value : undefined;
    this.rate = rule?.$case === "rate" ? rule.value : DEFAULT_RATE;
    this.tokens = Math.min(1, this.rate);
    this.refilled = now();
  }

  /** Whether the next event without a context of its own is traced. */
  sample(): boolean {
    if (this.ratio !== undefined) return this.ratio > 0 && this.random() < this.ratio;
    if (this.rate <= 0) return false;
    const now = this.now();
    this.tokens = Math.min(Math.max(1, this.rate), this.tokens + ((now - this.refilled) / 1000) * this.rate);
    this.refilled = now;
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;

/** The sampled context of a `traceparent`; undefined: none, unusable or not sampled. */
export function sampledParent(traceparent: unknown): SpanContext | undefined {
  if (typeof traceparent !== "string") return undefined;
  const [, version, traceId, spanId, flags] = TRACEPARENT.exec(traceparent) ?? [];
  if (version === undefined || version === "ff" || !isValidTraceId(traceId!) || !isValidSpanId(spanId!))
    return undefined;
  const traceFlags = Number.parseInt(flags!, 16);
  if ((traceFlags & TraceFlags.SAMPLED) === 0) return undefined;
  return { traceId: traceId!, spanId: spanId!, traceFlags, isRemote: true };
}
