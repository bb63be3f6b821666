import type { Batch } from "../columns/batch.js";
import { type ExtensionValue, readOutputExtensions } from "../columns/extensions.js";
import { MAX_EVENT_BYTES, NONE, TIME_ABSENT, TIME_AS_PARENT } from "../columns/limits.js";
import { StringsColumn } from "../columns/strings.js";
import { asBuffer, readU32, ValuesColumn } from "../columns/values.js";
import type { Outputs, WorkResult } from "../gen/meshloom/v1/process.js";
import type { TestOutput } from "./results.js";

/** The outputs of a result; their attributes are what they come to with those of their inputs. */
export function readOutputs({ outputs }: WorkResult, batch: Batch): TestOutput[] {
  if (outputs === undefined) return [];
  const { count } = outputs;
  const parents =
    outputs.parent.byteLength === 0 ? Uint32Array.from({ length: count }, (_, i) => i) : readU32(outputs.parent);
  const payload = outputs.payload && ValuesColumn.read(outputs.payload, "payload", MAX_EVENT_BYTES, count);
  const text = (name: "contentType" | "type" | "subject" | "key" | "id" | "route" | "dataSchema") => {
    const column = StringsColumn.read(outputs[name], name, count);
    return (row: number, parent: string | undefined): string | undefined => {
      const said = column?.at(row) ?? parent;
      return said === "" ? undefined : said; // no output has an empty text
    };
  };
  const [contentType, type, subject, key, id, route, dataSchema] = [
    text("contentType"),
    text("type"),
    text("subject"),
    text("key"),
    text("id"),
    text("route"),
    text("dataSchema"),
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
      dataSchema: dataSchema(row, from?.dataSchema),
      timeNs: timeOf(outputs.time, row, from?.timeNs),
      extensions: { ...from?.extensions, ...outputExtensions(outputs, row) },
    };
  });
}

const outputExtensions = (outputs: Outputs, row: number): Record<string, ExtensionValue | null> =>
  readOutputExtensions(outputs.extensions, outputs.count, row);

/** A payload as tests compare it: JSON parsed, anything else as bytes. What is called JSON and is none stays bytes. */
export function toValue(data: Buffer, contentType: string | undefined): unknown {
  if (contentType === undefined || !/[/+]json\b/.test(contentType)) return data;
  try {
    return JSON.parse(data.toString());
  } catch {
    return data;
  }
}

function timeOf(times: Uint8Array, row: number, parent: bigint | undefined): bigint | undefined {
  if (times.byteLength === 0) return parent;
  const time = asBuffer(times).readBigInt64LE(row * 8);
  return time === TIME_AS_PARENT ? parent : time === TIME_ABSENT ? undefined : time;
}
