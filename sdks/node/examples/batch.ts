// Batch: all columns at once. Rows without a temperature are rejected, the others become one average.

// snippet:start
import { node } from "meshloom";

export const average = node("average").batch((batch, out) => {
  const celsius = Float64Array.from(batch, (event) => event.json<{ celsius?: number }>().celsius ?? NaN);
  const rows = [...celsius.keys()];
  out.reject(
    rows.filter((row) => Number.isNaN(celsius[row])),
    "no temperature",
    { reason: "NO_TEMPERATURE" },
  );
  const good = celsius.filter((value) => !Number.isNaN(value));
  if (good.length > 0) out.whole({ readings: good.length, celsius: good.reduce((a, b) => a + b) / good.length });
});
// snippet:end
