import { lstatSync, unlinkSync } from "node:fs";
import { connect, isIP } from "node:net";
import { ServeError } from "../errors.js";

/** Where a node listens when it is started by hand. */
export const DEFAULT_LISTEN = "127.0.0.1:7480";

/** Throws `ServeError` when other machines could reach the address and TLS is off, unless the user insists. */
export function checkExposure(listen: string, tls: boolean, insecure: boolean): void {
  if (tls || insecure || listen.startsWith("unix:") || isLoopback(hostOf(listen))) return;
  throw new ServeError(
    `${listen} can be reached from other machines and TLS is off; set MESHLOOM_TLS_CERT, MESHLOOM_TLS_KEY and ` +
      "MESHLOOM_TLS_CLIENT_CA, listen on 127.0.0.1, or set MESHLOOM_INSECURE=1 if the network is trusted",
    78,
  );
}

/** Throws `ServeError` unless the address has a form that can be listened on. */
export function checkAddress(listen: string): void {
  const unix = /^unix:(.*)$/.exec(listen);
  if (unix !== null) {
    const path = unix[1]!.replace(/^\/\//, "");
    if (path === "") throw badAddress(listen, "the socket path is missing");
    const bytes = Buffer.byteLength(path);
    if (bytes > MAX_SOCKET_PATH) {
      throw badAddress(listen, `the socket path has ${bytes} bytes, the limit of the system is ${MAX_SOCKET_PATH}`);
    }
    return;
  }
  const port = /:(\d+)$/.exec(listen)?.[1];
  if (port === undefined || Number(port) > 65_535 || hostOf(listen) === "") {
    throw badAddress(listen, "it has no host and port");
  }
}

const MAX_SOCKET_PATH = process.platform === "linux" ? 107 : 103;

const badAddress = (listen: string, why: string): ServeError =>
  new ServeError(
    `cannot listen on "${listen}": ${why}; write MESHLOOM_LISTEN like unix:/path/to/socket or 127.0.0.1:7480`,
    78,
  );

function hostOf(listen: string): string {
  const authority = listen.replace(/^(?:dns|ipv4|ipv6):(?:\/{2,3})?/, "");
  return authority.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
}

function isLoopback(host: string): boolean {
  if (host === "localhost" || host === "::1") return true;
  return isIP(host) === 4 && host.startsWith("127.");
}

/** Removes a socket that a dead process left behind; leaves one alone that still answers. */
export async function removeStaleSocket(listen: string): Promise<void> {
  if (!listen.startsWith("unix:")) return;
  const path = listen.slice("unix:".length).replace(/^\/\//, "");
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.on("error", (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED"));
  });
  if (!alive) unlinkSync(path);
}
