/**
 * `GET /metrics` on a TCP port, plain HTTP as dockerd serves it. It tells numbers and takes nothing; still no web page
 * reads it through a browser, and no client holds more of it than its share.
 */
import { unavailable } from "#base";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

const CONNECTIONS_LIMIT = 64;
const HEADERS_LIMIT_BYTES = 16 * 1024;
const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 120_000;

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface ServeMetricsRequest {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** @throws for a client that may not ask */
  readonly guard: (request: IncomingMessage) => void;
  readonly text: () => Promise<string>;
}

/** Resolves when it listens. @throws the system's error where it cannot */
export async function serveMetrics(request: ServeMetricsRequest): Promise<MetricsServer> {
  const server = createServer(
    {
      maxHeaderSize: HEADERS_LIMIT_BYTES,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
    },
    (incoming, response) => void answer(request, incoming, response),
  );
  server.maxConnections = CONNECTIONS_LIMIT;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (cause: NodeJS.ErrnoException) => {
    const taken = cause.code === "EADDRINUSE" || /in use/.test(cause.message);
    const place = `listen tcp ${request.host}:${request.port}`;
    reject(taken ? unavailable(`${place}: bind: address already in use`, { cause }) : cause);
  });
  server.listen(request.port, request.host === "" ? undefined : request.host, resolve);
  await promise;
  server.unref();
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : request.port,
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

async function answer(
  { guard, text }: ServeMetricsRequest,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const plain = (status: number, body: string) => {
    const type = "text/plain; charset=utf-8";
    response.writeHead(status, { "Content-Type": type, "X-Content-Type-Options": "nosniff" });
    response.end(incoming.method === "HEAD" ? undefined : `${body}\n`);
  };
  incoming.resume();
  try {
    guard(incoming);
  } catch (cause) {
    return plain(403, cause instanceof Error ? cause.message : "forbidden");
  }
  if ((incoming.url ?? "").split("?", 1)[0] !== "/metrics") return plain(404, "404 page not found");
  if (incoming.method !== "GET" && incoming.method !== "HEAD") {
    return plain(405, "Method Not Allowed");
  }
  try {
    const body = await text();
    const type = "text/plain; version=0.0.4; charset=utf-8";
    response.writeHead(200, { "Content-Type": type });
    response.end(incoming.method === "HEAD" ? undefined : body);
  } catch {
    plain(500, "the metrics could not be gathered");
  }
}
