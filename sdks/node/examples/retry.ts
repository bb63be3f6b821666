// Retry: a service is busy, so the event comes again later. Other exceptions are retried, too, with a back-off.

// snippet:start
import { node, Retry } from "meshloom";
import { z } from "zod";
import { Busy, placeOf } from "./lookup.js";

const Reading = z.looseObject({ sensor: z.string() });

export const locate = node("locate", { input: Reading, concurrency: 64 }).map(async (reading, { signal }) => {
  try {
    return { ...reading, place: await placeOf(reading.sensor, signal) };
  } catch (cause) {
    throw cause instanceof Busy ? new Retry({ afterMs: 2000, cause }) : cause;
  }
});
// snippet:end
