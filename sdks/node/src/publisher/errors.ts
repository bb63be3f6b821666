const BRAND = Symbol.for("meshloom.PublishError");

/** Why an event was not published. */
export class PublishError extends Error {
  /** The class, as in the stack. */
  override readonly name: string = "PublishError";
  /** Tells its kind, also between copies of this package. */
  readonly [BRAND] = true;

  /** @internal */
  constructor(
    /**
     * INVALID (the event was not sent), REJECTED (the source refused this publisher, nothing more is published), CLOSED,
     * UNACKNOWLEDGED, or the code with which the pipeline refused the event.
     */
    readonly reason: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Not everything was acknowledged in time. */
export class UnacknowledgedError extends PublishError {
  /** The class, as in the stack. */
  override readonly name: string = "UnacknowledgedError";

  /** @internal */
  constructor(
    /** Ids of the events, in the order of publishing. */
    readonly ids: readonly string[],
    withinMs: number,
    why: string | undefined,
  ) {
    const cause = why === undefined ? "" : ` (${why})`;
    super(
      "UNACKNOWLEDGED",
      `${ids.length} events were not acknowledged within ${withinMs} ms${cause}; publish them again with the same ids`,
    );
  }
}
