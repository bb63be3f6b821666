import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { SourceContext } from "../context.js";
import type { Definition } from "../definition.js";
import { describeError } from "../errors.js";
import { type OpenProduce, ProduceRequest, ProduceResponse } from "../gen/meshloom/v1/produce.js";
import type { Instances } from "../instances.js";
import { open, type Ready, Refused, refusal } from "../opening.js";
import { stepsOf, writePath } from "../paths.js";
import { Reasons } from "../reasons.js";
import { Code, errorInfo } from "../status.js";
import type { Session, Wire } from "../transport/wire.js";
import { Credit } from "./credit.js";
import { CheckpointRepeated } from "./ids.js";
import { Running } from "./running.js";
import { Settlement } from "./settlement.js";

/** One Produce stream. */
export class ProduceSession implements Session {
  private readonly credit = new Credit();
  private readonly stopping = new AbortController();
  private started = false;
  private running: Running | undefined;
  private settlement: Settlement | undefined;
  private over = false;

  constructor(
    private readonly wire: Wire,
    private readonly definitions: readonly Definition[],
    private readonly instances: Instances,
    private readonly onOver: () => void,
  ) {}

  receive(message: Buffer): void {
    if (this.over) return;
    let request: ProduceRequest["request"];
    try {
      ({ request } = ProduceRequest.decode(message));
    } catch (error) {
      this.violation(`a request cannot be decoded: ${describeError(error)}`);
      return;
    }
    if (!this.started && request?.$case !== "open") {
      this.violation("the first request of a Produce stream must be open");
      return;
    }
    switch (request?.$case) {
      case "open":
        if (this.started) this.violation("open came twice: it is the first request of a stream, once");
        else void this.open(request.value);
        break;
      case "demand":
        this.credit.add(request.value.events, request.value.bytes);
        break;
      case "settled":
        this.settlement?.settled(request.value.sequence, request.value.checkpoint);
        break;
      case "stop":
        this.stop("the coordinator asked the source to stop");
        break;
      case undefined: // A request of a later protocol version.
        break;
    }
  }

  halfClosed(): void {
    this.stop("the coordinator has closed the stream");
    if (!this.started) this.end();
  }

  drain(): void {
    this.stop("the node is draining");
    if (!this.started) this.end();
  }

  gone(): void {
    this.over = true;
    this.stop("the stream is gone");
    this.running?.abandon();
    this.onOver();
  }

  private stop(why: string): void {
    this.stopping.abort(new DOMException(why, "AbortError"));
    this.credit.wake();
  }

  private async open(request: OpenProduce): Promise<void> {
    this.started = true;
    try {
      const ready = await open(request, "Produce", this.definitions, this.instances);
      const { definition, scope } = ready;
      const context = this.context(ready, await readCheckpoint(request.checkpoint, definition.source.checkpoint));
      if (this.over) return;
      this.send({ $case: "opened", value: ready.opened });
      const hook = definition.source.settled;
      const settlement = new Settlement(hook && ((checkpoint) => hook(checkpoint, context)), (what, error) =>
        context.log.error(what, { error }),
      );
      this.settlement = settlement;
      this.running = new Running(request, definition, context, scope, this.credit, this.wire, (value, receipts) => {
        settlement.sent(value.sequence, receipts);
        this.send({ $case: "produced", value });
      });
      const exhausted = await this.running.run();
      await settlement.heard();
      if (exhausted) this.send({ $case: "exhausted", value: {} });
      this.end();
    } catch (error) {
      if (this.over) return;
      this.wire.end(error instanceof Refused ? error.status : failed(error));
      this.over = true;
      this.onOver();
    }
  }

  private context({ scope }: Ready, checkpoint: unknown): SourceContext<unknown, unknown> {
    const { config, state, pipeline, node, replica, tracer } = scope;
    const log = scope.logger();
    return { config, state, pipeline, node, replica, tracer, checkpoint, log, signal: this.stopping.signal };
  }

  private send(response: ProduceResponse["response"]): void {
    if (!this.over) this.wire.send(ProduceResponse.encode({ response }).finish());
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.wire.end();
    this.onOver();
  }

  private violation(message: string): void {
    this.wire.end(errorInfo(Code.INVALID_ARGUMENT, Reasons.PROTOCOL_VIOLATION, message));
    this.gone();
  }
}

const failed = (error: unknown) =>
  errorInfo(
    Code.ABORTED,
    error instanceof CheckpointRepeated ? Reasons.CHECKPOINT_REPEATED : Reasons.SOURCE_FAILED,
    `the source failed: ${describeError(error)}`,
  );

/** The JSON value that a checkpoint of this SDK stands for. Throws `Refused` for one that the source cannot read. */
async function readCheckpoint(bytes: Uint8Array | undefined, schema: StandardSchemaV1 | undefined): Promise<unknown> {
  if (bytes === undefined) return undefined;
  const refuse = (messages: readonly string[]): Refused =>
    refusal(
      "the checkpoint is none of this source's",
      messages.map((message) => ({ field: "checkpoint", message })),
    );
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (cause) {
    throw refuse([`it is not UTF-8 JSON: ${(cause as Error).message}`]);
  }
  const result = await schema?.["~standard"].validate(value);
  if (result === undefined) return value;
  if (result.issues === undefined) return result.value;
  throw refuse(result.issues.map((issue) => [writePath(stepsOf(issue)), issue.message].filter(Boolean).join(": ")));
}
