// Reject: an event that can never be handled becomes a dead letter at once, under a code.

// snippet:start
import { node, Reject } from "meshloom";
import { z } from "zod";

const Reading = z.object({ sensor: z.string(), celsius: z.number().optional() });

export const fahrenheit = node("fahrenheit", { input: Reading }).map(({ sensor, celsius }) => {
  if (celsius === undefined) throw new Reject(`sensor ${sensor} sent no temperature`, { reason: "NO_TEMPERATURE" });
  return { sensor, celsius, fahrenheit: (celsius * 9) / 5 + 32 };
});
// snippet:end
