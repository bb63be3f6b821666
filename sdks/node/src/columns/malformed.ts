import { Reasons } from "../reasons.js";

/** A message that breaks a rule of the protocol; says which rule and where. */
export class Malformed extends Error {
  override readonly name = "Malformed";

  constructor(
    message: string,
    /** Code for the answer. */
    readonly reason: string = Reasons.BATCH_MALFORMED,
  ) {
    super(message);
  }
}

/** Throws `Malformed` unless the rule holds. The message is only built on failure. */
export function must(holds: boolean, message: () => string, reason: string = Reasons.BATCH_MALFORMED): asserts holds {
  if (!holds) throw new Malformed(message(), reason);
}
