/** A registry of a test's own making, as friendly or hostile as its `answer` is. */
import { digestOf, type Digest } from "#oci";

export interface FakeRegistry extends Disposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  /** Every request seen: method, path and query, and its authorization. */
  readonly seen: readonly { readonly line: string; readonly authorization: string | null }[];
}

export type FakeAnswer = (request: Request, url: URL) => Response | Promise<Response>;

export function startFakeRegistry(answer: FakeAnswer): FakeRegistry {
  const seen: { line: string; authorization: string | null }[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 30,
    fetch: (request) => {
      const url = new URL(request.url);
      seen.push({
        line: `${request.method} ${url.pathname}${url.search}`,
        authorization: request.headers.get("authorization"),
      });
      return answer(request, url);
    },
  });
  return {
    host: `127.0.0.1:${server.port}`,
    seen,
    [Symbol.dispose]: () => void server.stop(true),
  };
}

export interface RawServer extends FakeRegistry {
  /** Ends the connections that were answered and left open. */
  cut(): void;
}

/**
 * A raw TCP server that answers each connection's first bytes with what `reply` writes, then ends it; with
 * `isHeld`, only when told to: fetch drops what it has of a body when the connection ends before the first read.
 */
export function startRawServer(
  reply: (request: string) => Uint8Array | string,
  isHeld: (request: string) => boolean = () => false,
): RawServer {
  const seen: { line: string; authorization: string | null }[] = [];
  const held = new Set<Bun.Socket>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data(socket, bytes) {
        const request = new TextDecoder().decode(bytes);
        seen.push({ line: request.split("\r\n", 1)[0] ?? "", authorization: null });
        socket.write(reply(request));
        if (isHeld(request)) held.add(socket);
        else socket.end();
      },
    },
  });
  return {
    host: `127.0.0.1:${server.port}`,
    seen,
    cut: () => {
      for (const socket of held) socket.end();
      held.clear();
    },
    [Symbol.dispose]: () => server.stop(true),
  };
}

/** Bytes with their digest and size, as a descriptor names them. */
export function blobOf(content: string | Uint8Array<ArrayBuffer>): {
  bytes: Uint8Array<ArrayBuffer>;
  digest: Digest;
  size: number;
} {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  return { bytes, digest: digestOf(bytes), size: bytes.length };
}
