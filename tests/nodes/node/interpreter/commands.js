import { setTimeout } from "node:timers/promises";
import { Reasons, Reject, Retry } from "meshloom";
import { describeContext } from "./context.js";
import { copyOf, toOutput } from "./outputs.js";
import { report, takeReport } from "./report.js";

/** The event goes on as it is. */
export const PASS = Symbol("pass");
/** The handler returns nothing. */
export const NOTHING = Symbol("nothing");

const pass = [PASS];

/** Throws what a command asks for, while the attempt is below its `until`. */
function failing({ until }, { attempt }, error) {
  if (until === undefined || attempt < until) throw error();
  return pass;
}

function* stream({ count, bytes, fail_after: failAfter }) {
  const payload = Buffer.alloc(bytes, "x");
  for (let made = 0; made < count; made++) {
    if (made === failAfter) throw new Error(`asked to fail after ${failAfter}`);
    yield payload;
  }
  if (count === failAfter) throw new Error(`asked to fail after ${failAfter}`);
}

function nestSpans([name, ...inner], tracer) {
  if (name === undefined) return;
  tracer.startActiveSpan(name, (span) => {
    nestSpans(inner, tracer);
    span.end();
  });
}

function spin(ms) {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** What each command does: gives outputs, to be iterated, or throws. */
const COMMANDS = {
  pass: () => pass,
  drop: () => [],
  nothing: () => [NOTHING],
  emit: ({ outputs }, { event }) => outputs.map((out) => toOutput(out, event)),
  copy: (_, { event }) => [copyOf(event)],
  context: (_, call) => [describeContext(call)],
  report: () => [takeReport()],
  reject: ({ reason, message = "asked to reject" }) => {
    throw new Reject(message, { reason });
  },
  retry: (command, call) =>
    failing(command, call, () => {
      const { message = "asked to retry", reason, after_ms: afterMs } = command;
      return new Retry(message, { reason, afterMs });
    }),
  throw: (command, call) => failing(command, call, () => new Error(command.message)),
  panic: ({ message }) => {
    // eslint-disable-next-line no-throw-literal -- what is beyond an ordinary error
    throw message;
  },
  stream,
  sleep: async ({ ms }, { event, context: { signal } }) => {
    try {
      await setTimeout(ms, undefined, { signal });
    } catch (cancelled) {
      report.cancelled.push(event.uid);
      throw cancelled;
    }
    return pass;
  },
  block: ({ ms }) => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    return pass;
  },
  spin: ({ ms }) => {
    spin(ms);
    return pass;
  },
  hold: ({ ms }) => {
    spin(ms);
    return pass;
  },
  note: ({ n }, { event }) => {
    report.notes.push([event.key ?? null, n]);
    return pass;
  },
  spans: ({ names }, { context: { tracer } }) => {
    nestSpans(names, tracer);
    return pass;
  },
  log: ({ message }, { context: { log } }) => {
    log.info(message);
    return pass;
  },
  allocate: async ({ bytes }) => {
    const held = Buffer.alloc(bytes, 1);
    await setTimeout(0);
    return held.byteLength === bytes ? pass : [];
  },
  exit: ({ status }) => process.exit(status),
};

/** What batch handlers do besides. */
const BATCH_COMMANDS = {
  nothing: () => undefined,
  twice: (_, { index, out }) => {
    out.pass(index);
    out.pass(index);
  },
  misname: (_, { rows, out }) => out.pass(rows.count),
  whole: ({ outputs }, { event, out }) => {
    for (const each of outputs) out.whole(toOutput(each, event));
  },
};

function commandOf(event, { config }) {
  const command = config.command ?? event.json();
  if (Object.hasOwn(COMMANDS, command?.do) || Object.hasOwn(BATCH_COMMANDS, command?.do)) return command;
  throw new Reject(`do: there is no command ${JSON.stringify(command?.do)}`, { reason: Reasons.PAYLOAD_MISMATCH });
}

/** Obeys the command of an event: its outputs, or PASS or NOTHING alone. */
export function obey(event, context) {
  const command = commandOf(event, context);
  return (COMMANDS[command.do] ?? COMMANDS.pass)(command, { event, attempt: context.attempt, context });
}

/** Obeys the command of one row of a batch. */
export async function obeyRow(rows, index, out, context) {
  const event = rows.event(index);
  let answer;
  try {
    const command = commandOf(event, context);
    const own = BATCH_COMMANDS[command.do];
    if (own !== undefined) return own(command, { event, rows, index, out });
    answer = [...(await COMMANDS[command.do](command, { event, attempt: rows.attempt(index), context }))];
  } catch (error) {
    if (error instanceof Reject) return out.reject(index, error.message, error);
    if (error instanceof Retry) return out.retry(index, error.message, error);
    throw error;
  }
  if (answer.length === 0) return out.drop(index);
  if (answer[0] === PASS) return out.pass(index);
  for (const each of answer) out.emit(index, each);
}
