/** Entry of the transport thread: gRPC, health, reflection and Progress, out of reach of handlers that block. */
import { parentPort, workerData } from "node:worker_threads";
import { CallTable } from "./calls.js";
import type { FromTransport, ToTransport, TransportData } from "./messages.js";
import { NodeServer } from "./server.js";

const port = parentPort!;
const data = workerData as TransportData;
const post = (message: FromTransport, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const server = new NodeServer(data, new CallTable(data.calls), post);

port.on("message", (message: ToTransport) => {
  switch (message.kind) {
    case "send":
      server.send(message.stream, message.message, message.closesWork);
      break;
    case "end":
      server.end(message.stream, message.status);
      break;
    case "notServing":
      server.notServing();
      break;
    case "close":
      // Ends this thread alone, also where a client keeps its half of a closed connection open.
      void server.close().then(() => process.exit());
      break;
  }
});

void server.listen();
