// Sends batches of 512 to a handler, eight in flight, and prints the events per second: client.mjs ADDRESS HANDLER EVENTS.
import * as grpc from "@grpc/grpc-js";
import { ProcessRequest, ProcessResponse } from "../dist/esm/gen/meshloom/v1/process.js";

const [address, handler, wanted] = process.argv.slice(2);
const BATCH = 512;
const IN_FLIGHT = 8;
const works = Math.ceil(Number(wanted) / BATCH);

const payloads = Array.from({ length: BATCH }, (_, n) =>
  Buffer.from(
    JSON.stringify({ sensor: `sensor-${n % 50}`, celsius: 20 + (n % 200) / 10, time: "2010-07-20T00:00:00Z", n }),
  ),
);
let end = 0;
const ends = Buffer.from(Uint32Array.from(payloads, (payload) => (end += payload.length)).buffer);
const none = Buffer.alloc(0);
const batch = {
  count: BATCH,
  payload: { data: Buffer.concat(payloads), ends },
  uid: Buffer.alloc(16 * BATCH),
  time: none,
  extensions: [],
  spans: [],
};
const encode = (request) => Buffer.from(ProcessRequest.encode({ request }).finish());

const identity = (bytes) => bytes;
const client = new grpc.Client(address, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1,
  "grpc-node.flow_control_window": 8 * 1024 * 1024,
});
const call = client.makeBidiStreamRequest("/meshloom.v1.NodeService/Process", identity, identity);
let [sent, answered, events, start] = [0, 0, 0, 0];
const send = () => {
  if (sent >= works) return;
  call.write(encode({ $case: "work", value: { sequence: BigInt(++sent), attempts: none, batch } }));
};
call.on("data", (bytes) => {
  const { response } = ProcessResponse.decode(bytes);
  if (response.$case === "opened") {
    start = performance.now();
    for (let i = 0; i < IN_FLIGHT; i++) send();
  }
  if (response.$case !== "result") return;
  events += response.value.outputs?.count ?? 0;
  if (!response.value.last) return;
  answered++;
  send();
  if (answered === works) {
    console.log(events / ((performance.now() - start) / 1000));
    call.end();
    client.close();
  }
});
call.write(
  encode({
    $case: "open",
    value: {
      protocol: { min: 1, max: 1 },
      pipeline: "bench",
      node: handler,
      handler,
      replica: { index: 0, of: 1 },
      capabilities: [],
      configJson: none,
      ordering: 1,
      concurrency: 0,
    },
  }),
);
