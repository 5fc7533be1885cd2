/** gRPC on a connection that is already ours, this side as the client: what a session of buildx offers. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import type { Duplex } from "node:stream";

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";

import { frameHead, GrpcFrameReader } from "./frames.ts";
import { type KeepAlive, keepAlive, pinged } from "./keep-alive.ts";
import { failureOf, grpcFailure, type GrpcFailure, GRPC_STATUS } from "./status.ts";
import { arriving, written } from "./streams.ts";

/** Values by name; what is no ASCII is the caller's to encode. */
export type GrpcMetadata = Readonly<Record<string, string | readonly string[]>>;

/** The largest message a client may send: a piece of a file, a secret. Go's own limit for clients is 4 MiB. */
const MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
/** What may be on its way to us on one stream, and on the connection, before the client waits. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** One message whole, or in pieces that follow each other. Their bytes are not to be changed any more. */
export type GrpcMessage = Uint8Array | readonly Uint8Array[];

interface CallOptions {
  readonly signal: AbortSignal;
  readonly metadata?: GrpcMetadata;
}

export class GrpcConnection implements Disposable {
  readonly #session: ClientHttp2Session;
  /** Aborts when the connection has ended. */
  readonly #closed = new AbortController();

  constructor(socket: Duplex, limits?: KeepAlive) {
    this.#session = connect("http://session", {
      createConnection: () => socket,
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
    });
    const close = () => this.#closed.abort(new Error("the session has ended"));
    this.#session.on("error", () => socket.destroy());
    this.#session.once("close", close);
    socket.once("close", close);
    // Half a connection carries no calls: who has said his last is gone.
    socket.once("end", () => socket.destroy());
    if (socket.destroyed) close();
    this.#session.once("connect", () => {
      this.#session.setLocalWindowSize(WINDOW_BYTES);
      keepAlive((onAnswer) => pinged(this.#session, onAnswer), socket, limits);
    });
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  /** @throws GrpcFailure as the other side has it */
  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    message: MessageInitShape<I>,
    options: CallOptions,
  ): Promise<MessageShape<O>> {
    using call = this.open(method, options);
    await call.send(toBinary(method.input, create(method.input, message)));
    call.end();
    let answer: MessageShape<O> | null = null;
    for await (const messages of call.messages()) {
      for (const bytes of messages) answer = fromBinary(method.output, bytes);
    }
    if (answer === null) throw grpcFailure(GRPC_STATUS.internal, "the call had no answer");
    return answer;
  }

  /** A call with messages both ways. Disposing breaks it off unless it has ended. */
  open(
    method: { readonly name: string; readonly parent: { readonly typeName: string } },
    { signal, metadata = {} }: CallOptions,
  ): GrpcStream {
    signal.throwIfAborted();
    this.closed.throwIfAborted();
    const stream = this.#session.request({
      ":method": "POST",
      ":path": `/${method.parent.typeName}/${method.name}`,
      "content-type": "application/grpc",
      te: "trailers",
      ...metadata,
    });
    return new GrpcStream(stream, AbortSignal.any([signal, this.closed]));
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

export class GrpcStream implements Disposable {
  readonly #stream: ClientHttp2Stream;
  readonly #signal: AbortSignal;
  readonly #stop: () => void;
  #failure: GrpcFailure | null | undefined;

  constructor(stream: ClientHttp2Stream, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
    this.#stop = () => stream.destroy();
    signal.addEventListener("abort", this.#stop, { once: true });
    const ended = (headers: object) => {
      const fields = headers as Readonly<Record<string, unknown>>;
      if (fields["grpc-status"] !== undefined) this.#failure = failureOf(fields);
    };
    stream.on("response", ended);
    stream.on("trailers", ended);
    // Told where the call is read or written.
    stream.on("error", () => {});
    if (signal.aborted) this.#stop();
  }

  /** Waits until there is room. @throws the reason when the call is over */
  async send(...messages: readonly GrpcMessage[]): Promise<void> {
    const pieces = messages.flatMap((message) => {
      const parts = message instanceof Uint8Array ? [message] : message;
      return [frameHead(parts.reduce((sum, part) => sum + part.length, 0)), ...parts];
    });
    if (await written(this.#stream, Buffer.concat(pieces))) return;
    this.#signal.throwIfAborted();
    throw this.#failure ?? grpcFailure(GRPC_STATUS.unavailable, "the call was ended");
  }

  /** Nothing more is sent. */
  end(): void {
    this.#stream.end();
  }

  /** What arrives, as many messages at once as came together. @throws GrpcFailure, or the reason of the signal */
  async *messages(): AsyncGenerator<Uint8Array[]> {
    const reader = new GrpcFrameReader(MESSAGE_LIMIT_BYTES);
    for await (const chunk of arriving(this.#stream)) {
      const messages = reader.push(chunk);
      if (messages.length > 0) yield messages;
    }
    this.#signal.throwIfAborted();
    if (this.#failure === undefined) {
      throw grpcFailure(GRPC_STATUS.unavailable, "the call ended without a status");
    }
    if (this.#failure !== null) throw this.#failure;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#stop);
    if (!this.#stream.closed) this.#stream.destroy();
  }
}
