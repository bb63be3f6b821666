import { Batch } from "../columns/batch.js";
import { asBuffer } from "../columns/values.js";
import { ProduceRequest, ProduceResponse } from "../gen/meshloom/v1/produce.js";
import type { Instances } from "../instances.js";
import type { Node } from "../node.js";
import { ProduceSession } from "../produce/session.js";
import { opening } from "./opening.js";
import type { RunOptions } from "./options.js";
import { toValue } from "./outputs.js";
import type { Delivered, TestOutput } from "./results.js";
import { MemoryWire } from "./wire.js";

/** Runs a source until it ends or has given as many events as are asked for. */
export async function runSource(node: Node, options: RunOptions, instances: Instances): Promise<Delivered> {
  const wire = new MemoryWire();
  const session = new ProduceSession(wire, [node.definition], instances, () => undefined);
  const send = (request: ProduceRequest["request"]): void =>
    session.receive(asBuffer(ProduceRequest.encode({ request }).finish()));
  const checkpoint = options.checkpoint === undefined ? undefined : Buffer.from(JSON.stringify(options.checkpoint));
  const limit = options.limit ?? Infinity;
  send({
    $case: "open",
    value: {
      ...opening(node, options),
      checkpoint,
      trace: { rule: { $case: "ratio", value: options.spans === true ? 1 : 0 } },
    },
  });
  send({ $case: "demand", value: { events: BigInt(Math.min(limit, 1e12)), bytes: 1n << 50n } });
  const outputs: TestOutput[] = [];
  let [last, exhausted] = [options.checkpoint, false];
  for (let message = await wire.next(); message !== undefined; message = await wire.next()) {
    const { response } = ProduceResponse.decode(asBuffer(message));
    if (response?.$case === "exhausted") exhausted = true;
    if (response?.$case !== "produced") continue;
    const wireBatch = response.value.batch!;
    const batch = new Batch({ ...wireBatch, uid: Buffer.alloc(wireBatch.count * 16) }, Buffer.alloc(0));
    for (const event of batch) outputs.push(fromEvent(event));
    if (response.value.checkpoint !== undefined) last = JSON.parse(Buffer.from(response.value.checkpoint).toString());
    const { sequence, checkpoint } = response.value;
    if (options.settle !== false) send({ $case: "settled", value: { sequence, checkpoint } });
    if (outputs.length >= limit) send({ $case: "stop", value: {} });
  }
  const values = outputs.map((output) => output.value);
  return { values, outputs, verdicts: [], dropped: [], rejected: [], retried: [], checkpoint: last, exhausted };
}

function fromEvent(event: ReturnType<Batch["event"]>): TestOutput {
  const { data, contentType, key, type, subject, id, dataSchema, timeNs, extensions } = event;
  return {
    parent: -1,
    data,
    value: toValue(data, contentType),
    contentType,
    key,
    route: undefined,
    type,
    subject,
    id,
    dataSchema,
    timeNs,
    extensions,
  };
}
