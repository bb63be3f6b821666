import type { Attributes } from "@opentelemetry/api";
import { hasProvider } from "../tracing/setup.js";

/** A span that ended during a run. */
export interface TestSpan {
  /** `process NODE`, `send NODE`, or as the handler named it. */
  readonly name: string;
  /** Name of the span that it is nested in, when that is one of the run's. */
  readonly parent: string | undefined;
  /** Its attributes at the end. */
  readonly attributes: Attributes;
  /** Whether it failed. */
  readonly error: boolean;
}

interface Recorder {
  reset(): void;
  finished(): TestSpan[];
}

let recorder: Promise<Recorder> | undefined;

/** Records spans from now on. Throws when the application has an OpenTelemetry of its own: its exporter has the spans. */
export async function recordSpans(): Promise<Recorder> {
  const recording = await (recorder ??= createRecorder());
  recording.reset();
  return recording;
}

async function createRecorder(): Promise<Recorder> {
  if (hasProvider()) {
    throw new Error(
      "OpenTelemetry is set up by the application: read the spans from its exporter, without { spans: true }",
    );
  }
  const sdk = await import("@opentelemetry/sdk-trace-node");
  const exporter = new sdk.InMemorySpanExporter();
  new sdk.NodeTracerProvider({ spanProcessors: [new sdk.SimpleSpanProcessor(exporter)] }).register();
  return {
    reset: () => exporter.reset(),
    finished() {
      const spans = exporter.getFinishedSpans();
      const names = new Map(spans.map((span) => [span.spanContext().spanId, span.name]));
      return spans.map(({ name, parentSpanContext, attributes, events }) => ({
        name,
        parent: names.get(parentSpanContext?.spanId ?? ""),
        attributes,
        error: attributes["error.type"] !== undefined || events.some((event) => event.name === "exception"),
      }));
    },
  };
}
