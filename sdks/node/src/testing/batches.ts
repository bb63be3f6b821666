import { createHash } from "node:crypto";
import { joinPayloads, writeI64, writeU32 } from "../columns/values.js";
import { TIME_ABSENT } from "../columns/limits.js";
import { ExtensionsWriter } from "../columns/extensions.js";
import { StringsWriter } from "../columns/strings.js";
import type { Batch, SpanContext, Strings } from "../gen/meshloom/v1/batch.js";
import { encodePayload, isOutput, timeToNs } from "../output.js";
import type { TestEvent } from "./options.js";

/** An input of a test run, with the identity that a coordinator would have given it. */
export interface Prepared {
  readonly data: string | Buffer;
  readonly contentType: string;
  readonly uid: Buffer;
  readonly options: TestEvent;
  attempt: number;
}

/** A plain value, or `output(value, { key, ... })` to give an input attributes. */
export function prepare(input: unknown, index: number): Prepared {
  const value = isOutput(input) ? input.value : input;
  const options = (isOutput(input) ? input.options : {}) as TestEvent;
  const contentType =
    options.contentType ?? (value instanceof Uint8Array ? "application/octet-stream" : "application/json");
  const uid = createHash("sha256").update(`meshloom/testing ${index}`).digest().subarray(0, 16);
  return { data: encodePayload(value), contentType, uid, options, attempt: 1 };
}

/** A sampled context that is the event's own. */
const hop = (uid: Buffer, index: number): SpanContext => ({
  index,
  traceId: uid,
  spanId: uid.subarray(0, 8),
  flags: 1,
  traceState: "",
});

/** The events as a coordinator would send them. */
export function toBatch(events: readonly Prepared[], sampled: boolean): { batch: Batch; attempts: Buffer } {
  const column = (pick: (event: Prepared) => string | undefined): Strings | undefined => {
    const writer = new StringsWriter(events.length);
    events.forEach((event, i) => {
      const value = pick(event);
      if (value !== undefined) writer.set(i, value);
    });
    return writer.finish();
  };
  const extensions = new ExtensionsWriter();
  const times = new BigInt64Array(events.length).fill(TIME_ABSENT);
  events.forEach(({ options }, i) => {
    if (options.extensions !== undefined) extensions.set(i, options.extensions);
    if (options.time !== undefined && options.time !== null) times[i] = timeToNs(options.time);
  });
  return {
    attempts: writeU32(Uint32Array.from(events, (event) => event.attempt)),
    batch: {
      count: events.length,
      payload: joinPayloads(events.map((event) => event.data)),
      contentType: column((event) => event.contentType),
      uid: Buffer.concat(events.map((event) => event.uid)),
      time: writeI64(times),
      id: column((event) => event.options.id),
      source: column((event) => event.options.source),
      type: column((event) => event.options.type),
      subject: column((event) => event.options.subject),
      key: column((event) => event.options.key),
      dataSchema: column((event) => event.options.dataSchema),
      from: column((event) => event.options.from),
      extensions: extensions.finish(events.length),
      spans: sampled ? events.map(({ uid }, index) => hop(uid, index)) : [],
    },
  };
}
