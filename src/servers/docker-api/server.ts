/** Docker's Engine API on a socket: finds the handler of a request, and tells every error in Docker's words. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import {
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from "node:net";

import { conflict, invalid, kindOf, notFound, sentenceOf } from "#base";

import { Call, type Channel } from "./call.ts";
import { LINGER_MS } from "./join.ts";
import type { FindRoute } from "./routes.ts";
import { splitVersion } from "./versions.ts";

/** Where what only the operator should know goes: errors that are our own. */
export interface ApiLogger {
  error(message: string, details?: Record<string, unknown>): void;
}

export type ListenTarget =
  /** A Unix socket, made here. A stale one is replaced; one that answers is another engine's, and stays. */
  | { readonly path: string; readonly mode?: number }
  /** A listening socket that is open already: systemd's. */
  | { readonly fd: number };

export interface ApiServer {
  listen(target: ListenTarget): Promise<void>;
  /** Stops listening and cuts every connection: clients come again, containers do not notice. */
  close(): Promise<void>;
}

const SOCKET_MODE = 0o660;
const HEADERS_TIMEOUT_MS = 60_000;

export function serve(options: {
  readonly find: FindRoute;
  /** Sent with every answer. */
  readonly headers: Readonly<Record<string, string>>;
  readonly logger: ApiLogger;
}): ApiServer {
  const sockets = new Set<Socket>();
  const answer = (request: IncomingMessage, channel: Channel) => {
    void dispatch(request, channel, options);
  };
  const server = createServer(
    // Attach, events and uploads last as long as they last; idle connections are the client's to close.
    { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: HEADERS_TIMEOUT_MS },
    (request, response) => answer(request, { kind: "response", response }),
  );
  server.timeout = 0;
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    // A client that breaks off is no error of ours; what was under way sees the end of its stream.
    socket.on("error", () => socket.destroy());
    answer(request, { kind: "socket", socket, head });
  });
  let gate: NetServer | null = null;
  return {
    async listen(target) {
      if ("path" in target) return listenOn(server, target);
      // Bun's HTTP server cannot listen on a descriptor; its net server can, and hands connections over.
      gate = createNetServer({ allowHalfOpen: true }, (socket) =>
        server.emit("connection", socket),
      );
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      gate.once("error", reject).listen({ fd: target.fd }, resolve);
      return promise;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      for (const one of [gate, server]) {
        if (one?.listening === true) await new Promise((resolve) => one.close(resolve));
      }
    },
  };
}

async function dispatch(
  request: IncomingMessage,
  channel: Channel,
  { find, headers, logger }: Parameters<typeof serve>[0],
): Promise<void> {
  let call: Call | null = null;
  try {
    const url = request.url ?? "/";
    const mark = url.indexOf("?");
    const query = mark < 0 ? "" : url.slice(mark + 1);
    // Made before anything can be wrong with the request, so that the error has somewhere to go.
    call = new Call({ request, channel, version: "", params: {}, query: "", headers });
    const { version, path } = splitVersion(mark < 0 ? url : url.slice(0, mark));
    const route = find(request.method ?? "", path);
    if (route === null) throw notFound("page not found");
    call = new Call({ request, channel, version, params: unescape(route.params), query, headers });
    await route.handler(call);
  } catch (error) {
    tellError(error, call, { request, logger });
  } finally {
    if (channel.kind === "response") dropRest(request);
  }
}

/**
 * What is still on its way when the answer is complete is read and dropped for a while: a client that only writes
 * would otherwise never come to read its answer. One that goes on for longer is cut off.
 */
function dropRest(request: IncomingMessage): void {
  const { "content-length": length, "transfer-encoding": encoding } = request.headers;
  if (request.complete || (encoding === undefined && (length === undefined || length === "0"))) {
    return;
  }
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS).unref();
  request.once("end", () => clearTimeout(timer));
  request.once("close", () => clearTimeout(timer));
}

/** `%2F` in a name is a slash of that name. @throws EngineError "invalid" for what no name can hold */
function unescape(params: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(params).map(([name, value]) => [name, unescapeOne(value)]),
  );
}

function unescapeOne(value: string): string {
  if (!value.includes("%")) return value;
  let text: string;
  try {
    text = decodeURIComponent(value);
  } catch {
    throw invalid(`invalid URL escape ${JSON.stringify(value)}`);
  }
  if (text.includes("\0")) throw invalid("a name holds a NUL byte");
  return text;
}

function tellError(
  error: unknown,
  call: Call | null,
  { request, logger }: { request: IncomingMessage; logger: ApiLogger },
): void {
  if (kindOf(error) === "internal" && !(call?.gone ?? false)) {
    logger.error(`${request.method ?? ""} ${request.url ?? ""}: ${sentenceOf(error)}`, {
      stack: error instanceof Error ? error.stack : undefined,
      cause: error instanceof Error ? error.cause : undefined,
    });
  }
  try {
    if (call === null || call.begun) call?.destroy();
    else call.fail(error);
  } catch (failure) {
    logger.error(`an error could not be told: ${sentenceOf(failure)}`);
  }
}

async function listenOn(server: Server, target: { path: string; mode?: number }): Promise<void> {
  const { path, mode = SOCKET_MODE } = target;
  const listening = async (): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(path, resolve);
    await promise;
    server.off("error", reject);
  };
  try {
    await listening();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    if (await answers(path)) throw conflict(`an engine already answers on ${path}`);
    rmSync(path, { force: true });
    await listening();
  }
  chmodSync(path, mode);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
