import { trace, type TracerProvider } from "@opentelemetry/api";

/** Ends tracing: what is buffered is sent. */
export type Flush = () => Promise<void>;

/** How long a shutdown waits for the collector. */
const FLUSH_MS = 2000;

/**
 * Exports spans over OTLP when the environment names an endpoint, as the coordinator does for the nodes it starts.
 * An application that has set up OpenTelemetry itself keeps what it has. Costs nothing, not even the import, otherwise.
 */
export async function setUpTracing(env: NodeJS.ProcessEnv): Promise<Flush> {
  const endpoint = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] ?? env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  const off = env["OTEL_SDK_DISABLED"] === "true" || env["OTEL_TRACES_EXPORTER"] === "none";
  if (!endpoint || off || hasProvider()) return () => Promise.resolve();
  const [{ BatchSpanProcessor, NodeTracerProvider }, { OTLPTraceExporter }, resources] = await Promise.all([
    import("@opentelemetry/sdk-trace-node"),
    import("@opentelemetry/exporter-trace-otlp-grpc"),
    import("@opentelemetry/resources"),
  ]);
  // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
  const detected = resources.detectResources({ detectors: [resources.envDetector] });
  const provider = new NodeTracerProvider({
    resource: resources.defaultResource().merge(detected),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return async () => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, FLUSH_MS)));
    // A collector that is down never stops a node.
    await Promise.race([provider.shutdown().catch(() => undefined), late]);
    clearTimeout(timer);
  };
}

/** Whether the application has registered a tracer provider. */
export function hasProvider(): boolean {
  // The API hands out a proxy, whose delegate does nothing until a provider is registered.
  const proxy = trace.getTracerProvider() as TracerProvider & { getDelegate?(): TracerProvider };
  return (proxy.getDelegate?.() ?? proxy).constructor.name !== "NoopTracerProvider";
}
