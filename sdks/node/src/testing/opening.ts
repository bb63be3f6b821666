import type { Node } from "../node.js";
import { PROTOCOL } from "../version.js";
import type { RunOptions } from "./options.js";

/** What OpenProcess and OpenProduce have in common. */
export const opening = (node: Node, { config = {} }: RunOptions) => ({
  protocol: PROTOCOL,
  pipeline: "test",
  node: node.name,
  handler: node.name,
  replica: { index: 0, of: 1 },
  capabilities: [],
  configJson: Buffer.from(JSON.stringify(config)),
});
