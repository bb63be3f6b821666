// receiver: stands in for Slack in the demo. `node receiver.js [--port 0] [--out alerts.ndjson]` prints its URL, keeps
// every alert that is posted to it, and answers GET /alerts with {count, unique, last}.
import { openSync, writeSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

/** Largest accepted body, bytes. */
const MAX_BODY = 1024 * 1024;
/** Alerts shown by GET /alerts. */
const LAST = 10;

/** A server that keeps alerts, not yet listening. `out`: a file that gets one line per POST. */
export function createReceiver({ out } = {}) {
  const file = out === undefined ? undefined : openSync(out, "a");
  const uids = new Set();
  const last = [];
  let count = 0;

  function keep(uid, text) {
    count++;
    uids.add(uid);
    last.push({ uid, text });
    if (last.length > LAST) last.shift();
    if (file !== undefined) writeSync(file, `${JSON.stringify({ uid, text })}\n`);
  }

  return createServer(async (request, response) => {
    const answer = (status, body, type = "text/plain") =>
      response.writeHead(status, { "content-type": type }).end(body);
    if (request.method === "GET" && request.url === "/alerts") {
      answer(200, JSON.stringify({ count, unique: uids.size, last }), "application/json");
      return;
    }
    if (request.method !== "POST") {
      answer(405, "post an alert, or GET /alerts\n");
      return;
    }
    const alert = await readAlert(request);
    const uid = request.headers["idempotency-key"];
    if (typeof alert?.text !== "string") answer(400, 'invalid_payload: expected {"text": "..."}\n');
    else if (uid === undefined) answer(400, "missing header Idempotency-Key\n");
    else {
      keep(uid, alert.text);
      answer(200, "ok");
    }
  });
}

/** The posted JSON; undefined when it is too large or not JSON. */
async function readAlert(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes <= MAX_BODY) chunks.push(chunk);
  }
  if (bytes > MAX_BODY) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString());
  } catch {
    return undefined;
  }
}

if (process.argv[1]?.endsWith("receiver.js")) {
  const { values } = parseArgs({ options: { port: { type: "string", default: "0" }, out: { type: "string" } } });
  const server = createReceiver({ out: values.out });
  server.on("error", (error) => {
    console.error(`receiver: cannot listen on port ${values.port}: ${error.message}; choose another with --port`);
    process.exit(69);
  });
  server.listen(Number(values.port), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
  process.on("SIGTERM", () => process.exit(0));
}
