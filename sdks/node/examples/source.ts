// Source: the rows of a file, from behind the checkpoint on.

// snippet:start
import { open } from "node:fs/promises";
import { node, output } from "meshloom";
import { z } from "zod";

export const rows = node("rows", { config: z.object({ path: z.string() }) }).source(
  async function* ({ checkpoint = 0, config }) {
    const file = await open(config.path);
    let line = 0;
    for await (const text of file.readLines()) {
      if (++line <= checkpoint) continue;
      yield output(Buffer.from(text), { contentType: "application/json", checkpoint: line });
    }
  },
  { checkpoint: z.int() },
);
// snippet:end
