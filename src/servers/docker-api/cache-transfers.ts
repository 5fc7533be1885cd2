/**
 * Caches that lie in a folder of the client's, `type=local`, and folders that are contexts beside the build's own. The build says on its own stream which piece it wants or
 * has, and the client sends or takes it by requests of their own; a piece that nobody reads never travels. Naru's own.
 */
import { EngineError, newId, notFound } from "#base";
import type { WrittenCache } from "#engine/build";
import { digestOf } from "#oci";
import type { OfferedCache } from "#wire/docker";

import type { Call } from "./call.ts";
import type { Routes } from "./routes.ts";

type Bytes = ReadableStream<Uint8Array>;

interface Wanted {
  take(piece: Bytes): void;
  refuse(cause: unknown): void;
}

interface Offered {
  readonly pieces: ReadonlyMap<string, () => Bytes>;
  taken(): void;
  failed(cause: unknown): void;
}

export class CacheTransfers {
  readonly #wanted = new Map<string, Wanted>();
  readonly #offered = new Map<string, Offered>();

  /** Asks the client for a piece. @throws when it has none */
  async want<Piece extends object>(
    piece: Piece,
    tell: (wanted: Piece & { id: string }) => Promise<void>,
    signal: AbortSignal,
  ): Promise<Bytes> {
    const id = newId();
    const { promise, resolve, reject } = Promise.withResolvers<Bytes>();
    this.#wanted.set(id, { take: resolve, refuse: reject });
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (signal.aborted) stop();
      else await tell({ id, ...piece });
      return await promise;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#wanted.delete(id);
    }
  }

  /** Offers a cache, and waits until the client has it. */
  async offer(
    cache: number,
    { manifest, mediaType, config, blobs, signal }: WrittenCache,
    tell: (offered: OfferedCache) => Promise<void>,
  ): Promise<void> {
    const id = newId();
    const [named, inner] = [manifest, config].map((bytes) => ({
      digest: digestOf(bytes),
      size: bytes.length,
      open: (): Bytes => new Blob([bytes]).stream(),
    }));
    if (named === undefined || inner === undefined) return;
    const layers = [...blobs].map(([{ digest, size }, open]) => ({ digest, size, open }));
    const all = [...layers, inner, named];
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const pieces = new Map(all.map(({ digest, open }) => [digest, open] as const));
    this.#offered.set(id, { pieces, taken: resolve, failed: reject });
    const stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      if (signal.aborted) stop();
      await tell({
        id,
        cache,
        manifest: { mediaType, digest: named.digest, size: named.size },
        pieces: all.map(({ digest, size }) => ({ digest, size })),
      });
      await promise;
    } finally {
      signal.removeEventListener("abort", stop);
      this.#offered.delete(id);
    }
  }

  routes(): Routes {
    return {
      "POST /build/cache/:id": (call) => this.#receive(call),
      "GET /build/cache/:id/:digest": (call) => this.#send(call),
      "DELETE /build/cache/:id": (call) => this.#end(call),
    };
  }

  async #receive(call: Call): Promise<void> {
    const wanted = this.#wanted.get(call.param("id"));
    if (wanted === undefined) throw notFound("no build waits for this");
    this.#wanted.delete(call.param("id"));
    const why = call.query.text("error");
    if (why !== "") {
      wanted.refuse(new EngineError("notFound", why));
    } else {
      const read = Promise.withResolvers<void>();
      wanted.take(watched(call.bytes(), read.resolve));
      // Who answers early has the rest of the body thrown away.
      await read.promise;
    }
    call.empty(204);
  }

  async #send(call: Call): Promise<void> {
    const open = this.#offered.get(call.param("id"))?.pieces.get(call.param("digest"));
    if (open === undefined) throw notFound("no build offers this");
    await call.stream(open(), "application/octet-stream");
  }

  #end(call: Call): void {
    const offered = this.#offered.get(call.param("id"));
    if (offered === undefined) throw notFound("no build offers this");
    const why = call.query.text("error");
    if (why === "") offered.taken();
    else offered.failed(new EngineError("unavailable", why));
    call.empty(204);
  }
}

/** Tells when a stream is at its end, or was given up. */
function watched(stream: Bytes, ended: () => void): Bytes {
  const reader = stream.getReader();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (cause) {
        controller.error(cause);
      }
      ended();
    },
    async cancel(cause) {
      ended();
      await reader.cancel(cause);
    },
  });
}
