import { readFileSync } from "node:fs";
import { ServeError } from "../errors.js";
import type { TlsFiles } from "../transport/messages.js";

/** The TLS files that the environment names; undefined: TLS is off. Throws `ServeError`. */
export function readTls(env: NodeJS.ProcessEnv): TlsFiles | undefined {
  const certificate = env["MESHLOOM_TLS_CERT"];
  const key = env["MESHLOOM_TLS_KEY"];
  const clientCa = env["MESHLOOM_TLS_CLIENT_CA"];
  if (!certificate && !key && !clientCa) return undefined;
  if (!certificate || !key) {
    const missing = certificate ? "MESHLOOM_TLS_KEY" : "MESHLOOM_TLS_CERT";
    throw new ServeError(`TLS needs a certificate and its key: ${missing} is not set`, 78);
  }
  return {
    certificate: read("MESHLOOM_TLS_CERT", certificate),
    key: read("MESHLOOM_TLS_KEY", key),
    clientCa: clientCa ? read("MESHLOOM_TLS_CLIENT_CA", clientCa) : undefined,
  };
}

function read(variable: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ServeError(`cannot read ${variable}: ${(cause as Error).message}`, 78, cause);
  }
}
