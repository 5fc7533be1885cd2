/**
 * A connection inside of a call: what either side writes goes as messages of bytes on the call's own stream, no faster
 * than the slower side. This is how a client offers a session where it has no connection of its own to give away.
 */
import type { Http2Stream } from "node:http2";
import { Duplex } from "node:stream";

import { fromBinary } from "@bufbuild/protobuf";

import { encodeGrpcFrame, GrpcFrameReader } from "./frames.ts";
import { BytesMessageSchema } from "./generated/filesync_pb.ts";
import { bytesMessage } from "./packets-out.ts";
import { arriving, written } from "./streams.ts";

/** The largest message: a client sends what was written to its end at once. */
const MESSAGE_LIMIT_BYTES = 16 * 1024 * 1024;
const BUFFER_BYTES = 256 * 1024;

export class Tunnel extends Duplex {
  readonly #stream: Http2Stream;
  #wanted = Promise.withResolvers<void>();

  constructor(stream: Http2Stream) {
    super({ readableHighWaterMark: BUFFER_BYTES, writableHighWaterMark: BUFFER_BYTES });
    this.#stream = stream;
    stream.once("close", () => this.destroy());
    this.once("close", () => this.#wanted.resolve());
    this.#receive().catch((cause: unknown) =>
      this.destroy(cause instanceof Error ? cause : undefined),
    );
  }

  async #receive(): Promise<void> {
    const reader = new GrpcFrameReader(MESSAGE_LIMIT_BYTES);
    for await (const chunk of arriving(this.#stream)) {
      for (const message of reader.push(chunk)) {
        const { data } = fromBinary(BytesMessageSchema, message);
        if (data.length === 0 || this.push(data)) continue;
        this.#wanted = Promise.withResolvers();
        await this.#wanted.promise;
      }
      if (this.destroyed) return;
    }
    this.push(null);
  }

  override _read(): void {
    this.#wanted.resolve();
  }

  override _write(chunk: Uint8Array, _: string, done: (error?: Error | null) => void): void {
    const message = bytesMessage(chunk);
    const whole = message instanceof Uint8Array ? message : Buffer.concat(message);
    Promise.resolve(written(this.#stream, encodeGrpcFrame(whole))).then(
      (isHeard) => done(isHeard ? null : new Error("the call was given up")),
      done,
    );
  }
}
