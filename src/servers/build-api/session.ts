/** One client: what it answers when it is asked. Everything it says is a stranger's. */
import { EngineError, invalid } from "#base";
import type { RegistryCredentials } from "#engine/image";
import { DEFAULT_DOMAIN } from "#oci";
import {
  Auth,
  BytesMessageSchema,
  fromBinary,
  FileSend,
  FileSync,
  type GrpcConnection,
  GrpcFailure,
  type GrpcMetadata,
  type GrpcStream,
  GRPC_STATUS,
  Secrets,
  SSH,
  Upload,
} from "#wire/grpc";

import type { SessionHead } from "./sessions.ts";

/** BuildKit's limit too. */
const SECRET_LIMIT_BYTES = 500 * 1024;
/** Under this name clients know Docker Hub. */
const HUB_HOST = "registry-1.docker.io";
/** A question that is answered from memory or by a credential helper. */
const ANSWER_TIMEOUT_MS = 120_000;

export class Session implements Disposable {
  readonly id: string;
  readonly sharedKey: string;
  readonly #connection: GrpcConnection;
  readonly #methods: ReadonlySet<string>;

  constructor(connection: GrpcConnection, { id, sharedKey, methods }: SessionHead) {
    this.#connection = connection;
    this.id = id;
    this.sharedKey = sharedKey;
    this.#methods = new Set(methods.map((method) => method.toLowerCase()));
  }

  /** Aborts when the client is gone. */
  get closed(): AbortSignal {
    return this.#connection.closed;
  }

  /** @returns undefined for one the client does not have */
  async secret(id: string, signal: AbortSignal): Promise<Uint8Array | undefined> {
    if (!this.#answers(Secrets.method.getSecret)) return undefined;
    const answer = await orMissing(
      this.#connection.unary(Secrets.method.getSecret, { id }, { signal: soon(signal) }),
    );
    if ((answer?.data.length ?? 0) > SECRET_LIMIT_BYTES) {
      throw invalid(`invalid secret size ${answer?.data.length ?? 0}`);
    }
    return answer?.data;
  }

  async credentials(domain: string, signal: AbortSignal): Promise<RegistryCredentials | undefined> {
    const host = domain === DEFAULT_DOMAIN ? HUB_HOST : domain;
    // Asked of every client: some answer this one question and do not say so when they come.
    const asked = this.#connection.unary(
      Auth.method.credentials,
      { host },
      { signal: soon(signal) },
    );
    const { username, secret } = (await orMissing(asked)) ?? { username: "", secret: "" };
    if (secret === "") return undefined;
    return username === "" ? { identityToken: secret } : { username, password: secret };
  }

  /** Whether the client forwards an agent under this id. */
  async hasAgent(id: string, signal: AbortSignal): Promise<boolean> {
    if (!this.#answers(SSH.method.checkAgent)) return false;
    try {
      await this.#connection.unary(SSH.method.checkAgent, { id }, { signal: soon(signal) });
      return true;
    } catch (cause) {
      if (cause instanceof GrpcFailure && cause.code !== GRPC_STATUS.unavailable) return false;
      throw told(cause);
    }
  }

  openAgent(id: string, signal: AbortSignal): GrpcStream {
    const metadata = { "buildkit.ssh.id": id };
    return this.#connection.open(SSH.method.forwardAgent, { signal, metadata });
  }

  openFiles(metadata: GrpcMetadata, signal: AbortSignal): GrpcStream {
    if (!this.#answers(FileSync.method.diffCopy)) throw invalid("no local sources enabled");
    return this.#connection.open(FileSync.method.diffCopy, { signal, metadata });
  }

  /** Where a build's files go. @param index of the exporter */
  openOutput(index: number, signal: AbortSignal): GrpcStream {
    const method = FileSend.method.diffCopy;
    if (!this.#answers(method)) {
      throw invalid("method /moby.filesync.v1.FileSend/DiffCopy not supported by the client");
    }
    const metadata = { "buildkit-attachable-exporter-id": String(index) };
    return this.#connection.open(method, { signal, metadata });
  }

  /** A call to one of the client's stores of blobs. */
  openStore(
    method: { readonly name: string; readonly parent: { readonly typeName: string } },
    store: string,
    signal: AbortSignal,
  ): GrpcStream {
    if (!this.#answers(method)) throw invalid(`the client has no store ${JSON.stringify(store)}`);
    const metadata = { "buildkit-attachable-store-id": store };
    return this.#connection.open(method, { signal, metadata });
  }

  /** A context that the client reads from its stdin. @param path of the URL that names it */
  async *upload(path: string, host: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const metadata = { urlpath: path, urlhost: host };
    using stream = this.#connection.open(Upload.method.pull, { signal, metadata });
    try {
      for await (const messages of stream.messages()) {
        for (const bytes of messages) yield fromBinary(BytesMessageSchema, bytes).data;
      }
    } catch (cause) {
      throw told(cause);
    }
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  #answers({ name, parent }: { name: string; parent: { typeName: string } }): boolean {
    return this.#methods.has(`/${parent.typeName}/${name}`.toLowerCase());
  }
}

const soon = (signal: AbortSignal): AbortSignal =>
  AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);

/** The client does not have it, or has none of its kind. */
const UNKNOWN: ReadonlySet<number> = new Set([GRPC_STATUS.notFound, GRPC_STATUS.unimplemented]);

async function orMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (cause) {
    if (cause instanceof GrpcFailure && UNKNOWN.has(cause.code)) return undefined;
    throw told(cause);
  }
}

/** What a client said went wrong is its user's business, not a fault of the engine. */
export const told = (cause: unknown): unknown =>
  cause instanceof GrpcFailure ? new EngineError("invalid", cause.message, { cause }) : cause;
