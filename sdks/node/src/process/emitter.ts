import type { Batch } from "../columns/batch.js";
import { WHOLE } from "../columns/limits.js";
import { isReject, Reject, Retry, type RetryOptions } from "../errors.js";
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
  /** Inputs with an output that cannot go on the wire: their other outputs are not wanted any more. */
  private readonly invalid = new Set<number>();
  private misuse: Retry | undefined;

  /** @internal */
  constructor(
    private readonly batch: Batch,
    private readonly routes: ReadonlySet<string>,
  ) {
    this.fates = new Array<Fate | undefined>(batch.count);
  }

  /**
   * One output that came from input `index`; call it again for more. One that cannot be encoded, or breaks a limit,
   * makes its input a dead letter.
   */
  emit(index: number, value: unknown, options?: OutputOptions): void {
    const fate = this.fates[this.checked(index)];
    if (fate !== undefined && !(typeof fate === "object" && "rows" in fate)) {
      if (this.invalid.has(index)) return;
      throw this.namedTwice(index);
    }
    try {
      const row = this.row(index, value, options);
      if (fate === undefined) this.fates[index] = { rows: [row] };
      else fate.rows.push(row);
    } catch (error) {
      if (!isReject(error)) throw error;
      this.invalid.add(index);
      this.fates[index] = { failure: failureOf(index, error, false) };
    }
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
    this.wholeRows.push(this.row(WHOLE, value, options));
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

  /** Throws if the handler named an input twice, or one that is not there. @internal */
  check(): void {
    if (this.misuse !== undefined) throw this.misuse;
  }

  /** Outputs of the whole batch. @internal */
  get wholeOutputs(): readonly Row[] {
    return this.wholeRows;
  }

  private row(index: number, value: unknown, options: OutputOptions | undefined): Row {
    if (value === undefined) {
      throw new Reject("emitted undefined; emit null for JSON null, drop(index) for nothing", {
        reason: Reasons.NO_RESULT,
      });
    }
    return toRow(options === undefined ? value : output(value, options), this.routes, this.batch, index);
  }

  private name(inputs: Inputs, fate: (index: number) => Fate): void {
    for (const index of typeof inputs === "number" ? [inputs] : inputs) {
      if (this.fates[this.checked(index)] !== undefined) throw this.namedTwice(index);
      this.fates[index] = fate(index);
    }
  }

  private checked(index: number): number {
    if (Number.isInteger(index) && index >= 0 && index < this.batch.count) return index;
    throw this.misused(`there is no input ${index}; the batch has ${this.batch.count}`);
  }

  private namedTwice(index: number): Retry {
    return this.misused(`input ${index} is named twice; only emit may name an input again`);
  }

  /** A mistake that the whole work is retried for, also when the handler catches what is thrown. */
  private misused(message: string): Retry {
    this.misuse ??= new Retry(message, { reason: Reasons.RESULT_INDEX_REPEATED });
    return this.misuse;
  }
}
