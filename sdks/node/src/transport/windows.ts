import http2 from "node:http2";

/** HTTP/2 flow-control window of each stream and of each connection, bytes. The default of 64 KiB holds barely one batch. */
const WINDOW_BYTES = 8 * 1024 * 1024;
/** Largest HTTP/2 frame that we accept, bytes. */
const MAX_FRAME_BYTES = 1024 * 1024;

/**
 * Gives the servers that this thread makes wide windows. grpc-js (1.14) has an option for clients only and keeps its
 * sessions to itself, so the two constructors that it calls are wrapped; nothing else lives in the transport thread.
 */
export function widenWindows(): void {
  const settings = { initialWindowSize: WINDOW_BYTES, maxFrameSize: MAX_FRAME_BYTES };
  const widen = <S extends http2.Http2Server | http2.Http2SecureServer>(server: S): S => {
    server.on("session", (session: http2.ServerHttp2Session) => session.setLocalWindowSize(WINDOW_BYTES));
    return server;
  };
  const { createServer, createSecureServer } = http2;
  http2.createServer = ((options: http2.ServerOptions) =>
    widen(createServer({ ...options, settings: { ...options.settings, ...settings } }))) as typeof createServer;
  http2.createSecureServer = ((options: http2.SecureServerOptions) =>
    widen(
      createSecureServer({ ...options, settings: { ...options.settings, ...settings } }),
    )) as typeof createSecureServer;
}
