import type { Outputs } from "../gen/meshloom/v1/process.js";
import { timeToNs, type Row } from "../output.js";
import type { Batch } from "./batch.js";
import { ExtensionsWriter } from "./extensions.js";
import { TIME_ABSENT, TIME_AS_PARENT, WHOLE } from "./limits.js";
import { StringsWriter } from "./strings.js";
import { joinPayloads, writeI64, writeU32 } from "./values.js";

const ATTRIBUTES = ["type", "subject", "key", "id", "route", "dataSchema"] as const;

/** Bytes that a row adds to a result, about: exact for bytes, UTF-16 length for text. */
export function rowSize({ data, options }: Row): number {
  let size = (data?.length ?? 0) + 16;
  if (options === undefined) return size;
  for (const name of ATTRIBUTES) size += options[name]?.length ?? 0;
  for (const value of Object.values(options.extensions ?? {})) {
    size += typeof value === "string" || value instanceof Uint8Array ? value.length : 64;
  }
  return size;
}

/** Puts rows, ascending by parent, into columns. `batch` supplies the payloads of rows that pass among ones that do not. */
export function encodeOutputs(rows: readonly Row[], batch: Batch, continued: boolean): Outputs {
  const changed = rows.some((row) => row.data !== undefined);
  const attributes = rows.some((row) => row.options !== undefined);
  return {
    count: rows.length,
    parent: encodeParents(rows, batch),
    continued,
    payload: changed ? joinPayloads(rows.map((row) => row.data ?? parentPayload(row, batch))) : undefined,
    contentType: changed ? strings(rows, (row) => row.contentType) : undefined,
    ...(attributes ? encodeAttributes(rows) : NO_ATTRIBUTES),
  };
}

const parentPayload = ({ parent }: Row, batch: Batch): Buffer => (parent === WHOLE ? EMPTY : batch.payload(parent));

function encodeParents(rows: readonly Row[], batch: Batch): Buffer {
  if (rows.length === batch.count && rows.every((row, i) => row.parent === i)) return EMPTY;
  return writeU32(Uint32Array.from(rows, (row) => row.parent));
}

type Attributes = Pick<Outputs, (typeof ATTRIBUTES)[number] | "time" | "extensions">;

const EMPTY = Buffer.alloc(0);
const NO_ATTRIBUTES: Attributes = {
  type: undefined,
  subject: undefined,
  key: undefined,
  id: undefined,
  route: undefined,
  dataSchema: undefined,
  time: EMPTY,
  extensions: [],
};

function encodeAttributes(rows: readonly Row[]): Attributes {
  const columns = Object.fromEntries(ATTRIBUTES.map((name) => [name, strings(rows, (row) => row.options?.[name])]));
  const extensions = new ExtensionsWriter();
  let time: Buffer | undefined;
  rows.forEach((row, i) => {
    if (row.options?.extensions !== undefined) extensions.set(i, row.options.extensions);
    const at = row.options?.time;
    if (at === undefined) return;
    time ??= allTimesAs(rows);
    time.writeBigInt64LE(at === null ? TIME_ABSENT : timeToNs(at), i * 8);
  });
  return {
    ...(columns as Omit<Attributes, "time" | "extensions">),
    time: time ?? EMPTY,
    extensions: extensions.finish(rows.length),
  };
}

/** Outputs of the whole batch have no parent whose time they could take. */
function allTimesAs(rows: readonly Row[]): Buffer {
  return writeI64(BigInt64Array.from(rows, (row) => (row.parent === WHOLE ? TIME_ABSENT : TIME_AS_PARENT)));
}

function strings(rows: readonly Row[], pick: (row: Row) => string | undefined): Outputs["type"] {
  let writer: StringsWriter | undefined;
  for (let i = 0; i < rows.length; i++) {
    const value = pick(rows[i]!);
    if (value !== undefined) (writer ??= new StringsWriter(rows.length)).set(i, value);
  }
  return writer?.finish();
}
