// The publisher of the e2e tests in Node.js: publish.js ADDRESS COUNT publishes {"n": 1..COUNT, "do": "pass"}, waits until
// all is acknowledged, and says how many were.
import { output, Publisher } from "meshloom";

/** Milliseconds for everything to be acknowledged, over a restart of the pipeline too. */
const PATIENCE = 120_000;

const [address, count] = process.argv.slice(2);
const publisher = new Publisher(address);
const durable = [];
for (let n = 1; n <= Number(count); n++) {
  const acknowledgement = await publisher.publish(output({ n, do: "pass" }, { key: String(n), type: "test" }));
  durable.push(acknowledgement.durable);
}
await publisher.close(PATIENCE);
await Promise.all(durable);
console.log(`acknowledged ${durable.length}`);
