// The node as a user writes it: each event touched by a map, each looked at by a filter, each a typed map's.
import { node, serve } from "../../../sdks/node/dist/esm/index.js";
import { Reading, score } from "./reading.js";

const BANG = Buffer.from("!");

await serve(
  node("map").map((event) => Buffer.concat([event.data, BANG])),
  node("filter").filter((event) => event.data.length > 0),
  node("json-map", { input: Reading }).map(score),
);
