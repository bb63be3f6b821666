// The node as a user writes it: each event touched by a map, each looked at by a filter.
import { node, serve } from "../../../sdks/node/dist/esm/index.js";

const BANG = Buffer.from("!");

await serve(
  node("map").map((event) => Buffer.concat([event.data, BANG])),
  node("filter").filter((event) => event.data.length > 0),
);
