import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test, type TestContext } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { output, PublishError, Publisher, type PublisherOptions, UnacknowledgedError } from "meshloom";
import { type OpenPublish, PublishRequest, PublishResponse } from "../dist/esm/gen/meshloom/v1/ingress.js";
import { readStrings } from "./harness.js";

/** Longer than anything in these tests takes. */
const SOON = 50_000;

type Call = grpc.ServerDuplexStream<PublishRequest, PublishResponse>;

/** Values that are waited for. */
class Mailbox<T> {
  private readonly values: T[] = [];
  private readonly waiting: ((value: T) => void)[] = [];

  put(value: T): void {
    const waiting = this.waiting.shift();
    if (waiting === undefined) this.values.push(value);
    else waiting(value);
  }

  get(): Promise<T> {
    const value = this.values.shift();
    return value === undefined ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve(value);
  }

  get empty(): boolean {
    return this.values.length === 0;
  }
}

/** One publisher's stream, as the test sees it. */
class Stream {
  readonly requests = new Mailbox<PublishRequest>();

  constructor(
    private readonly call: Call,
    readonly open: OpenPublish,
  ) {}

  say(response: PublishResponse["response"]): void {
    this.call.write({ response });
  }

  credit(events: number, bytes = 1_000_000): void {
    this.say({ $case: "credit", value: { events: BigInt(events), bytes: BigInt(bytes) } });
  }

  acknowledge(sequence: bigint): void {
    this.say({ $case: "acknowledged", value: { sequence } });
  }

  fail(code: grpc.status, details: string): void {
    this.call.emit("error", { code, details });
  }

  /** The next publication: its sequence and the ids in it. */
  async publication(): Promise<{ sequence: bigint; ids: (string | undefined)[] }> {
    const { request } = await this.requests.get();
    assert(request?.$case === "publication");
    const { sequence, batch } = request.value;
    return { sequence, ids: readStrings(batch!.id, batch!.count) };
  }
}

/** A real server whose streams the test drives. */
class Ingress {
  private readonly streams = new Mailbox<Stream>();
  private readonly server = new grpc.Server();
  address = "";

  static async start(t: TestContext, port = 0): Promise<Ingress> {
    const ingress = new Ingress();
    const method = {
      path: "/meshloom.v1.IngressService/Publish",
      requestStream: true,
      responseStream: true,
      requestDeserialize: (bytes: Buffer) => PublishRequest.decode(bytes),
      requestSerialize: (message: PublishRequest) => Buffer.from(PublishRequest.encode(message).finish()),
      responseSerialize: (message: PublishResponse) => Buffer.from(PublishResponse.encode(message).finish()),
      responseDeserialize: (bytes: Buffer) => PublishResponse.decode(bytes),
    };
    ingress.server.addService({ publish: method }, { publish: (call: Call) => ingress.publish(call) });
    const bound = await new Promise<number>((resolve, reject) => {
      ingress.server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, found) =>
        error === null ? resolve(found) : reject(error),
      );
    });
    ingress.address = `127.0.0.1:${bound}`;
    t.after(() => ingress.stop());
    return ingress;
  }

  private publish(call: Call): void {
    let stream: Stream | undefined;
    call.on("error", () => undefined);
    call.on("data", (message: PublishRequest) => {
      if (stream !== undefined) {
        stream.requests.put(message);
        return;
      }
      assert(message.request?.$case === "open");
      stream = new Stream(call, message.request.value);
      stream.say({ $case: "opened", value: { protocol: 1, maxEventBytes: 1_000_000n } });
      this.streams.put(stream);
    });
    call.on("end", () => call.end());
  }

  stream(): Promise<Stream> {
    return this.streams.get();
  }

  stop(): void {
    this.server.forceShutdown();
  }
}

function publisherTo(t: TestContext, address: string, options: PublisherOptions = {}): Publisher {
  const publisher = new Publisher(address, options);
  t.after(() => publisher.close(0).catch(() => undefined));
  return publisher;
}

const rejected = (reason: string, words: string) => (error: unknown) => {
  assert(error instanceof PublishError);
  assert.equal(error.reason, reason);
  assert(error.message.includes(words), error.message);
  return true;
};

test("acknowledgements may come in any order", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address, { pipeline: "p", node: "n" });
  const stream = await ingress.stream();
  assert.deepEqual(stream.open, { pipeline: "p", node: "n", protocol: { min: 1, max: 1 } });
  stream.credit(10);
  const first = await publisher.publish(output({ n: 1 }, { id: "a", key: "k", extensions: { site: "north" } }));
  const one = await stream.publication();
  assert.deepEqual(one.ids, ["a"]);
  const second = await publisher.publish(Buffer.from("two"));
  const two = await stream.publication();
  assert.match(two.ids[0]!, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(second.id, two.ids[0]);
  stream.acknowledge(two.sequence);
  await second.durable;
  let early = true;
  const done = first.durable.then(() => assert(!early));
  await new Promise(setImmediate);
  early = false;
  stream.acknowledge(one.sequence);
  await done;
  await publisher.close(SOON);
});

test("a batch is what the credit admits", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address);
  for (let n = 0; n < 5; n++) await publisher.publish(Buffer.alloc(10));
  const stream = await ingress.stream();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert(stream.requests.empty, "no credit, no events");
  // Any credit admits one event, whatever its size.
  for (const [events, bytes, expected] of [
    [10, 20, 2],
    [10, 1, 1],
    [10, 1000, 2],
  ] as const) {
    stream.credit(events, bytes);
    const { sequence, ids } = await stream.publication();
    assert.equal(ids.length, expected);
    stream.acknowledge(sequence);
  }
  await publisher.flush(SOON);
});

test("what was not acknowledged is sent again with the same ids", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address);
  const published = [];
  for (let n = 0; n < 3; n++) published.push(await publisher.publish({ n }));
  let stream = await ingress.stream();
  stream.credit(2);
  const { ids } = await stream.publication();
  assert.equal(ids.length, 2);
  stream.fail(grpc.status.UNAVAILABLE, "the pipeline is stopping");
  stream = await ingress.stream();
  stream.credit(2);
  assert.deepEqual((await stream.publication()).ids, ids);
  ingress.stop(); // Cuts the connection.
  const later = await Ingress.start(t, Number(ingress.address.split(":")[1]));
  stream = await later.stream();
  stream.credit(3);
  const again = await stream.publication();
  assert.deepEqual([again.ids.length, again.ids.slice(0, 2)], [3, ids]);
  stream.acknowledge(again.sequence);
  await Promise.all(published.map(({ durable }) => durable));
});

test("a refused event fails alone", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address);
  const published = [];
  for (const id of ["0", "1", "2"]) published.push(await publisher.publish(output(1, { id })));
  const stream = await ingress.stream();
  stream.credit(6);
  const { sequence, ids } = await stream.publication();
  assert.deepEqual(ids, ["0", "1", "2"]);
  const failure = { index: 1, action: 2, reason: "EVENT_TOO_LARGE", message: "raise it", retryAfter: undefined };
  stream.say({ $case: "refused", value: { sequence, failures: [failure] } });
  await assert.rejects(published[1]!.durable, rejected("EVENT_TOO_LARGE", "raise it"));
  const again = await stream.publication();
  assert.deepEqual(again.ids, ["0", "2"]);
  stream.acknowledge(again.sequence);
  await Promise.all([published[0]!.durable, published[2]!.durable]);
});

test("close says what was not acknowledged", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address);
  const first = await publisher.publish(output(1, { id: "e1" }));
  await publisher.publish(output(2, { id: "e2" }));
  await assert.rejects(publisher.close(100), (error: unknown) => {
    assert(error instanceof UnacknowledgedError);
    assert.deepEqual(error.ids, ["e1", "e2"]);
    assert(error.message.startsWith("2 events were not acknowledged within 100 ms"), error.message);
    return true;
  });
  await assert.rejects(first.durable, rejected("CLOSED", "publish it again with the same id"));
  await assert.rejects(publisher.publish(3), rejected("CLOSED", "the publisher is closed"));
});

test("a publisher that is refused says why and stops", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address, { node: "other" });
  const { durable } = await publisher.publish(1);
  (await ingress.stream()).fail(grpc.status.NOT_FOUND, "there is no node `other` here");
  const refused = rejected("REJECTED", "refused this publisher: there is no node `other` here");
  await assert.rejects(durable, refused);
  await assert.rejects(publisher.publish(2), refused);
  await assert.rejects(publisher.flush(SOON), refused);
});

test("publish waits while the queue is full", async (t) => {
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address, { queueEvents: 2 });
  const first = await publisher.publish(1);
  const second = await publisher.publish(2);
  let queued = false;
  const third = publisher.publish(3).then((acknowledgement) => {
    queued = true;
    return acknowledgement;
  });
  const stream = await ingress.stream();
  stream.credit(3);
  const { sequence, ids } = await stream.publication();
  assert.deepEqual([ids.length, queued], [2, false]);
  stream.acknowledge(sequence);
  await Promise.all([first.durable, second.durable]);
  const last = await third;
  stream.acknowledge((await stream.publication()).sequence);
  await last.durable;
});

test("a source that is not there is named as the cause", async (t) => {
  const port = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      assert(address !== null && typeof address === "object");
      probe.close(() => resolve(address.port));
    });
  });
  const publisher = publisherTo(t, `127.0.0.1:${port}`);
  await publisher.publish(1);
  for (const started = performance.now(); ;) {
    const error: unknown = await publisher.flush(50).catch((reason: unknown) => reason);
    assert(error instanceof UnacknowledgedError);
    if (error.message.includes(`127.0.0.1:${port}`)) break;
    assert(performance.now() - started < SOON, error.message);
  }
});

test("what cannot be sent is refused at once", async (t) => {
  for (const address of ["", "localhost", ":7490", "host:port"]) {
    assert.throws(() => new Publisher(address), { name: "TypeError", message: /write HOST:PORT/ });
  }
  const ingress = await Ingress.start(t);
  const publisher = publisherTo(t, ingress.address);
  for (const [event, words] of [
    [undefined, "has no JSON form"],
    [output(1, { checkpoint: 1 }), "no checkpoints"],
    [output(1, { route: "hot" }), "no route"],
    [Buffer.alloc(16 * 1024 * 1024 + 1), "the limit is"],
    [output(1, { key: "k".repeat(1025) }), "key has 1025 bytes"],
  ] as const) {
    await assert.rejects(publisher.publish(event), rejected("INVALID", words));
  }
  await publisher.close(SOON);
});
