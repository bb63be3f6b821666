// Config: a limit and a duration, typed and validated before the pipeline starts.

// snippet:start
import { durationMs, node } from "meshloom";
import { z } from "zod";

const Settings = z.object({
  limit: z.number().min(-90).max(60).default(30), // degrees Celsius
  window: z.string().default("5m").transform(durationMs), // milliseconds in `config.window`
});

const Reading = z.object({ sensor: z.string(), celsius: z.number(), time: z.iso.datetime() });

export const hot = node("hot", { config: Settings, input: Reading }).filter(
  ({ celsius, time }, { config }) => celsius > config.limit && Date.now() - Date.parse(time) < config.window,
);
// snippet:end
