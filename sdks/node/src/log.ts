import { trace } from "@opentelemetry/api";

/** Values that a log line carries beside its message. */
export type LogFields = Record<string, unknown>;

/** A logger: one line on standard error per call, stamped with node, event uid and trace. */
export interface Logger {
  /** For whoever looks for a fault. Not written by default. */
  debug(message: string, fields?: LogFields): void;
  /** What happened. */
  info(message: string, fields?: LogFields): void;
  /** What may need somebody. */
  warn(message: string, fields?: LogFields): void;
  /** What needs somebody. */
  error(message: string, fields?: LogFields): void;
}

const LEVELS = ["debug", "info", "warn", "error"] as const;
type Level = (typeof LEVELS)[number];

/** Lowest level that is written: MESHLOOM_LOG_LEVEL, `info` when it is unset or unknown. */
function threshold(): number {
  const at = LEVELS.indexOf((process.env["MESHLOOM_LOG_LEVEL"] ?? "info").toLowerCase() as Level);
  return at < 0 ? 1 : at;
}

/** A logger whose lines all carry `stamp`. */
export function createLogger(
  stamp: LogFields,
  write: (line: string) => void = (line) => void process.stderr.write(line),
): Logger {
  const lowest = threshold();
  const at =
    (level: Level) =>
    (message: string, fields?: LogFields): void => {
      if (LEVELS.indexOf(level) >= lowest) write(formatLine(level, message, { ...fields, ...stamp, ...spanFields() }));
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function spanFields(): LogFields {
  const span = trace.getActiveSpan()?.spanContext();
  return span === undefined ? {} : { trace_id: span.traceId, span_id: span.spanId };
}

/** `LEVEL message key=value ...`, always one line. */
function formatLine(level: Level, message: string, fields: LogFields): string {
  const parts = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(value)}`);
  return `${[level.toUpperCase(), message.replaceAll(/\s*\n\s*/g, " "), ...parts].join(" ")}\n`;
}

function formatValue(value: unknown): string {
  const text =
    typeof value === "string" ? value : value instanceof Error ? (value.stack ?? value.message) : toJson(value);
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}

function toJson(value: unknown): string {
  try {
    const json: unknown = JSON.stringify(value, (_, inner: unknown) =>
      typeof inner === "bigint" ? String(inner) : inner,
    );
    return typeof json === "string" ? json : String(value);
  } catch {
    return String(value);
  }
}
