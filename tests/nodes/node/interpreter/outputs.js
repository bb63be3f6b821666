import { output, Timestamp, Uri, UriReference } from "meshloom";

/** How each type of extension is read from a command, and told. */
const TYPES = {
  boolean: { read: (value) => value, is: (value) => typeof value === "boolean", tell: (value) => value },
  integer: { read: (value) => value, is: (value) => typeof value === "number", tell: (value) => value },
  string: { read: (value) => value, is: (value) => typeof value === "string", tell: (value) => value },
  uri: { read: (value) => new Uri(value), is: (value) => value instanceof Uri, tell: String },
  uri_reference: {
    read: (value) => new UriReference(value),
    is: (value) => value instanceof UriReference,
    tell: String,
  },
  binary: {
    read: (value) => Buffer.from(value, "base64"),
    is: Buffer.isBuffer,
    tell: (value) => value.toString("base64"),
  },
  timestamp: {
    read: (value) => new Timestamp(BigInt(value)),
    is: (value) => value instanceof Timestamp,
    tell: ({ ns }) => String(ns),
  },
};

const mapValues = (object, change) =>
  object && Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));

/** Extensions as a command writes them. */
export const tellExtensions = (extensions) =>
  mapValues(extensions, (value) => {
    const [type, { tell }] = Object.entries(TYPES).find(([, { is }]) => is(value));
    return { type, value: tell(value) };
  });

/** OUT of a command as an output of the SDK; without a value the payload stays the event's. */
export function toOutput(out, event) {
  const value =
    "value" in out
      ? out.value
      : "text" in out
        ? Buffer.from(out.text)
        : "base64" in out
          ? Buffer.from(out.base64, "base64")
          : event;
  const { content_type: contentType, data_schema: dataSchema, type, subject, key, route, id, time } = out;
  return output(value, {
    contentType,
    dataSchema,
    type,
    subject,
    key,
    route,
    id,
    time: typeof time === "string" ? BigInt(time) : time,
    extensions: mapValues(out.extensions, (given) => given && TYPES[given.type].read(given.value)),
  });
}

/** Payload and attributes set to what was read of the event. */
export function copyOf(event) {
  const { contentType, dataSchema, type, subject, key, id, timeNs: time, extensions } = event;
  return output(event.data, { contentType: contentType ?? "", dataSchema, type, subject, key, id, time, extensions });
}
