import { durationMs, sizeBytes } from "meshloom";
import { z } from "zod";

/** What a source does. */
const Program = z
  .strictObject({
    count: z.int().default(0),
    checkpoint_every: z.int().default(1),
    checkpoint_digits: z.int().default(0),
    ids: z.boolean().default(false),
    attributes: z.boolean().default(false),
    traceparent: z.string().default(""),
    pause_ms: z.number().default(0),
    bytes: z.int().default(0),
    fail_at: z.int().default(0),
    repeat_checkpoint: z.int().default(0),
  })
  .prefault({});

/** The config of every handler. */
export const Config = z.strictObject({
  label: z.string().default(""),
  command: z.looseObject({ do: z.string() }).optional(),
  setup: z.enum(["", "refuse", "fail", "fail_once"]).default(""),
  wait: z.string().default("0s").transform(durationMs),
  room: z.string().default("1KiB").transform(sizeBytes),
  log: z.string().default(""),
  program: Program,
});
