import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { node, serve, ServeError } from "meshloom";
import { batchOf, Client, eventually, socketPath } from "./harness.js";
import { spawnFixture, spawnNode } from "./process.js";

test("a handler that blocks the main thread stops neither health nor Progress", async () => {
  const { client } = await spawnNode("node.mjs");
  const stream = await client.process();
  const until = join(dirname(socketPath()), "go-on");
  const sequence = stream.work(batchOf([{ do: "block", until }]));
  const first = await stream.until("progress");
  assert.equal(await client.health(), 1);
  const [call] = first.value.calls;
  assert.deepEqual([call!.sequence, call!.index], [sequence, 0]);
  const second = await stream.until("progress");
  assert.ok(second.value.calls[0]!.age!.seconds >= 1n);
  assert.equal((await client.describe()).handlers.length, 1);
  writeFileSync(until, "");
  assert.deepEqual((await stream.answer(sequence)).outputs[0]!.value, { done: "block" });
});

test("SIGTERM drains: work in hand is answered, exit 0", async () => {
  const { child, client } = await spawnNode("node.mjs");
  const stream = await client.process();
  const until = join(dirname(socketPath()), "go-on");
  const sequence = stream.work(batchOf([{ do: "wait", until }]));
  await stream.until("progress");
  child.process.kill("SIGTERM");
  await eventually("NOT_SERVING", async () => (await client.health()) === 2);
  writeFileSync(until, "");
  assert.equal((await stream.answer(sequence)).outputs.length, 1);
  assert.equal((await stream.status).code, 0);
  assert.deepEqual(await child.exit, [0, null]);
});

test("a second signal ends the process at once", async () => {
  const { child, client } = await spawnNode("node.mjs");
  const stream = await client.process();
  stream.work(batchOf([{ do: "wait", until: "/no/such/file" }]));
  await stream.until("progress");
  child.process.kill("SIGTERM");
  await eventually("NOT_SERVING", async () => (await client.health()) === 2);
  child.process.kill("SIGTERM");
  assert.deepEqual(await child.exit, [130, null]);
});

test("log lines carry level, fields, node and uid, each on one line; a failure elsewhere kills the process", async () => {
  const { child, client } = await spawnNode("node.mjs");
  const stream = await client.process();
  await stream.handle([{ do: "log" }]);
  await eventually("the line", () => child.lines.length > 0);
  assert.equal(child.lines[0], `INFO two lines size=3 text="a b" node=work/0 uid=${"0".repeat(32)}`);
  stream.work(batchOf([{ do: "unhandled" }]));
  const [code] = await child.exit;
  assert.equal(code, 1);
  assert.match(child.lines.join("\n"), /nobody waits for this/);
});

const echo = node("echo").map(() => 1);
const fails = (listen: string, says: RegExp, exitCode: number): Promise<void> =>
  assert.rejects(serve(echo, { listen, signal: new AbortController().signal }), (error: unknown) => {
    assert.ok(error instanceof ServeError);
    assert.match(error.message, says);
    assert.equal(error.exitCode, exitCode);
    return true;
  });

test("addresses that cannot be served say what to do", async () => {
  await fails("unix:", /socket path is missing; write MESHLOOM_LISTEN like/, 78);
  await fails(`unix:/${"x".repeat(120)}`, /has 121 bytes, the limit of the system/, 78);
  await fails("localhost", /no host and port/, 78);
  await fails("127.0.0.1:99999", /no host and port/, 78);
  await fails("0.0.0.0:7480", /reached from other machines and TLS is off; set MESHLOOM_TLS_CERT/, 78);
  await fails("[::]:7480", /reached from other machines/, 78);
  await fails("unix:/no/such/folder/s", /cannot listen on/, 69);
  await assert.rejects(serve({ signal: new AbortController().signal }), /nothing to serve/);
  await assert.rejects(serve(echo, echo, { signal: new AbortController().signal }), /two nodes are named "echo"/);
});

test("a taken port: exit 69 with the remedy", async () => {
  const blocker = createServer().listen(0, "127.0.0.1");
  after(() => blocker.close());
  await once(blocker, "listening");
  const { port } = blocker.address() as { port: number };
  await fails(`127.0.0.1:${port}`, /the address is taken: .*set MESHLOOM_LISTEN/, 69);
  const child = spawnFixture("node.mjs", { MESHLOOM_LISTEN: `127.0.0.1:${port}` });
  assert.deepEqual(await child.exit, [69, null]);
  assert.match(child.lines[0]!, /^meshloom: cannot listen on 127.0.0.1:\d+: the address is taken/);
});

test("a socket that a dead process left is replaced, a live one and other files are not", async () => {
  const first = await spawnNode("node.mjs");
  await fails(first.address, /the address is taken/, 69);
  first.child.process.kill("SIGKILL");
  await first.child.exit;
  const path = first.address.slice("unix:".length);
  assert.ok(existsSync(path));
  const stop = new AbortController();
  await serve(echo, { listen: first.address, signal: stop.signal, onListening: () => stop.abort() });
  const file = join(dirname(socketPath()), "file");
  writeFileSync(file, "mine");
  await fails(`unix:${file}`, /cannot listen/, 69);
});

test("TLS: half a set-up is refused; on a port of its own the bound address is told", async () => {
  process.env["MESHLOOM_TLS_CERT"] = "/no/such/file";
  try {
    await fails("127.0.0.1:0", /MESHLOOM_TLS_KEY is not set/, 78);
    process.env["MESHLOOM_TLS_KEY"] = "/no/such/file";
    await fails("127.0.0.1:0", /cannot read MESHLOOM_TLS_CERT/, 78);
  } finally {
    delete process.env["MESHLOOM_TLS_CERT"];
    delete process.env["MESHLOOM_TLS_KEY"];
  }
  const stop = new AbortController();
  let address = "";
  const done = serve(echo, { listen: "127.0.0.1:0", signal: stop.signal, onListening: (bound) => (address = bound) });
  await eventually("listening", () => address !== "");
  assert.match(address, /^127\.0\.0\.1:[1-9]\d*$/);
  assert.equal(await new Client(address).health(), 1);
  stop.abort();
  await done;
});

/** A key and a certificate of its own signature, as files. */
function identity(folder: string, name: string): { key: string; cert: string } {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...curve, ...names, "-keyout", key, "-out", cert], { stdio: "ignore" });
  return { key, cert };
}

test("mutual TLS: who has the certificate that the node asks for is served, and nobody else", async () => {
  const folder = dirname(socketPath());
  const [mine, theirs] = [identity(folder, "node"), identity(folder, "client")];
  const variables = {
    MESHLOOM_TLS_CERT: mine.cert,
    MESHLOOM_TLS_KEY: mine.key,
    MESHLOOM_TLS_CLIENT_CA: theirs.cert,
  };
  Object.assign(process.env, variables);
  const stop = new AbortController();
  let port = "";
  // Every address of the machine: without mutual TLS that is refused.
  const onListening = (bound: string): void => void (port = bound.split(":").at(-1)!);
  const done = serve(echo, { listen: "0.0.0.0:0", signal: stop.signal, onListening });
  await eventually("listening", () => port !== "");
  for (const name of Object.keys(variables)) Reflect.deleteProperty(process.env, name);
  const [ca, key, cert] = [mine.cert, theirs.key, theirs.cert].map((path) => readFileSync(path));
  const known = new Client(`localhost:${port}`, credentials.createSsl(ca, key, cert));
  assert.equal(await known.health(), 1);
  for (const unknown of [credentials.createSsl(ca), credentials.createInsecure()]) {
    await assert.rejects(new Client(`localhost:${port}`, unknown).health(), /UNAVAILABLE/);
  }
  assert.equal(await known.health(), 1);
  stop.abort();
  await done;
});

test("reflection lists the services, v1 and v1alpha", async () => {
  const { client } = await spawnNode("node.mjs");
  for (const version of ["v1", "v1alpha"]) {
    const call = client.grpc.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    // The node is killed while the stream may still be closing.
    call.on("error", () => undefined);
    // ServerReflectionRequest{list_services: ""}
    call.write(Buffer.from([0x3a, 0]));
    const [answer] = (await once(call, "data")) as [Buffer];
    call.end();
    assert.match(answer.toString("latin1"), /meshloom\.v1\.NodeService/);
    assert.match(answer.toString("latin1"), /grpc\.health\.v1\.Health/);
  }
});

test("SIGTERM ends the process also where a client never closes its half of the connection", async () => {
  const { child, address } = await spawnNode("node.mjs");
  const socket = connect({ path: address.slice("unix:".length), allowHalfOpen: true });
  socket.on("error", () => undefined);
  after(() => socket.destroy());
  await once(socket, "connect");
  // The preface of HTTP/2 and empty SETTINGS; the answer says that the connection stands.
  socket.write(Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.of(0, 0, 0, 4, 0, 0, 0, 0, 0)]));
  await once(socket, "data");
  child.process.kill("SIGTERM");
  assert.deepEqual(await child.exit, [0, null]);
});
