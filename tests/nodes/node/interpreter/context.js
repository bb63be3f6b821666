import { trace } from "@opentelemetry/api";
import { tellExtensions } from "./outputs.js";

/** What a handler was given, as `{"do": "context"}` tells it; null where it is absent. */
export function describeContext({ event, attempt, context }) {
  const { pipeline, node, replica, config, deadline } = context;
  const { uid, id, source, type, subject, key, from, contentType, dataSchema, timeNs, extensions, data } = event;
  const span = trace.getActiveSpan()?.spanContext();
  const told = {
    uid,
    id,
    source,
    type,
    subject,
    key,
    from,
    content_type: contentType,
    data_schema: dataSchema,
    time: timeNs === undefined ? null : String(timeNs),
    extensions: tellExtensions(extensions),
    payload: data.toString("base64"),
    attempt,
    pipeline,
    node,
    replica: replica.name,
    label: config.label,
    deadline_ms: deadline === undefined ? null : deadline.getTime() - Date.now(),
    wait_ms: config.wait,
    room_bytes: config.room,
    trace: span && [span.traceId, span.spanId, span.traceFlags.toString(16).padStart(2, "0")].join("-"),
  };
  return Object.fromEntries(Object.entries(told).map(([name, value]) => [name, value ?? null]));
}
