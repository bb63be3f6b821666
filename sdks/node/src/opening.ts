import type { Definition } from "./definition.js";
import { ConfigError, type ConfigViolation, describeError, isConfigError } from "./errors.js";
import type { Limits, Opened, ProtocolRange, Replica } from "./gen/meshloom/v1/session.js";
import type { Instances } from "./instances.js";
import { Scope } from "./process/scope.js";
import { Reasons } from "./reasons.js";
import { badRequest, Code, errorInfo, type StreamStatus } from "./status.js";
import { PROTOCOL, VERSION } from "./version.js";

/** What OpenProcess and OpenProduce have in common. */
export interface Open {
  readonly protocol: ProtocolRange | undefined;
  readonly pipeline: string;
  readonly node: string;
  readonly handler: string;
  readonly replica: Replica | undefined;
  readonly configJson: Uint8Array;
}

/** An open that was refused, with the status that ends the stream. */
export class Refused extends Error {
  constructor(readonly status: StreamStatus) {
    super(status.message);
  }
}

/** A handler that is ready. */
export interface Ready {
  readonly definition: Definition;
  readonly scope: Scope;
  readonly opened: Opened;
}

/** Negotiates, finds the handler, validates its config and sets it up. Throws `Refused`. */
export async function open(
  request: Open,
  rpc: "Process" | "Produce",
  definitions: readonly Definition[],
  instances: Instances,
): Promise<Ready> {
  const theirs = checkProtocol(request.protocol);
  const definition = find(request.handler, rpc, definitions);
  try {
    const { config, state } = await instances.get(definition, request.configJson);
    const node = request.node === "" ? definition.name : request.node;
    const scope = new Scope(request.pipeline, node, request.replica, config, state);
    return { definition, scope, opened: opened(definition, theirs) };
  } catch (error) {
    if (isConfigError(error)) {
      throw refusal(`the config of ${definition.name} is refused`, error.violations);
    }
    const message = `set-up of ${definition.name} failed: ${describeError(error)}`;
    throw new Refused(errorInfo(Code.UNAVAILABLE, Reasons.SETUP_FAILED, message, { handler: definition.name }));
  }
}

const opened = (definition: Definition, theirs: ProtocolRange): Opened => ({
  protocol: Math.min(PROTOCOL.max, theirs.max),
  sdk: { language: "node", version: VERSION },
  capabilities: [],
  limits: toLimits(definition),
});

/** The limits of a handler on the wire. */
export const toLimits = ({ limits }: Definition): Limits => ({
  maxInFlightWorks: limits.maxInFlightWorks,
  maxBatchEvents: limits.maxBatchEvents,
  maxBatchBytes: BigInt(limits.maxBatchBytes),
});

function checkProtocol(theirs: ProtocolRange | undefined): ProtocolRange {
  const range = theirs ?? { min: 0, max: 0 };
  const { min, max } = range;
  if (min === 0 || max < min) {
    const message = `a range of versions from 1 is needed, not ${theirs === undefined ? "none" : `${min} to ${max}`}`;
    throw refusal("the protocol of the open is refused", [{ field: "protocol", message }]);
  }
  if (min <= PROTOCOL.max && max >= PROTOCOL.min) return range;
  const upgrade = max < PROTOCOL.min ? "coordinator" : "node";
  const remedy =
    upgrade === "coordinator"
      ? `upgrade the coordinator to one that speaks protocol ${PROTOCOL.min}`
      : `upgrade the node's package meshloom (now ${VERSION}) to one that speaks protocol ${min}`;
  const ours = PROTOCOL.min === PROTOCOL.max ? `${PROTOCOL.min}` : `${PROTOCOL.min} to ${PROTOCOL.max}`;
  const message = `the coordinator speaks protocol ${min} to ${max}, this node ${ours}: ${remedy}`;
  const metadata = { upgrade, to: String(upgrade === "coordinator" ? PROTOCOL.min : min) };
  throw new Refused(errorInfo(Code.FAILED_PRECONDITION, Reasons.PROTOCOL_UNSUPPORTED, message, metadata));
}

function find(name: string, rpc: "Process" | "Produce", definitions: readonly Definition[]): Definition {
  const served = definitions.map((definition) => definition.name).join(", ");
  const found = name === "" && definitions.length === 1 ? definitions[0] : definitions.find((d) => d.name === name);
  if (found === undefined) {
    const what = name === "" ? "several handlers are served and none was named" : `there is no handler "${name}"`;
    throw new Refused(errorInfo(Code.NOT_FOUND, Reasons.HANDLER_UNKNOWN, `${what}; this process serves ${served}`));
  }
  const servedBy = found.role === "source" ? "Produce" : "Process";
  if (servedBy !== rpc) {
    const message = `"${found.name}" is served by ${servedBy}, not by ${rpc}`;
    throw new Refused(errorInfo(Code.FAILED_PRECONDITION, Reasons.HANDLER_ROLE_MISMATCH, message));
  }
  return found;
}

/** INVALID_ARGUMENT: something in the open cannot be used. */
export const refusal = (what: string, violations: readonly ConfigViolation[]): Refused =>
  new Refused(badRequest(`${what}: ${new ConfigError(violations).message}`, violations));
