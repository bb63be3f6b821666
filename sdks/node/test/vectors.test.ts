// The golden vectors of the conformance kit: what a batch says, what is refused, and what is written again.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { node, output, type OutputOptions, Timestamp, Uri, UriReference } from "meshloom";
import { Batch } from "../dist/esm/columns/batch.js";
import type { ExtensionInput } from "../dist/esm/columns/extensions.js";
import { HeldOutputs } from "../dist/esm/columns/outputs.js";
import type { MeshEvent } from "../dist/esm/event.js";
import { Batch as WireBatch } from "../dist/esm/gen/meshloom/v1/batch.js";
import { Outputs, type WorkResult } from "../dist/esm/gen/meshloom/v1/process.js";
import { toRow } from "../dist/esm/output.js";
import { Frame } from "../dist/esm/produce/frame.js";
import { readOutputs } from "../dist/esm/testing/outputs.js";
import { Client, start } from "./harness.js";

type Told = Record<string, unknown>;
/** What an event and an output have in common. */
type Said = Pick<MeshEvent, "data" | "timeNs" | (typeof TEXTS)[number]> & {
  readonly extensions: Record<string, ExtensionInput>;
};
interface OutputSaid extends Said {
  readonly parent: number;
  readonly route?: string | undefined;
}

const TEXTS = ["contentType", "id", "type", "subject", "key", "dataSchema"] as const;
const WHOLE = 0xffffffff;
const NONE = Buffer.alloc(0);
/** What says more than BATCH_MALFORMED. */
const SPECIFIC: Record<string, string> = {
  "b1-largest-number": "BATCH_TOO_LARGE",
  "b1-overflow": "BATCH_TOO_LARGE",
  "b4-key-long": "ATTRIBUTE_TOO_LARGE",
  "b4-key-long-unnamed": "ATTRIBUTE_TOO_LARGE",
  "b6-many": "TOO_MANY_EXTENSIONS",
};

function vectors<T>(file: string): (T & { name: string })[] {
  const path = new URL(`../../../tests/conformance/vectors/${file}.json`, import.meta.url);
  const found = JSON.parse(readFileSync(path, "utf8")) as (T & { name: string })[];
  assert.ok(found.length > 0, file);
  return found;
}

const base64 = (text: string): Buffer => Buffer.from(text, "base64");
// Its constructor is not in the declarations: nobody else makes one.
const view = (wire: WireBatch): Batch => Reflect.construct(Batch, [wire, NONE]) as Batch;
const read = (text: string): Batch => view(WireBatch.decode(base64(text)));

/** What an event says, as a plain object. */
function said({ data, timeNs, extensions, contentType, id, type, subject, key, dataSchema }: MeshEvent): Said {
  return { data, timeNs, extensions, contentType, id, type, subject, key, dataSchema };
}

/** An extension as the vectors write it. */
function typed(value: ExtensionInput): Told {
  if (typeof value === "boolean") return { type: "boolean", value };
  if (typeof value === "number") return { type: "integer", value };
  if (typeof value === "string") return { type: "string", value };
  if (Buffer.isBuffer(value)) return { type: "binary", value: value.toString("base64") };
  if (value instanceof Uri) return { type: "uri", value: value.value };
  if (value instanceof UriReference) return { type: "uri_reference", value: value.value };
  if (value instanceof Timestamp) return { type: "timestamp", value: String(value.ns) };
  throw new TypeError(`an event has the extension ${String(value)}`);
}

/** An event or output as the vectors write it. */
function told(event: Said): Told {
  const extensions = Object.entries(event.extensions).filter(([, value]) => value !== null); // null: removed
  return {
    payload: event.data.toString("base64"),
    time: event.timeNs === undefined ? null : String(event.timeNs),
    extensions: Object.fromEntries(extensions.map(([name, value]) => [name, typed(value)])),
    content_type: event.contentType ?? null,
    id: event.id ?? null,
    type: event.type ?? null,
    subject: event.subject ?? null,
    key: event.key ?? null,
    data_schema: event.dataSchema ?? null,
  };
}

/** An event of the vectors without what an encoder does not write; a text that it writes as empty is absent. */
function written(event: Told, ...without: string[]): Told {
  const kept = Object.entries(event).filter(([name]) => !without.includes(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, value === "" && name !== "payload" ? null : value]));
}

const differ = (a: unknown, b: unknown): boolean => JSON.stringify(a) !== JSON.stringify(b);

/** The attributes that make a child of the parent say the same; what is the parent's is not set. */
function difference(wanted: OutputSaid, parent: MeshEvent | undefined): OutputOptions {
  const options: OutputOptions = { route: wanted.route };
  for (const name of TEXTS) if (wanted[name] !== parent?.[name]) options[name] = wanted[name] ?? "";
  if (wanted.timeNs !== parent?.timeNs) options.time = wanted.timeNs ?? null;
  const theirs = parent?.extensions ?? {};
  options.extensions = {};
  for (const name of Object.keys({ ...theirs, ...wanted.extensions })) {
    const [mine, before] = [wanted.extensions[name] ?? null, theirs[name] ?? null];
    const changed = mine === null || before === null ? mine !== before : differ(typed(mine), typed(before));
    if (changed) options.extensions[name] = mine;
  }
  return options;
}

const decodeOutputs = (bytes: Uint8Array, batch: Batch): readonly OutputSaid[] =>
  readOutputs({ outputs: Outputs.decode(bytes) } as WorkResult, batch);

/** Outputs after the encoder, the wire and the test kit's decoder. */
function rewritten(batch: Batch, wanted: readonly OutputSaid[]): readonly OutputSaid[] {
  const held = new HeldOutputs(batch);
  for (const row of wanted) {
    const parent = row.parent === WHOLE ? undefined : batch.event(row.parent);
    const options = difference(row, parent);
    const result =
      parent?.data.equals(row.data) === true
        ? output(parent, options)
        : output(row.data, { ...options, contentType: row.contentType ?? "" });
    held.add(row.parent, toRow(result, new Set(["left"]), batch, row.parent));
  }
  const parts = held.encode();
  assert.equal(parts.length, 1);
  return decodeOutputs(Outputs.encode(parts[0]!).finish(), batch);
}

for (const { name, batch, events } of vectors<{ batch: string; events: Told[] }>("batches")) {
  test(`a batch says what stands there: ${name}`, () => {
    const found = [...read(batch)].map((event) => ({
      ...told(event),
      uid: event.uid,
      source: event.source ?? null,
      from: event.from ?? null,
    }));
    assert.deepEqual(found, events);
  });

  test(`events of a source say the same again: ${name}`, () => {
    const frame = new Frame();
    for (const event of read(batch)) {
      const { data, source } = event;
      const { contentType = "", id, ...options } = difference({ ...said(event), parent: WHOLE }, undefined);
      frame.add({ data, bytes: data.byteLength, contentType, id, options: { ...options, source }, span: undefined });
    }
    const again = WireBatch.decode(WireBatch.encode(frame.encode()).finish());
    assert.equal(again.uid.byteLength, 0);
    const received = view({ ...again, uid: Buffer.alloc(again.count * 16) }); // uids are the coordinator's
    assert.deepEqual(
      [...received].map((event) => ({ ...told(event), source: event.source ?? null })),
      events.map((event) => written(event, "uid", "from")),
    );
  });

  test(`all events as outputs of the first say the same: ${name}`, () => {
    const received = read(batch);
    const outputs = [...received].map((event) => ({ ...said(event), parent: 0 }));
    assert.deepEqual(
      rewritten(received, outputs).map(told),
      events.map((event) => written(event, "uid", "source", "from")),
    );
  });
}

interface OutputsVector {
  inputs: string;
  outputs: string;
  rows: { parent: number | null; route: string | null; event: Told }[];
}

for (const { name, inputs, outputs, rows } of vectors<OutputsVector>("outputs")) {
  test(`outputs say what stands there, and again: ${name}`, () => {
    const received = read(inputs);
    const asRows = (found: readonly OutputSaid[]): OutputsVector["rows"] =>
      found.map((row) => ({
        parent: row.parent === WHOLE ? null : row.parent,
        route: row.route ?? null,
        event: told(row),
      }));
    const given = decodeOutputs(base64(outputs), received);
    assert.deepEqual(asRows(given), rows);
    assert.deepEqual(asRows(rewritten(received, given)), rows);
  });
}

test("malformed works are refused, and no handler sees anything of them", async () => {
  const seen: string[] = [];
  const look = node("look").filter((event) => {
    seen.push(event.text());
    return true;
  });
  const stream = await new Client((await start(look)).address).process();
  interface MalformedVector {
    batch: string | null;
    attempts: string;
    reason: string;
  }
  for (const { name, batch, attempts, reason } of vectors<MalformedVector>("malformed")) {
    const wire = batch === null ? undefined : WireBatch.decode(base64(batch));
    const answer = await stream.answer(stream.work(wire as WireBatch, { attempts: base64(attempts) }));
    assert.deepEqual(answer.failed, [`${WHOLE}:RETRY:${SPECIFIC[name] ?? reason}`], name);
    assert.deepEqual([answer.results.length, answer.outputs.length, answer.consumed], [1, 0, 0], name);
    assert.deepEqual(seen, [], name);
  }
  assert.equal((await stream.handle(["good"])).outputs.length, 1);
  assert.deepEqual(seen, ['"good"']);
});
