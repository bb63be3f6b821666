/** A value, or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** Whether a value can be awaited. */
export function isThenable<T>(value: T | PromiseLike<T>): value is Promise<T>;
export function isThenable(value: unknown): value is Promise<unknown>;
export function isThenable(value: unknown): boolean {
  return (
    value !== null &&
    (typeof value === "object" || typeof value === "function") &&
    typeof (value as { then?: unknown }).then === "function"
  );
}

/** Resolves after the event loop has looked at what else there is. */
export const turnOfLoop = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
