import { jsonSchemaOf } from "../config.js";
import { type Definition, WIRE_ROLE } from "../definition.js";
import { DescribeResponse } from "../gen/meshloom/v1/node.js";
import { toLimits } from "../opening.js";
import { PROTOCOL, VERSION } from "../version.js";

/** What the process is, serialized once: it never changes. */
export function describe(definitions: readonly Definition[]): Uint8Array {
  return DescribeResponse.encode({
    sdk: { language: "node", version: VERSION },
    protocol: PROTOCOL,
    capabilities: [],
    handlers: definitions.map((definition) => {
      const schema = jsonSchemaOf(definition.config);
      return {
        name: definition.name,
        role: WIRE_ROLE[definition.role],
        configSchema: Buffer.from(schema === undefined ? "" : JSON.stringify(schema)),
        routes: [...definition.routes],
        limits: definition.role === "source" ? undefined : toLimits(definition),
        replays: definition.role === "source" && definition.source.replays,
        partitioned: definition.role === "source" && definition.source.partitioned,
        description: definition.description,
      };
    }),
  }).finish();
}
