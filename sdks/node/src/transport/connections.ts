import http2 from "node:http2";
import type { Socket } from "node:net";

/** HTTP/2 flow-control window of each stream and of each connection, bytes. The default of 64 KiB holds barely one batch. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Largest HTTP/2 frame that we accept, bytes. */
const MAX_FRAME_BYTES = 1024 * 1024;
/** How long a TCP connection is silent before the kernel asks whether the peer is still there. */
const KEEPALIVE_MS = 60_000;

/**
 * Gives the servers that this thread makes wide windows, and has the kernel find peers that are gone. grpc-js (1.14) has an
 * option for the first for clients only and keeps its sessions to itself, so the two constructors that it calls are
 * wrapped; nothing else lives in the transport thread.
 *
 * Peers that are gone must not be found by pings. Node's http2 does not read while it writes, and others (Rust's h2) do
 * not read while they cannot write the answer to a ping: where much goes both ways, one ping stops both for good.
 */
export function tuneConnections(): void {
  const settings = { initialWindowSize: WINDOW_BYTES, maxFrameSize: MAX_FRAME_BYTES };
  const tune = <S extends http2.Http2Server | http2.Http2SecureServer>(server: S): S => {
    server.on("connection", (socket: Socket) => socket.setKeepAlive(true, KEEPALIVE_MS));
    server.on("session", (session: http2.ServerHttp2Session) => session.setLocalWindowSize(WINDOW_BYTES));
    return server;
  };
  const { createServer, createSecureServer } = http2;
  http2.createServer = ((options: http2.ServerOptions) =>
    tune(createServer({ ...options, settings: { ...options.settings, ...settings } }))) as typeof createServer;
  http2.createSecureServer = ((options: http2.SecureServerOptions) =>
    tune(
      createSecureServer({ ...options, settings: { ...options.settings, ...settings } }),
    )) as typeof createSecureServer;
}
