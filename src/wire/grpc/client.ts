/** gRPC on a connection that is already ours, this side as the client: what a session of buildx offers. */
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
import type { HeaderField } from "./hpack.ts";
import type { Http2Call } from "./http2-call.ts";
import { Http2Connection } from "./http2.ts";
import { type KeepAlive, keepAlive } from "./keep-alive.ts";
import { failureOf, grpcFailure, type GrpcFailure, GRPC_STATUS } from "./status.ts";

/** Values by name; what is no ASCII is the caller's to encode. */
export type GrpcMetadata = Readonly<Record<string, string | readonly string[]>>;

/** The largest message a client may send: a piece of a file, a secret. Go's own limit for clients is 4 MiB. */
const MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
/** One message whole, or in pieces that follow each other. Their bytes are not to be changed any more. */
export type GrpcMessage = Uint8Array | readonly Uint8Array[];

interface CallOptions {
  readonly signal: AbortSignal;
  readonly metadata?: GrpcMetadata;
}

export class GrpcConnection implements Disposable {
  readonly #connection: Http2Connection;
  /** Aborts when the connection has ended. */
  readonly #closed = new AbortController();

  constructor(socket: Duplex, limits?: KeepAlive) {
    this.#connection = new Http2Connection(socket);
    const close = () => this.#close();
    socket.once("close", close);
    // Half a connection carries no calls: who has said his last is gone.
    socket.once("end", () => socket.destroy());
    if (socket.destroyed) close();
    keepAlive((onAnswer) => this.#connection.ping(onAnswer), socket, limits);
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
    const fields: HeaderField[] = [
      [":method", "POST"],
      [":scheme", "http"],
      [":path", `/${method.parent.typeName}/${method.name}`],
      [":authority", "session"],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ];
    for (const [name, values] of Object.entries(metadata)) {
      for (const value of [values].flat()) fields.push([name.toLowerCase(), value]);
    }
    const answer = new Map<string, string>();
    const call = this.#connection.open(fields, (some) => {
      for (const [name, value] of some) answer.set(name, value);
    });
    if (call === null) throw grpcFailure(GRPC_STATUS.unavailable, "the client takes no more calls");
    return new GrpcStream(call, answer, AbortSignal.any([signal, this.closed]));
  }

  #close(): void {
    this.#closed.abort(new Error("the session has ended"));
  }

  [Symbol.dispose](): void {
    this.#close();
    this.#connection[Symbol.dispose]();
  }
}

export class GrpcStream implements Disposable {
  readonly #call: Http2Call;
  /** Fields of the answer, by name, as they have arrived. */
  readonly #answer: ReadonlyMap<string, string>;
  readonly #signal: AbortSignal;
  readonly #stop: () => void;

  constructor(call: Http2Call, answer: ReadonlyMap<string, string>, signal: AbortSignal) {
    this.#call = call;
    this.#answer = answer;
    this.#signal = signal;
    this.#stop = () => call.cancel();
    signal.addEventListener("abort", this.#stop, { once: true });
    if (signal.aborted) this.#stop();
  }

  /** Waits until there is room. @throws the reason when the call is over */
  async send(...messages: readonly GrpcMessage[]): Promise<void> {
    const pieces = messages.flatMap((message) => {
      const parts = message instanceof Uint8Array ? [message] : message;
      return [frameHead(parts.reduce((sum, part) => sum + part.length, 0)), ...parts];
    });
    if (await this.#call.write(pieces)) return;
    this.#signal.throwIfAborted();
    throw this.#failure() ?? grpcFailure(GRPC_STATUS.unavailable, "the call was ended");
  }

  /** Nothing more is sent. */
  end(): void {
    this.#call.end();
  }

  /** What arrives, as many messages at once as came together. @throws GrpcFailure, or the reason of the signal */
  async *messages(): AsyncGenerator<Uint8Array[]> {
    const reader = new GrpcFrameReader(MESSAGE_LIMIT_BYTES);
    for await (const chunks of this.#call.arriving()) {
      const messages: Uint8Array[] = [];
      for (const chunk of chunks) reader.push(chunk, messages);
      if (messages.length > 0) yield messages;
    }
    this.#signal.throwIfAborted();
    const failure = this.#failure();
    if (failure === undefined) {
      throw grpcFailure(GRPC_STATUS.unavailable, "the call ended without a status");
    }
    if (failure !== null) throw failure;
  }

  /** How the call ended; undefined while nobody has said so. */
  #failure(): GrpcFailure | null | undefined {
    return this.#answer.has("grpc-status")
      ? failureOf(Object.fromEntries(this.#answer))
      : undefined;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#stop);
    this.#call.cancel();
  }
}
