import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { ServerDuplexStream, ServiceDefinition } from "@grpc/grpc-js";
import * as grpc from "@grpc/grpc-js";
import type * as protoLoader from "@grpc/proto-loader";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import { MAX_MESSAGE_BYTES, MAX_PROGRESS_CALLS } from "../columns/limits.js";
import { descriptorSet } from "../gen/descriptor.js";
import { ProcessResponse } from "../gen/meshloom/v1/process.js";
import { toDuration } from "../process/verdicts.js";
import type { StreamStatus } from "../status.js";
import type { CallTable } from "./calls.js";
import { tuneConnections } from "./connections.js";
import type { FromTransport, TransportData } from "./messages.js";

const SERVICE = "meshloom.v1.NodeService";
/** While work is in hand, the coordinator is told this often what is running. */
const PROGRESS_MS = 1000;
/** While work is in hand, the main thread's clock moves on this often, without a look at the system's. */
const TICK_MS = 5;
/** How long connections may linger after all streams have ended. */
const CLOSE_GRACE_MS = 1000;

type Raw = ServerDuplexStream<Buffer, Uint8Array>;

/** The serialized files of a FileDescriptorSet, which has no other field. */
function filesOf(set: Buffer): Buffer[] {
  const reader = new BinaryReader(set);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    reader.tag();
    files.push(Buffer.from(reader.bytes()));
  }
  return files;
}

interface OpenStream {
  readonly call: Raw;
  /** Works received whose last result has not been sent. */
  inHand: number;
}

/** The gRPC server. Streams pass through as bytes: the sessions on the main thread speak the protocol. */
export class NodeServer {
  private readonly grpcServer: grpc.Server;
  private readonly health = new HealthImplementation({ "": "NOT_SERVING", [SERVICE]: "NOT_SERVING" });
  private readonly streams = new Map<number, OpenStream>();
  private lastStream = 0;
  private progressTimer: NodeJS.Timeout | undefined;
  private tickTimer: NodeJS.Timeout | undefined;

  constructor(
    private readonly data: TransportData,
    private readonly calls: CallTable,
    private readonly post: (message: FromTransport, transfer?: ArrayBuffer[]) => void,
  ) {
    tuneConnections();
    // Failures are answered or thrown; a library's own lines on a node's standard error would only repeat them.
    grpc.setLogVerbosity(grpc.logVerbosity.NONE);
    this.grpcServer = new grpc.Server({
      "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
      "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
      // Pings of the coordinator every 20 s are welcome (grpc-js enforces no minimum). We send none: see tuneConnections.
      // No timestamps or channel traces per message.
      "grpc.enable_channelz": 0,
    });
    this.grpcServer.addService(SERVICE_DEFINITION, {
      Describe: (_: unknown, reply: (error: null, response: Uint8Array) => void) => reply(null, this.data.describe),
      Process: (call: Raw) => this.accept(call, "Process"),
      Produce: (call: Raw) => this.accept(call, "Produce"),
    });
    this.health.addToServer(this.grpcServer);
    // The files as they were compiled: those that proto-loader makes of them lack imports and the names of map entries.
    const reflected = { files: { fileDescriptorProtos: filesOf(descriptorSet) } as protoLoader.AnyDefinition };
    new ReflectionService(reflected, { services: [SERVICE, "grpc.health.v1.Health"] }).addToServer(this.grpcServer);
  }

  /** Binds and reports `listening` or `failed`. */
  async listen(): Promise<void> {
    try {
      const port = await new Promise<number>((resolve, reject) => {
        this.grpcServer.bindAsync(this.data.listen, this.credentials(), (error, bound) =>
          error === null ? resolve(bound) : reject(error),
        );
      });
      this.progressTimer = setInterval(() => this.reportProgress(), PROGRESS_MS);
      this.setStatus("SERVING");
      this.post({ kind: "listening", address: this.data.listen.replace(/:0$/, `:${port}`) });
    } catch (error) {
      const { message } = error as Error;
      this.post({ kind: "failed", message, inUse: message.includes("EADDRINUSE") });
    }
  }

  send(stream: number, message: Uint8Array, closesWork: boolean): void {
    const open = this.streams.get(stream);
    if (open === undefined) return;
    if (closesWork) open.inHand--;
    // The memory goes back, for the main thread's collector: it runs often, and full collections here cost more.
    open.call.write(message, () => {
      this.post({ kind: "sent", stream, message }, [message.buffer as ArrayBuffer]);
    });
  }

  end(stream: number, status: StreamStatus | undefined): void {
    const open = this.streams.get(stream);
    if (open === undefined) return;
    this.streams.delete(stream);
    if (status === undefined) {
      open.call.end();
      return;
    }
    const metadata = new grpc.Metadata();
    if (status.details !== undefined) metadata.set("grpc-status-details-bin", Buffer.from(status.details));
    // Written messages go first: the status waits for the writable side to finish.
    open.call.emit("error", { code: status.code, details: status.message, metadata });
  }

  /** Health says that no new streams are wanted. */
  notServing(): void {
    this.setStatus("NOT_SERVING");
  }

  /** Ends the server once its connections have closed, or after a short grace. */
  async close(): Promise<void> {
    clearInterval(this.progressTimer);
    clearInterval(this.tickTimer);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.grpcServer.forceShutdown();
        resolve();
      }, CLOSE_GRACE_MS);
      this.grpcServer.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  private credentials(): grpc.ServerCredentials {
    const { tls } = this.data;
    if (tls === undefined) return grpc.ServerCredentials.createInsecure();
    const { certificate, key, clientCa } = tls;
    return grpc.ServerCredentials.createSsl(
      clientCa === undefined ? null : Buffer.from(clientCa),
      [{ cert_chain: Buffer.from(certificate), private_key: Buffer.from(key) }],
      clientCa !== undefined,
    );
  }

  private setStatus(status: "SERVING" | "NOT_SERVING"): void {
    this.health.setStatus("", status);
    this.health.setStatus(SERVICE, status);
  }

  private accept(call: Raw, rpc: "Process" | "Produce"): void {
    const stream = ++this.lastStream;
    const open: OpenStream = { call, inHand: 0 };
    this.streams.set(stream, open);
    this.post({ kind: "open", stream, rpc });
    call.on("data", (message: Buffer) => {
      if (rpc === "Process" && message[0] === WORK_TAG) {
        open.inHand++;
        this.tickTimer ??= setInterval(() => this.tick(), TICK_MS);
      }
      const { bytes, transfer } = detach(message);
      this.post({ kind: "message", stream, message: bytes }, [transfer]);
    });
    call.on("end", () => this.post({ kind: "halfClosed", stream }));
    const gone = (): void => {
      if (this.streams.delete(stream)) this.post({ kind: "gone", stream });
    };
    call.on("cancelled", gone);
    call.on("error", gone);
    call.on("close", gone);
  }

  private tick(): void {
    this.calls.tick();
    for (const { inHand } of this.streams.values()) if (inHand > 0) return;
    clearInterval(this.tickTimer);
    this.tickTimer = undefined;
  }

  private reportProgress(): void {
    const now = performance.timeOrigin + performance.now() - this.data.timeOrigin;
    for (const [stream, { call, inHand }] of this.streams) {
      if (inHand <= 0) continue;
      const calls = this.calls.read(stream, MAX_PROGRESS_CALLS).map(({ sequence, index, start }) => ({
        sequence,
        index,
        age: toDuration(now - start),
      }));
      call.write(ProcessResponse.encode({ response: { $case: "progress", value: { calls } } }).finish());
    }
  }
}

/** First byte of a ProcessRequest that holds a Work: field 2, length-delimited. */
const WORK_TAG = (2 << 3) | 2;

/** The message as memory that can move to another thread; copied only when it shares its memory with others. */
function detach(message: Buffer): { bytes: Uint8Array; transfer: ArrayBuffer } {
  const { buffer, byteOffset, byteLength } = message;
  // grpc-js puts each message into a buffer of its own, behind the five bytes of its prefix, unless the pool served it.
  const alone = byteOffset <= 5 && byteOffset + byteLength === buffer.byteLength;
  const bytes = alone ? new Uint8Array(buffer, byteOffset, byteLength) : new Uint8Array(message);
  return { bytes, transfer: bytes.buffer as ArrayBuffer };
}

const identity = (bytes: Buffer): Buffer => bytes;
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const method = (name: string, streams: boolean) => ({
  path: `/${SERVICE}/${name}`,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: asBuffer,
  requestDeserialize: identity,
  responseSerialize: asBuffer,
  responseDeserialize: identity,
});
const SERVICE_DEFINITION: ServiceDefinition = {
  Describe: method("Describe", false),
  Process: method("Process", true),
  Produce: method("Produce", true),
};
