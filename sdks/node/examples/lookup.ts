/** A stand-in for a client of some service: which place a sensor is at. */
const PLACES = new Map([
  ["roof", "Main Street 1"],
  ["cellar", "Main Street 1"],
]);

/** The service asks to come back later. */
export class Busy extends Error {}

/** The place of a sensor; null: unknown. Rejects with `Busy`, or with what the signal says. */
export async function placeOf(sensor: string, signal: AbortSignal): Promise<string | null> {
  await Promise.resolve();
  signal.throwIfAborted();
  if (sensor === "gate") throw new Busy("too many requests");
  return PLACES.get(sensor) ?? null;
}
