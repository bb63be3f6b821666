import assert from "node:assert/strict";
import { once } from "node:events";
import { after, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { type Link, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { node, output, Reject } from "meshloom";
import type { SpanContext } from "../dist/esm/gen/meshloom/v1/batch.js";
import { Sampler, sampledParent } from "../dist/esm/produce/sampler.js";
import { Client, eventually, start } from "./harness.js";
import { spawnNode } from "./process.js";

// An application's own OpenTelemetry: what the SDK traces must arrive there.
const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();

const hop = (index: number, span: string): SpanContext => ({
  index,
  traceId: Buffer.from("0af7651916cd43dd8448eb211c80319c", "hex"),
  spanId: Buffer.from(span, "hex"),
  flags: 1,
  traceState: "",
});
const FIRST = "b7ad6b7169203331";
const SECOND = "b7ad6b7169203332";

test("a sampled event gets a span, current in the handler and over its awaits; an unsampled one gets none", async () => {
  exporter.reset();
  const map = node("map").map(async (event, { tracer }) => {
    await Promise.resolve();
    tracer.startActiveSpan("user-work", (span) => span.end());
    if (event.json<number>() === 2) throw new Reject("no", { reason: "BAD" });
    return trace.getActiveSpan()?.spanContext().traceId ?? "none";
  });
  const { address } = await start(map);
  const stream = await new Client(address).process({ node: "hot", pipeline: "pipe" });
  const answer = await stream.handle([0, 1, 2], {}, { spans: [hop(1, FIRST), hop(2, SECOND)] });
  assert.deepEqual(
    answer.outputs.map(({ value }) => value),
    ["none", "0af7651916cd43dd8448eb211c80319c"],
  );
  const spans = exporter.getFinishedSpans();
  const [ok, bad] = spans.filter((span) => span.name === "process hot");
  assert.equal(ok!.kind, SpanKind.CONSUMER);
  assert.equal(ok!.parentSpanContext!.spanId, FIRST);
  assert.deepEqual(ok!.attributes, {
    "messaging.system": "meshloom",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "hot",
    "messaging.client.id": "hot/0",
    "meshloom.pipeline": "pipe",
    "messaging.message.id": `${"0".repeat(31)}1`,
    "meshloom.attempt": 1,
    "meshloom.verdict": "delivered",
  });
  assert.equal(bad!.parentSpanContext!.spanId, SECOND);
  assert.equal(bad!.status.code, SpanStatusCode.ERROR);
  assert.deepEqual([bad!.attributes["meshloom.verdict"], bad!.attributes["error.type"]], ["reject", "BAD"]);
  const users = spans.filter((span) => span.name === "user-work");
  assert.equal(users.length, 3);
  const nested = users.filter((span) => span.parentSpanContext?.spanId === ok!.spanContext().spanId);
  assert.equal(nested.length, 1);
});

test("a batch call: one span with links, and one per sampled event that links back", async () => {
  exporter.reset();
  const batch = node("batch").batch((rows, out, { tracer }) => {
    tracer.startActiveSpan("user-work", (span) => span.end());
    out.pass(0);
    out.retry(1, "later");
    out.drop(2);
  });
  const { address } = await start(batch);
  const stream = await new Client(address).process();
  await stream.handle([0, 1, 2], {}, { spans: [hop(0, FIRST), hop(1, SECOND)] });
  const spans = exporter.getFinishedSpans();
  const call = spans.find((span) => span.attributes["messaging.batch.message_count"] === 3)!;
  const spanIds = (links: readonly Link[]): string[] => links.map((link) => link.context.spanId);
  assert.equal(call.parentSpanContext, undefined);
  assert.deepEqual(spanIds(call.links), [FIRST, SECOND]);
  const events = spans.filter((span) => span.attributes["messaging.message.id"] !== undefined);
  assert.deepEqual(
    events.map((span) => [span.parentSpanContext!.spanId, span.attributes["meshloom.verdict"], ...spanIds(span.links)]),
    [
      [FIRST, "delivered", call.spanContext().spanId],
      [SECOND, "retry", call.spanContext().spanId],
    ],
  );
  const user = spans.find((span) => span.name === "user-work")!;
  assert.equal(user.parentSpanContext!.spanId, call.spanContext().spanId);
});

test("a source samples: send spans are roots and travel in the spans column; a sampled traceparent is honoured", async () => {
  exporter.reset();
  const traceparent = `00-0af7651916cd43dd8448eb211c80319c-${FIRST}-01`;
  const source = node("source").source(function* () {
    yield 1;
    yield output(2, { extensions: { traceparent } });
  });
  const { address } = await start(source);
  const stream = await new Client(address).produce({ trace: { rule: { $case: "ratio", value: 0 } } });
  stream.demand(10);
  const { batch } = (await stream.until("produced")).value;
  const [honoured] = exporter.getFinishedSpans();
  assert.equal(honoured!.name, "send source");
  assert.equal(honoured!.kind, SpanKind.PRODUCER);
  assert.equal(honoured!.parentSpanContext!.spanId, FIRST);
  assert.deepEqual(
    batch!.spans.map((span) => [span.index, Buffer.from(span.spanId).toString("hex"), span.flags]),
    [[1, honoured!.spanContext().spanId, 1]],
  );
  exporter.reset();
  const all = await new Client(address).produce({ trace: { rule: { $case: "ratio", value: 1 } } });
  all.demand(10);
  assert.equal((await all.until("produced")).value.batch!.spans.length, 2);
  assert.equal(exporter.getFinishedSpans()[0]!.parentSpanContext, undefined);
});

test("the sampler keeps its rate, and sends nothing at 0", () => {
  let now = 0;
  const rate = new Sampler({ rule: { $case: "rate", value: 2 } }, () => now);
  let sampled = 0;
  for (; now <= 10_000; now += 1) if (rate.sample()) sampled++;
  assert.ok(sampled >= 20 && sampled <= 22, `${sampled} in 10 s at 2/s`);
  const none = new Sampler({ rule: { $case: "rate", value: 0 } }, () => now);
  assert.equal(none.sample(), false);
  const half = new Sampler({ rule: { $case: "ratio", value: 0.5 } }, undefined, () => 0.4);
  assert.equal(half.sample(), true);
  assert.equal(sampledParent(`00-${"0".repeat(32)}-${FIRST}-01`), undefined);
  assert.equal(sampledParent(`00-0af7651916cd43dd8448eb211c80319c-${FIRST}-00`), undefined);
  assert.equal(sampledParent("nonsense"), undefined);
});

test("with OTEL_EXPORTER_OTLP_ENDPOINT spans are exported with no code, and flushed on SIGTERM", async () => {
  const exported: Buffer[] = [];
  const collector = new grpc.Server();
  const raw = (bytes: Buffer): Buffer => bytes;
  const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  const method = { path, requestStream: false, responseStream: false, requestSerialize: raw, requestDeserialize: raw };
  collector.addService(
    { Export: { ...method, responseSerialize: raw, responseDeserialize: raw } },
    {
      Export: (call: { request: Buffer }, reply: (error: null, answer: Buffer) => void) => {
        exported.push(call.request);
        reply(null, Buffer.alloc(0));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) =>
    collector.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  after(() => collector.forceShutdown());
  const { child, client } = await spawnNode("node.mjs", {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
    OTEL_SERVICE_NAME: "pipe/work",
    OTEL_RESOURCE_ATTRIBUTES: "service.instance.id=work-0",
  });
  const stream = await client.process();
  await stream.handle([{ do: "log" }], {}, { spans: [hop(0, FIRST)] });
  await eventually("the line", () => child.lines.length > 0);
  assert.match(child.lines[0]!, / trace_id=0af7651916cd43dd8448eb211c80319c span_id=[0-9a-f]{16}/);
  child.process.kill("SIGTERM");
  await child.exit;
  const text = Buffer.concat(exported).toString("latin1");
  for (const part of ["process work", "pipe/work", "work-0", "messaging.system"]) assert.ok(text.includes(part), part);
});

test("a collector that is down does not keep a node from ending", async () => {
  const { child, client } = await spawnNode("node.mjs", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" });
  const stream = await client.process();
  await stream.handle([{ do: "x" }], {}, { spans: [hop(0, FIRST)] });
  child.process.kill("SIGTERM");
  const [code] = await Promise.race([
    child.exit,
    once(AbortSignal.timeout(60_000), "abort").then(() => ["late"] as const),
  ]);
  assert.equal(code, 0);
});
