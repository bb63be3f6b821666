// What TypeScript infers: compiling it is the test.
import assert from "node:assert/strict";
import { test } from "node:test";
import { drop, type MeshEvent, type NodeContext, node, type Output, output, type OutputOptions } from "meshloom";
import { z } from "zod";

// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the one way to ask for equality, not for likeness
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

type Expect<Expected> = <Actual>(value: Actual, ...same: Same<Actual, Expected> extends true ? [] : [never]) => void;

/** Fails to compile unless the value's type is exactly the one given. */
const expectType =
  <Expected>(): Expect<Expected> =>
  () =>
    undefined;

const config = z.object({ limit: z.number().default(30), every: z.string().transform(Number) });
const input = z.object({ sensor: z.string(), celsius: z.number().optional() });

test("input, config and state come from the schemas and from set-up", () => {
  node("typed", {
    config,
    input,
    setup: async ({ config: read }) => {
      expectType<{ limit: number; every: number }>()(read);
      return Promise.resolve({ rows: [read.limit] });
    },
  }).map((reading, context) => {
    expectType<{ sensor: string; celsius?: number | undefined }>()(reading);
    expectType<{ limit: number; every: number }>()(context.config);
    expectType<{ rows: number[] }>()(context.state);
    expectType<MeshEvent>()(context.event);
    expectType<AbortSignal>()(context.signal);
    expectType<Date | undefined>()(context.deadline);
    expectType<number>()(context.attempt);
    return reading.sensor;
  });
});

test("without schemas: the event, any JSON object, no state", () => {
  node("bare").filter((event, context) => {
    expectType<MeshEvent>()(event);
    expectType<Record<string, unknown>>()(context.config);
    expectType<undefined>()(context.state);
    return true;
  });
});

test("a handler stays a plain function with its own types", () => {
  const { handler } = node("double", { input: z.number() }).map((n) => output(n * 2, { key: "k" }));
  expectType<Output<number, { key: string }>>()(handler(2, undefined as never));
  const async = node("async", { input: z.number() }).map(async (n) => (await Promise.resolve(n)) + 1);
  expectType<Promise<number>>()(async.handler(2, undefined as never));
  assert.equal(handler(2, undefined as never).value, 4);
  expectType<OutputOptions["time"]>()(null as Date | bigint | null | undefined);
});

test("what a handler must not return does not compile", () => {
  const any = node("any");
  // @ts-expect-error -- nothing is no output: drop says so
  any.map(() => undefined);
  // @ts-expect-error -- null is output(null)
  any.map(() => null);
  // @ts-expect-error -- a filter says true or false
  any.filter(() => "yes");
  // @ts-expect-error -- one value is none to iterate over
  any.flatMap(() => 1);
  // @ts-expect-error -- a source is iterated over
  any.source(() => 1);
  any.map(() => drop);
  any.map((event) => event);
  any.flatMap(() => [output(null)]);
});

test("checkpoints are typed by their schema, or as they are said to be", () => {
  node("source", { setup: () => new Map<string, number>() }).source(
    function* ({ checkpoint, state }) {
      expectType<number | undefined>()(checkpoint);
      expectType<Map<string, number>>()(state);
      yield output(1, { checkpoint: 1 });
    },
    {
      checkpoint: z.int(),
      settled: (checkpoint, context) => {
        expectType<number>()(checkpoint);
        expectType<NodeContext<Record<string, unknown>, Map<string, number>>>()(context);
      },
    },
  );
  node("said").source<string>(function* ({ checkpoint = "" }) {
    expectType<string>()(checkpoint);
    yield checkpoint;
  });
});
