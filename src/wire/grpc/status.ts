/** How a call ended: gRPC's codes, and what goes with them. Source: google.rpc.Code, google.rpc.Status. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";

import { StatusSchema } from "./generated/status_pb.ts";

export const GRPC_STATUS = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** What a client may know about an error beside its sentence. */
export interface GrpcDetail {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

/** A call that did not end well. */
export class GrpcFailure extends Error {
  readonly code: number;
  readonly details: readonly GrpcDetail[];

  constructor(code: number, message: string, details: readonly GrpcDetail[] = []) {
    super(message);
    this.code = code;
    this.details = details;
  }
}

export const grpcFailure = (code: number, message: string): GrpcFailure =>
  new GrpcFailure(code, message);

export type GrpcTrailers = Readonly<Record<string, string>>;

/** What ends a stream. null: it went well. */
export function trailersOf(failure: GrpcFailure | null): GrpcTrailers {
  if (failure === null) return { "grpc-status": "0" };
  const { code, message, details } = failure;
  const trailers = { "grpc-status": String(code), "grpc-message": percentEncoded(message) };
  if (details.length === 0) return trailers;
  const status = create(StatusSchema, {
    code,
    message,
    details: details.map((detail) => create(AnySchema, detail)),
  });
  const encoded = Buffer.from(toBinary(StatusSchema, status)).toString("base64");
  return { ...trailers, "grpc-status-details-bin": encoded.replaceAll("=", "") };
}

/** What trailers say. null: it went well. */
export function failureOf(headers: Readonly<Record<string, unknown>>): GrpcFailure | null {
  const code = Number(headers["grpc-status"] ?? GRPC_STATUS.unknown);
  if (code === GRPC_STATUS.ok) return null;
  const written = headers["grpc-message"];
  const message = typeof written === "string" ? percentDecoded(written) : "";
  return new GrpcFailure(Number.isSafeInteger(code) ? code : GRPC_STATUS.unknown, message);
}

/** A `google.rpc.Status` in a message, as a failure; null for one that says OK. */
export function failureIn(bytes: Uint8Array): GrpcFailure | null {
  const { code, message, details } = fromBinary(StatusSchema, bytes);
  return code === GRPC_STATUS.ok ? null : new GrpcFailure(code, message, details);
}

/** More of a sentence would not fit into a client's limit for headers. */
const MESSAGE_LIMIT = 8192;

/** gRPC's form: what is no printable ASCII, and `%`, as `%XX` of its UTF-8 bytes. */
function percentEncoded(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text.slice(0, MESSAGE_LIMIT))) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += isPlain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

function percentDecoded(text: string): string {
  const bytes = Buffer.from(
    text.replaceAll(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    ),
    "latin1",
  );
  return bytes.toString();
}
