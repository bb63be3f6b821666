import * as grpc from "@grpc/grpc-js";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { type Node, serve } from "meshloom";
import type { Batch, Strings, Values } from "../dist/esm/gen/meshloom/v1/batch.js";
import { DescribeResponse } from "../dist/esm/gen/meshloom/v1/node.js";
import {
  FailureAction,
  type OpenProcess,
  Ordering,
  ProcessRequest,
  ProcessResponse,
  type Work,
  type WorkResult,
} from "../dist/esm/gen/meshloom/v1/process.js";
import { type OpenProduce, ProduceRequest, ProduceResponse } from "../dist/esm/gen/meshloom/v1/produce.js";

/** A socket path in a folder of its own, removed after the tests. */
export function socketPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "ml-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "s");
}

/** Serves nodes in this process until the tests end. */
export async function start(...nodes: Node[]): Promise<{ address: string; stop: () => Promise<void> }> {
  const stop = new AbortController();
  const address = `unix:${socketPath()}`;
  let listening!: () => void;
  const ready = new Promise<void>((resolve) => (listening = resolve));
  const done = serve(...nodes, { listen: address, signal: stop.signal, onListening: listening });
  await Promise.race([ready, done]);
  const end = async (): Promise<void> => {
    stop.abort();
    await done;
  };
  after(end);
  return { address, stop: end };
}

type Raw = grpc.ClientDuplexStream<Buffer, Buffer>;
const identity = (bytes: Buffer): Buffer => bytes;
const MAX = 64 * 1024 * 1024;

/** A coordinator's end of the line, spoken by hand. */
export class Client {
  readonly grpc: grpc.Client;

  constructor(address: string, credentials = grpc.credentials.createInsecure()) {
    this.grpc = new grpc.Client(address, credentials, {
      "grpc.max_receive_message_length": MAX,
      "grpc.max_send_message_length": MAX,
      "grpc.use_local_subchannel_pool": 1,
    });
    after(() => this.grpc.close());
  }

  unary(path: string, request: Buffer, deadlineMs = 60_000): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + deadlineMs };
      this.grpc.makeUnaryRequest(path, identity, identity, request, options, (error, response) =>
        error === null ? resolve(response!) : reject(error),
      );
    });
  }

  async describe(): Promise<DescribeResponse> {
    return DescribeResponse.decode(await this.unary("/meshloom.v1.NodeService/Describe", Buffer.alloc(0)));
  }

  /** `SERVING` is 1, `NOT_SERVING` 2. */
  async health(deadlineMs?: number): Promise<number> {
    const response = await this.unary("/grpc.health.v1.Health/Check", Buffer.alloc(0), deadlineMs);
    return response[1] ?? 0;
  }

  duplex(rpc: "Process" | "Produce"): Raw {
    return this.grpc.makeBidiStreamRequest(`/meshloom.v1.NodeService/${rpc}`, identity, identity);
  }

  async process(open: Partial<OpenProcess> & { config?: unknown } = {}): Promise<ProcessStream> {
    const stream = new ProcessStream(this.duplex("Process"));
    stream.send({ $case: "open", value: openProcess(open) });
    await stream.until("opened");
    return stream;
  }

  async produce(open: Partial<OpenProduce> & { config?: unknown } = {}): Promise<ProduceStream> {
    const stream = new ProduceStream(this.duplex("Produce"));
    const { config, ...rest } = open;
    const common = { ...openProcess({ config }), checkpoint: undefined, trace: undefined };
    stream.send({ $case: "open", value: { ...common, ...rest } });
    await stream.until("opened");
    return stream;
  }
}

export function openProcess({ config, ...rest }: Partial<OpenProcess> & { config?: unknown } = {}): OpenProcess {
  return {
    protocol: { min: 1, max: 1 },
    pipeline: "pipe",
    node: "",
    handler: "",
    replica: { index: 0, of: 1 },
    capabilities: [],
    configJson: Buffer.from(config === undefined ? "" : JSON.stringify(config)),
    ordering: Ordering.ORDERING_NONE,
    concurrency: 0,
    ...rest,
  };
}

/** Reads one side of a stream as a queue; nothing that came is lost between two reads. */
class Stream<Response extends { $case: string }> {
  readonly received: Response[] = [];
  /** How the stream ended. */
  readonly status: Promise<grpc.StatusObject>;
  ended: grpc.StatusObject | undefined;
  private read = 0;
  private wake: (() => void)[] = [];

  constructor(
    readonly raw: Raw,
    decode: (bytes: Buffer) => Response,
  ) {
    raw.on("data", (bytes: Buffer) => {
      this.received.push(decode(bytes));
      this.notify();
    });
    raw.on("error", () => undefined);
    this.status = new Promise((resolve) =>
      raw.on("status", (status) => {
        this.ended = status;
        this.notify();
        resolve(status);
      }),
    );
  }

  private notify(): void {
    for (const resume of this.wake.splice(0)) resume();
  }

  /** The next response of a kind; others are passed over. Throws when the stream ends or 60 s have gone. */
  async until<K extends Response["$case"]>(kind: K): Promise<Extract<Response, { $case: K }>> {
    const deadline = Date.now() + 60_000;
    for (;;) {
      const next = this.received[this.read];
      if (next !== undefined) {
        this.read++;
        if (next.$case === kind) return next as Extract<Response, { $case: K }>;
        continue;
      }
      if (this.ended !== undefined) throw Object.assign(new Error(this.ended.details), { status: this.ended });
      if (Date.now() > deadline) throw new Error(`no ${kind} within 60 s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, deadline - Date.now() + 10);
        this.wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }
}

type Of<T> = NonNullable<T>;

export class ProcessStream extends Stream<Of<ProcessResponse["response"]>> {
  private sequence = 0n;

  constructor(raw: Raw) {
    super(raw, (bytes) => ProcessResponse.decode(bytes).response!);
  }

  send(request: ProcessRequest["request"]): void {
    this.raw.write(Buffer.from(ProcessRequest.encode({ request }).finish()));
  }

  /** Sends a work; returns its sequence. */
  work(batch: Batch, more: Partial<Work> = {}): bigint {
    const value = { sequence: ++this.sequence, attempts: Buffer.alloc(0), timeout: undefined, batch, ...more };
    this.send({ $case: "work", value });
    return value.sequence;
  }

  cancel(sequence: bigint): void {
    this.send({ $case: "cancel", value: { sequence, reason: "test" } });
  }

  /** All results of a work up to its last, as one account. */
  async answer(sequence: bigint): Promise<Answer> {
    const results: WorkResult[] = [];
    while (results.at(-1)?.last !== true) {
      const { value } = await this.until("result");
      if (value.sequence === sequence) results.push(value);
    }
    return new Answer(results);
  }

  /** Sends rows and reads their answer. */
  async handle(rows: readonly unknown[], more: Partial<Work> = {}, columns: Partial<Batch> = {}): Promise<Answer> {
    return this.answer(this.work(batchOf(rows, columns), more));
  }
}

export class ProduceStream extends Stream<Of<ProduceResponse["response"]>> {
  constructor(raw: Raw) {
    super(raw, (bytes) => ProduceResponse.decode(bytes).response!);
  }

  send(request: ProduceRequest["request"]): void {
    this.raw.write(Buffer.from(ProduceRequest.encode({ request }).finish()));
  }

  demand(events: number, bytes = 1 << 20): void {
    this.send({ $case: "demand", value: { events: BigInt(events), bytes: BigInt(bytes) } });
  }
}

/** The answer to one work. */
export class Answer {
  constructor(readonly results: readonly WorkResult[]) {}

  /** Every output with its parent, in the order sent. */
  get outputs(): { parent: number; value: unknown; key: string | undefined; route: string | undefined }[] {
    return this.results.flatMap(({ outputs }) => {
      if (outputs === undefined) return [];
      const parents = outputs.parent.length === 0 ? [...Array(outputs.count).keys()] : readNumbers(outputs.parent);
      const payloads = outputs.payload === undefined ? undefined : readValues(outputs.payload);
      const [keys, routes] = [readStrings(outputs.key, outputs.count), readStrings(outputs.route, outputs.count)];
      return parents.map((parent, i) => ({
        parent,
        value: payloads === undefined ? undefined : (JSON.parse(payloads[i]!.toString()) as unknown),
        key: keys[i],
        route: routes[i],
      }));
    });
  }

  get failures(): WorkResult["failures"] {
    return this.results.flatMap((result) => result.failures);
  }

  /** `index:ACTION:reason` of every failure, by index. */
  get failed(): string[] {
    return [...this.failures]
      .sort((a, b) => a.index - b.index)
      .map(
        ({ index, action, reason }) =>
          `${index}:${action === FailureAction.FAILURE_ACTION_REJECT ? "REJECT" : "RETRY"}:${reason}`,
      );
  }

  get consumed(): number {
    return this.results.at(-1)!.consumed;
  }
}

export const u32 = (numbers: readonly number[]): Buffer => Buffer.from(Uint32Array.from(numbers).buffer);
export const readNumbers = (bytes: Uint8Array): number[] => [...new Uint32Array(new Uint8Array(bytes).buffer)];

export function values(items: readonly (string | Buffer)[]): Values {
  const buffers = items.map((item) => Buffer.from(item as string));
  let end = 0;
  return { data: Buffer.concat(buffers), ends: u32(buffers.map((buffer) => (end += buffer.length))) };
}

export const strings = (items: readonly string[], index: readonly number[] = []): Strings => ({
  values: values(items),
  index: u32(index),
});

export function readValues({ data, ends }: Values): Buffer[] {
  let from = 0;
  return readNumbers(ends).map((end) => {
    const value = Buffer.from(data.subarray(from, end));
    from = end;
    return value;
  });
}

export function readStrings(column: Strings | undefined, count: number): (string | undefined)[] {
  const found = column?.values === undefined ? [] : readValues(column.values).map(String);
  const index = column === undefined ? [] : readNumbers(column.index);
  return Array.from({ length: count }, (_, i) =>
    index.length > 0 ? found[index[i]!] : found.length === 1 ? found[0] : found[i],
  );
}

/** A batch of JSON payloads with uids 0, 1, 2, ... */
export function batchOf(rows: readonly unknown[], columns: Partial<Batch> = {}): Batch {
  const uid = Buffer.alloc(rows.length * 16);
  rows.forEach((_, i) => uid.writeUInt32BE(i, i * 16 + 12));
  return {
    count: rows.length,
    payload: values(rows.map((row) => JSON.stringify(row))),
    contentType: strings(["application/json"]),
    uid,
    time: Buffer.alloc(0),
    id: undefined,
    source: undefined,
    type: undefined,
    subject: undefined,
    key: undefined,
    dataSchema: undefined,
    from: undefined,
    extensions: [],
    spans: [],
    ...columns,
  };
}

/** Waits until a condition holds; fails after 60 s. */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 60 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A promise and its resolver. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
