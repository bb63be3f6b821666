/** Cuts items into batches: as many as are asked for, or of random sizes by a seed. */
export function split<T>(items: readonly T[], splits: number | "random", seed: number): (readonly T[])[] {
  if (splits === "random") return cut(items, randomSizes(seed));
  const size = Math.max(1, Math.ceil(items.length / splits));
  return cut(items, () => size);
}

/** A seed for random splits. */
export const anySeed = (): number => Math.floor(Math.random() * 2 ** 32);

function cut<T>(items: readonly T[], size: () => number): (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let from = 0; from < items.length;) {
    const to = from + size();
    parts.push(items.slice(from, to));
    from = to;
  }
  return parts;
}

/** Mostly small sizes, now and then a large one: 1 to 63. */
function randomSizes(seed: number): () => number {
  const random = mulberry32(seed);
  return () => Math.floor(2 ** (6 * random()));
}

/** The well-known generator mulberry32: 32 bits of state, numbers from 0 up to 1. */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
