import { durationMs, sizeBytes } from "meshloom";
import { z } from "zod";

/** The config of every handler. */
export const Config = z.strictObject({
  label: z.string().default(""),
  command: z.looseObject({ do: z.string() }).optional(),
  setup: z.enum(["", "refuse", "fail", "fail_once"]).default(""),
  wait: z.string().default("0s").transform(durationMs),
  room: z.string().default("1KiB").transform(sizeBytes),
  log: z.string().default(""),
  program: z.looseObject({}).optional(),
});
