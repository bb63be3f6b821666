// Span: the user's own work shows in the trace of the event, below `process locate`.

// snippet:start
import { node } from "meshloom";
import { z } from "zod";
import { placeOf } from "./lookup.js";

const Reading = z.looseObject({ sensor: z.string() });

export const locate = node("locate", { input: Reading }).map((reading, { tracer, signal }) =>
  tracer.startActiveSpan("lookup", { attributes: { sensor: reading.sensor } }, async (span) => {
    try {
      const place = await placeOf(reading.sensor, signal);
      span.setAttribute("found", place !== null);
      return { ...reading, place };
    } finally {
      span.end();
    }
  }),
);
// snippet:end
