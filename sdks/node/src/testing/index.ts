/**
 * Runs a node on events in-process, without a coordinator or a network; set-up and tear-down run, and events travel
 * through the same code as in production.
 *
 * @packageDocumentation
 */
export { run } from "./run.js";
export type { TestSpan } from "./spans.js";
export type { RunOptions, TestEvent } from "./options.js";
export type { RunResult, TestFailure, TestOutput, Verdict } from "./results.js";
