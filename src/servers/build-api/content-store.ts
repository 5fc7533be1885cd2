/** A client's store of blobs, by the name that it has in the client's session: a cache's folder, an OCI layout, an output. */
import { invalid } from "#base";
import type { Descriptor, Digest } from "#oci";
import {
  Content,
  create,
  fromBinary,
  GrpcFailure,
  GRPC_STATUS,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  toBinary,
  WriteContentRequestSchema,
  WriteContentResponseSchema,
} from "#wire/grpc";

import { type Session, told } from "./session.ts";

const ACTION = { stat: 0, write: 1, commit: 2 } as const;
const PIECE_BYTES = 256 * 1024;

export class ClientStore {
  readonly #session: Session;
  readonly #name: string;

  constructor(session: Session, name: string) {
    this.#session = session;
    this.#name = name;
  }

  /** The bytes are as the client says: who takes them checks them. */
  read(digest: Digest, signal: AbortSignal): ReadableStream<Uint8Array> {
    const pieces = this.#pieces(digest, signal);
    return new ReadableStream<Uint8Array>({
      async pull(controller) {
        try {
          const { done, value } = await pieces.next();
          if (done === true) controller.close();
          else controller.enqueue(value);
        } catch (cause) {
          controller.error(cause);
        }
      },
      cancel: () => void pieces.return(undefined),
    });
  }

  async *#pieces(digest: Digest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    using stream = this.#session.openStore(Content.method.read, this.#name, signal);
    try {
      await stream.send(
        toBinary(ReadContentRequestSchema, create(ReadContentRequestSchema, { digest })),
      );
      stream.end();
      for await (const messages of stream.messages()) {
        for (const bytes of messages) {
          const { data } = fromBinary(ReadContentResponseSchema, bytes);
          if (data.length > 0) yield data;
        }
      }
    } catch (cause) {
      throw told(cause);
    }
  }

  /** Writes a blob unless the client has it. @throws EngineError "invalid" in the client's words */
  async write(
    { digest, size }: Pick<Descriptor, "digest" | "size">,
    source: ReadableStream<Uint8Array>,
    signal: AbortSignal,
  ): Promise<void> {
    using stream = this.#session.openStore(Content.method.write, this.#name, signal);
    const answers = stream.messages();
    const ask = async (message: { action: number; offset?: bigint; data?: Uint8Array }) => {
      const common = { ref: `naru-${digest}`, total: BigInt(size), expected: digest };
      const asked = create(WriteContentRequestSchema, { ...common, ...message });
      await stream.send(toBinary(WriteContentRequestSchema, asked));
      const { done, value } = await answers.next();
      const bytes = done === true ? undefined : value[0];
      if (bytes === undefined) throw invalid("the client ended before it had the whole blob");
      return fromBinary(WriteContentResponseSchema, bytes);
    };
    try {
      let { offset } = await ask({ action: ACTION.stat });
      // What an earlier try has left is not trusted to be the same.
      if (offset !== 0n) offset = 0n;
      for await (const chunk of source) {
        for (let from = 0; from < chunk.length; from += PIECE_BYTES) {
          const data = chunk.subarray(from, from + PIECE_BYTES);
          await ask({ action: ACTION.write, offset, data });
          offset += BigInt(data.length);
        }
      }
      await ask({ action: ACTION.commit, offset });
      stream.end();
    } catch (cause) {
      await source.cancel().catch(() => undefined);
      if (cause instanceof GrpcFailure && cause.code === GRPC_STATUS.alreadyExists) return;
      throw told(cause);
    }
  }
}
