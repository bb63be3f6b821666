// Route and key: where an output goes, and what keeps its order with others.

// snippet:start
import { node, output } from "meshloom";
import { z } from "zod";

const Reading = z.object({ sensor: z.string(), celsius: z.number() });

export const split = node("split", { input: Reading, routes: ["hot"] }).map(
  // The event itself goes on, its payload untouched. `from: split.hot` in the pipeline file takes the route.
  ({ sensor, celsius }, { event }) => output(event, { key: sensor, route: celsius > 30 ? "hot" : undefined }),
);
// snippet:end
