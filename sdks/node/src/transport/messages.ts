import type { StreamStatus } from "../status.js";

/** What the transport thread is started with. */
export interface TransportData {
  /** Address in gRPC name syntax. */
  readonly listen: string;
  readonly tls: TlsFiles | undefined;
  /** A serialized DescribeResponse. */
  readonly describe: Uint8Array;
  /** Memory of the call table. */
  readonly calls: SharedArrayBuffer;
  /** `performance.timeOrigin` of the main thread: what the call table's times count from. */
  readonly timeOrigin: number;
}

/** PEM files of the server. */
export interface TlsFiles {
  readonly certificate: Buffer;
  readonly key: Buffer;
  /** With it, clients must show a certificate that it signed. */
  readonly clientCa: Buffer | undefined;
}

/** Main thread to transport thread. */
export type ToTransport =
  | { readonly kind: "send"; readonly stream: number; readonly message: Uint8Array; readonly closesWork: boolean }
  | { readonly kind: "end"; readonly stream: number; readonly status: StreamStatus | undefined }
  | { readonly kind: "notServing" }
  | { readonly kind: "close" };

/** Transport thread to main thread. */
export type FromTransport =
  | { readonly kind: "listening"; readonly address: string }
  | { readonly kind: "failed"; readonly message: string; readonly inUse: boolean }
  | { readonly kind: "open"; readonly stream: number; readonly rpc: "Process" | "Produce" }
  | { readonly kind: "message"; readonly stream: number; readonly message: Uint8Array }
  | { readonly kind: "halfClosed"; readonly stream: number }
  | { readonly kind: "gone"; readonly stream: number }
  | { readonly kind: "sent"; readonly stream: number; readonly message: Uint8Array };
