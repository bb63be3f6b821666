// The typed JSON map without Meshloom: `node loop.js PAYLOAD EVENTS` says after each so many events how many are done.
import { writeSync } from "node:fs";
import { Reading, score } from "./reading.js";

const payload = Buffer.from(process.argv[2]);
const events = Number(process.argv[3]);
let done = 0;
while (true) {
  const encoded = [];
  for (let i = 0; i < events; i++) {
    encoded.push(Buffer.from(JSON.stringify(score(Reading.parse(JSON.parse(payload.toString()))))));
  }
  done += encoded.length;
  writeSync(1, `${done}\n`);
}
