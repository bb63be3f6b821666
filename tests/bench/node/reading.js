// What the typed JSON map does, as a node (sdk.js) and in a plain loop (loop.js).
import { createRequire } from "node:module";

const { z } = createRequire(new URL("../../../sdks/node/package.json", import.meta.url))("zod");

/** The payload of every event. */
export const Reading = z.object({
  sensor: z.string(),
  celsius: z.number(),
  time: z.string(),
  site: z.string(),
  note: z.string(),
});

/** The map. */
export const score = (reading) => ({ ...reading, hot: reading.celsius > 30 });
