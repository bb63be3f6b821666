import type { Batch } from "../columns/batch.js";
import { Reject, Retry, type RetryOptions } from "../errors.js";
import type { EventFailure } from "../gen/meshloom/v1/process.js";
import { output, type OutputOptions, PASS, type Row, toRow } from "../output.js";
import { Reasons } from "../reasons.js";
import { failureOf, retryFailure } from "./verdicts.js";

/** One input, or several. */
export type Inputs = number | Iterable<number>;

/** What became of one input of a batch call. */
type Fate = { readonly rows: Row[] } | { readonly failure: EventFailure } | "dropped";

/**
 * Takes the answers of a batch handler. Every input must be named by `emit`, `pass`, `drop`, `reject` or `retry`; one
 * that is not is retried as UNACCOUNTED, unless there are outputs of the whole batch.
 */
export class Emitter {
  private readonly fates: (Fate | undefined)[];
  private readonly wholeRows: Row[] = [];

  /** @internal */
  constructor(
    private readonly batch: Batch,
    private readonly routes: ReadonlySet<string> | undefined,
  ) {
    this.fates = new Array<Fate | undefined>(batch.count);
  }

  /** One output that came from input `index`; call it again for more. */
  emit(index: number, value: unknown, options?: OutputOptions): void {
    const row = this.row(value, options);
    const fate = this.fates[this.checked(index)];
    if (fate === undefined) this.fates[index] = { rows: [row] };
    else if (typeof fate === "object" && "rows" in fate) fate.rows.push(row);
    else throw this.namedTwice(index);
  }

  /** Inputs that pass unchanged. */
  pass(inputs: Inputs): void {
    this.name(inputs, () => ({ rows: [PASS] }));
  }

  /** Inputs that end here on purpose, with no output. */
  drop(inputs: Inputs): void {
    this.name(inputs, () => "dropped");
  }

  /** Inputs that become dead letters. `reason`: stable code of [A-Z0-9_]. */
  reject(inputs: Inputs, message: string, options: { reason?: string } = {}): void {
    const error = new Reject(message, options);
    this.name(inputs, (index) => ({ failure: failureOf(index, error, false) }));
  }

  /** Inputs that are tried again later. */
  retry(inputs: Inputs, message: string, options: RetryOptions = {}): void {
    const error = new Retry(message, options);
    this.name(inputs, (index) => ({ failure: failureOf(index, error, false) }));
  }

  /** One output that came from the whole batch; inputs that nothing else names count as consumed. */
  whole(value: unknown, options?: OutputOptions): void {
    this.wholeRows.push(this.row(value, options));
  }

  /** What became of an input. @internal */
  fate(index: number): Fate {
    const fate = this.fates[index];
    if (fate !== undefined) return fate;
    if (this.wholeRows.length > 0) return "dropped";
    return {
      failure: retryFailure(
        index,
        Reasons.UNACCOUNTED,
        "the batch handler said nothing of this input; emit, pass, drop, reject or retry it",
      ),
    };
  }

  /** Outputs of the whole batch. @internal */
  get wholeOutputs(): readonly Row[] {
    return this.wholeRows;
  }

  private row(value: unknown, options: OutputOptions | undefined): Row {
    if (value === undefined) {
      throw new Reject("emitted undefined; emit null for JSON null, drop(index) for nothing", {
        reason: Reasons.NO_RESULT,
      });
    }
    return toRow(options === undefined ? value : output(value, options), this.routes);
  }

  private name(inputs: Inputs, fate: (index: number) => Fate): void {
    for (const index of typeof inputs === "number" ? [inputs] : inputs) {
      if (this.fates[this.checked(index)] !== undefined) throw this.namedTwice(index);
      this.fates[index] = fate(index);
    }
  }

  private checked(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.batch.count) return index;
    const message = `there is no input ${index}; the batch has ${this.batch.count}`;
    throw new Retry(message, { reason: Reasons.RESULT_INDEX_REPEATED });
  }

  private namedTwice(index: number): Retry {
    const message = `input ${index} is named twice; only emit may name an input again`;
    return new Retry(message, { reason: Reasons.RESULT_INDEX_REPEATED });
  }
}
