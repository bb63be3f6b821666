import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { run } from "meshloom/testing";
import { alert } from "./alert.js";
import { createReceiver } from "./receiver.js";

const reading = { sensor: "alpha", celsius: 35.2, time: "2026-01-01T00:00:00Z", prediction: "critical", score: 0.98 };

async function listen(server) {
  await once(server.listen(0, "127.0.0.1"), "listening");
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  process.env.SLACK_WEBHOOK_URL = `http://127.0.0.1:${server.address().port}/`;
  return process.env.SLACK_WEBHOOK_URL;
}

/** A webhook that answers as it is told, in turn. */
const answering = (...answers) =>
  createServer((_, response) => {
    const [status, headers] = answers.shift() ?? [200, {}];
    response.writeHead(status, headers).end("said so");
  });

test("an alert arrives with its text and uid, and repeats are counted once", async () => {
  const url = await listen(createReceiver());
  const result = await run(alert, [reading], { config: { title: "Cold store" } });
  assert.deepEqual(result.dropped, [0]);
  await run(alert, [reading]);
  const { count, unique, last } = await (await fetch(`${url}alerts`)).json();
  assert.deepEqual([count, unique], [2, 1]);
  assert.equal(
    last[0].text,
    ":rotating_light: Cold store: critical: alpha 35.2 C at 2026-01-01T00:00:00Z (score 0.98)",
  );
  assert.match(last[0].uid, /^[0-9a-f]{32}$/);
});

test("429 and 5xx are retried, after Retry-After; another 4xx is refused for good", async () => {
  await listen(answering([429, { "retry-after": "3" }], [503, {}], [200, {}]));
  const result = await run(alert, [reading], { attempts: 3 });
  assert.deepEqual(
    result.retried.map(({ reason, attempt, afterMs }) => [reason, attempt, afterMs]),
    [
      ["RETRY", 1, 3000],
      ["RETRY", 2, undefined],
    ],
  );
  assert.deepEqual(result.dropped, [0]);
  await listen(answering([404, {}]));
  const [rejected] = (await run(alert, [reading])).rejected;
  assert.equal(rejected.reason, "WEBHOOK_REFUSED");
  assert.match(rejected.message, /answered 404: said so/);
});

test("no webhook, a bad one, a wrong config: set-up says what to do", async () => {
  process.env.SLACK_WEBHOOK_URL = "";
  await assert.rejects(run(alert, [reading]), /set SLACK_WEBHOOK_URL to your Slack webhook/);
  process.env.SLACK_WEBHOOK_URL = "slack";
  await assert.rejects(run(alert, [reading]), /no http\(s\) URL/);
  await assert.rejects(run(alert, [reading], { config: { tilte: "x" } }), /tilte/);
});

test("a payload that is no prediction is refused with the field named", async () => {
  await listen(createReceiver());
  const [rejected] = (await run(alert, [{ ...reading, celsius: "hot" }])).rejected;
  assert.equal(rejected.reason, "PAYLOAD_MISMATCH");
  assert.match(rejected.message, /celsius/);
});

test("the receiver prints its URL, keeps lines in a file and refuses what is no alert", async () => {
  const folder = mkdtempSync(join(tmpdir(), "receiver-"));
  after(() => rmSync(folder, { recursive: true }));
  const program = join(dirname(fileURLToPath(import.meta.url)), "receiver.js");
  const child = spawn(process.execPath, [program, "--out", join(folder, "alerts")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  after(() => child.kill());
  const [url] = await once(createInterface(child.stdout), "line");
  const post = (headers, body) => fetch(url, { method: "POST", headers, body });
  assert.equal((await post({ "idempotency-key": "u1" }, '{"text":"hot"}')).status, 200);
  assert.equal((await post({ "idempotency-key": "u1" }, "{")).status, 400);
  assert.equal((await post({}, '{"text":"hot"}')).status, 400);
  assert.equal((await fetch(url)).status, 405);
  assert.equal(readFileSync(join(folder, "alerts"), "utf8"), '{"uid":"u1","text":"hot"}\n');
});
