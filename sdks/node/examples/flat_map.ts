// Flat map: a document becomes one event for each of its readings.

// snippet:start
import { node, output } from "meshloom";
import { z } from "zod";

const Reading = z.object({ sensor: z.string(), celsius: z.number() });
const Document = z.object({ readings: z.array(Reading) });

export const unpack = node("unpack", { input: Document }).flatMap(function* ({ readings }) {
  for (const reading of readings) yield output(reading, { key: reading.sensor });
});
// snippet:end
