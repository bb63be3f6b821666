// The same by hand over the raw gRPC stream: `node bare.js map|filter`, with MESHLOOM_LISTEN=unix:/path.
import { createRequire } from "node:module";
import { ProcessRequest, ProcessResponse } from "../../../sdks/node/dist/esm/gen/meshloom/v1/process.js";
import { tuneConnections } from "../../../sdks/node/dist/esm/transport/connections.js";

const grpc = createRequire(new URL("../../../sdks/node/package.json", import.meta.url))("@grpc/grpc-js");

const BANG = Buffer.from("!");
const NONE = Buffer.alloc(0);
const TYPE = Buffer.from("application/octet-stream");
/** The media type of all changed payloads. */
const BYTES = { values: { data: TYPE, ends: Buffer.from(Uint32Array.of(TYPE.length).buffer) }, index: NONE };

/** What the node does to each event. */
const append = (payload) => Buffer.concat([payload, BANG]);
/** What the filter says of each event. */
const keep = (payload) => payload.length > 0;

/** Calls `each` with the payload of every event. */
function forEach({ payload: { data, ends } }, each) {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  const view = new DataView(ends.buffer, ends.byteOffset, ends.length);
  for (let begin = 0, row = 0; row < ends.length / 4; row++) {
    const end = view.getUint32(row * 4, true);
    each(bytes.subarray(begin, end), row);
    begin = end;
  }
}

const outputs = (count, parent, payload, contentType) => ({
  count,
  parent,
  payload,
  contentType,
  continued: false,
  time: NONE,
  extensions: [],
});

function mapped(batch) {
  const out = [];
  const ends = new Uint32Array(batch.count);
  let end = 0;
  forEach(batch, (payload, row) => {
    const made = append(payload);
    out.push(made);
    ends[row] = end += made.length;
  });
  return outputs(out.length, NONE, { data: Buffer.concat(out, end), ends: Buffer.from(ends.buffer) }, BYTES);
}

function filtered(batch) {
  const kept = [];
  forEach(batch, (payload, row) => {
    if (keep(payload)) kept.push(row);
  });
  const parent = kept.length === batch.count ? NONE : Buffer.from(Uint32Array.from(kept).buffer);
  return outputs(kept.length, parent, undefined);
}

const answer = { map: mapped, filter: filtered }[process.argv[2]];

tuneConnections();
const server = new grpc.Server({
  "grpc.max_receive_message_length": -1,
  "grpc.max_send_message_length": -1,
  "grpc.enable_channelz": 0,
});
const identity = (bytes) => bytes;
server.addService(
  {
    Process: {
      path: "/meshloom.v1.NodeService/Process",
      requestStream: true,
      responseStream: true,
      requestSerialize: identity,
      requestDeserialize: (bytes) => ProcessRequest.decode(bytes),
      responseSerialize: (response) => Buffer.from(ProcessResponse.encode(response).finish()),
      responseDeserialize: identity,
    },
  },
  {
    Process: (call) => {
      call.on("data", ({ request }) => {
        const { sequence, batch } = request.value;
        const made = answer(batch);
        const value = { sequence, outputs: made, failures: [], consumed: batch.count - made.count, last: true };
        call.write({ response: { $case: "result", value } });
      });
      call.on("end", () => call.end());
    },
  },
);
server.bindAsync(process.env.MESHLOOM_LISTEN, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});
