import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { ConfigViolation } from "./errors.js";

/** gRPC status codes that the SDK ends streams with. */
export const Code = {
  OK: 0,
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNAVAILABLE: 14,
} as const;

/** How a stream ends. */
export interface StreamStatus {
  readonly code: number;
  readonly message: string;
  /** A serialized google.rpc.Status for `grpc-status-details-bin`; undefined: none. */
  readonly details: Uint8Array | undefined;
}

/** A status without details. */
export const plain = (code: number, message: string): StreamStatus => ({ code, message, details: undefined });

const ERROR_DOMAIN = "meshloom";

/** A status with google.rpc.ErrorInfo. */
export function errorInfo(
  code: number,
  reason: string,
  message: string,
  metadata: Record<string, string> = {},
): StreamStatus {
  const info = new BinaryWriter().uint32(10).string(reason).uint32(18).string(ERROR_DOMAIN);
  for (const [key, value] of Object.entries(metadata)) {
    info.uint32(26).fork().uint32(10).string(key).uint32(18).string(value).join();
  }
  return withDetail(code, message, "google.rpc.ErrorInfo", info.finish());
}

/** INVALID_ARGUMENT with google.rpc.BadRequest, a violation per field. */
export function badRequest(message: string, violations: readonly ConfigViolation[]): StreamStatus {
  const request = new BinaryWriter();
  for (const { field, message: description } of violations) {
    request.uint32(10).fork().uint32(10).string(field).uint32(18).string(description).join();
  }
  return withDetail(Code.INVALID_ARGUMENT, message, "google.rpc.BadRequest", request.finish());
}

function withDetail(code: number, message: string, type: string, value: Uint8Array): StreamStatus {
  const details = new BinaryWriter()
    .uint32(8)
    .int32(code)
    .uint32(18)
    .string(message)
    .uint32(26)
    .fork()
    .uint32(10)
    .string(`type.googleapis.com/${type}`)
    .uint32(18)
    .bytes(value)
    .join()
    .finish();
  return { code, message, details };
}
