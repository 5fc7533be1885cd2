/**
 * gRPC on a connection that is already ours, this side as the server: HTTP/2 without TLS, calls with one request
 * message, and one answer or a stream of them.
 */
import {
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

import { encodeGrpcFrame, GrpcFrameReader } from "./frames.ts";
import { type KeepAlive, keepAlive, pinged } from "./keep-alive.ts";
import { grpcFailure, type GrpcFailure, GRPC_STATUS, trailersOf } from "./status.ts";
import { arriving, written } from "./streams.ts";
import { Tunnel } from "./tunnel.ts";

/** What a handler knows of a call beside its message. */
export interface GrpcCall {
  readonly header: (name: string) => string;
  /** Aborts when the client gives the call up, or its connection ends. */
  readonly signal: AbortSignal;
}

type Handler = (message: Uint8Array, call: GrpcCall) => AsyncIterable<Uint8Array>;

/** No call of buildx is near it: attributes, definitions and a Dockerfile. */
const MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
/** A build has five or so at once; `bake` has them for every target. */
const STREAM_LIMIT = 256;
/** What requests of one connection that have not arrived whole may hold together. */
const ARRIVING_LIMIT_BYTES = 64 * 1024 * 1024;
/** A request is one message, sent at once. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Names and values of a call's metadata, with what HTTP/2 counts for each. */
const METADATA_LIMIT_BYTES = 256 * 1024;

type Serve = (connection: Duplex, call: GrpcCall) => Promise<void>;

export class GrpcRouter {
  readonly #handlers = new Map<string, Handler>();
  readonly #tunnels = new Map<string, Serve>();

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    handle: (request: MessageShape<I>, call: GrpcCall) => Promise<MessageInitShape<O>>,
  ): this {
    this.#handlers.set(pathOf(method), async function* (bytes, call) {
      const answer = await handle(decoded(method.input, bytes), call);
      yield toBinary(method.output, create(method.output, answer));
    });
    return this;
  }

  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    handle: (request: MessageShape<I>, call: GrpcCall) => AsyncIterable<MessageInitShape<O>>,
  ): this {
    this.#handlers.set(pathOf(method), async function* (bytes, call) {
      for await (const answer of handle(decoded(method.input, bytes), call)) {
        yield toBinary(method.output, create(method.output, answer));
      }
    });
    return this;
  }

  /** A call that carries a connection. @param serve resolves when the connection is over */
  tunnel(path: string, serve: Serve): this {
    this.#tunnels.set(path, serve);
    return this;
  }

  find(path: string): Handler | null {
    return this.#handlers.get(path) ?? null;
  }

  findTunnel(path: string): Serve | null {
    return this.#tunnels.get(path) ?? null;
  }
}

const pathOf = ({ name, parent }: { name: string; parent: { typeName: string } }): string =>
  `/${parent.typeName}/${name}`;

function decoded<I extends DescMessage>(schema: I, bytes: Uint8Array): MessageShape<I> {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw grpcFailure(GRPC_STATUS.internal, `the message cannot be read: ${String(cause)}`);
  }
}

/** Serves a connection until it ends. @param tell every failure as gRPC has it */
export function serveGrpc(
  socket: Socket,
  router: GrpcRouter,
  tell: (error: unknown) => GrpcFailure,
  limits?: KeepAlive,
): void {
  const server: Http2Server = createServer({
    settings: { maxConcurrentStreams: STREAM_LIMIT, maxHeaderListSize: METADATA_LIMIT_BYTES },
  });
  server.on("session", (session: ServerHttp2Session) => {
    session.on("error", () => session.destroy());
    keepAlive((onAnswer) => pinged(session, onAnswer), socket, limits);
  });
  server.on("sessionError", () => socket.destroy());
  const arrivals = { bytes: 0 };
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    // A client that breaks a call off is no error of ours: its signal tells whoever works for it.
    stream.on("error", () => {});
    void answer(stream, headers, { router, tell, arrivals });
  });
  // Half a connection carries no calls: who has said his last is gone.
  socket.once("end", () => socket.destroy());
  server.emit("connection", socket);
}

interface Serving {
  readonly router: GrpcRouter;
  /** Of all calls of the connection whose requests are on their way. */
  readonly arrivals: { bytes: number };
  readonly tell: (error: unknown) => GrpcFailure;
}

async function answer(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { router, tell, arrivals }: Serving,
): Promise<void> {
  const abort = new AbortController();
  stream.once("close", () => abort.abort(new Error("the call was given up")));
  let failure: GrpcFailure | null = null;
  try {
    const path = headers[":path"] ?? "";
    const header = (name: string) => String(headers[name] ?? "");
    const tunnel = router.findTunnel(path);
    if (tunnel !== null) {
      await serveTunnel(stream, tunnel, { header, signal: abort.signal });
      return end(stream, null);
    }
    const handle = router.find(path);
    const message = await onlyMessage(stream, arrivals);
    if (handle === null) {
      throw grpcFailure(GRPC_STATUS.unimplemented, `unknown method ${path}`);
    }
    begin(stream);
    const answers = handle(message, { header, signal: abort.signal });
    for await (const bytes of answers) {
      if (!(await written(stream, encodeGrpcFrame(bytes)))) return;
    }
  } catch (error) {
    failure = tell(error);
  }
  end(stream, failure);
}

const begin = (stream: ServerHttp2Stream): void =>
  stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });

async function serveTunnel(stream: ServerHttp2Stream, serve: Serve, call: GrpcCall): Promise<void> {
  begin(stream);
  const tunnel = new Tunnel(stream);
  // Whoever is at its other end has gone: told where it is read.
  tunnel.on("error", () => undefined);
  try {
    await serve(tunnel, call);
  } finally {
    tunnel.destroy();
  }
}

function end(stream: ServerHttp2Stream, failure: GrpcFailure | null): void {
  if (stream.destroyed || stream.closed) return;
  const trailers = trailersOf(failure);
  if (!stream.headersSent) {
    const head = { ":status": 200, "content-type": "application/grpc", ...trailers };
    stream.respond(head, { endStream: true });
    return;
  }
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end();
}

/** The request, which is one message. */
async function onlyMessage(
  stream: ServerHttp2Stream,
  arrivals: Serving["arrivals"],
): Promise<Uint8Array> {
  const reader = new GrpcFrameReader(MESSAGE_LIMIT_BYTES);
  const messages: Uint8Array[] = [];
  let held = 0;
  const late = setTimeout(() => stream.destroy(), REQUEST_TIMEOUT_MS).unref();
  try {
    for await (const chunk of arriving(stream)) {
      held += chunk.length;
      arrivals.bytes += chunk.length;
      if (arrivals.bytes > ARRIVING_LIMIT_BYTES) {
        throw grpcFailure(GRPC_STATUS.resourceExhausted, "too many requests at once");
      }
      messages.push(...reader.push(chunk));
      if (messages.length > 1) break;
    }
  } finally {
    clearTimeout(late);
    arrivals.bytes -= held;
  }
  const [message] = messages;
  if (message === undefined || messages.length > 1 || reader.isInside) {
    throw grpcFailure(GRPC_STATUS.internal, "a call has one message");
  }
  return message;
}
