/** One place where the API is served: a Unix socket, systemd's descriptor, or TCP with and without TLS. */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import {
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from "node:net";
import { createServer as createSecureServer } from "node:tls";

import { conflict } from "#base";

export interface TlsIdentity {
  /** PEM texts. */
  readonly cert: string;
  readonly key: string;
  /** Clients must show a certificate of this authority; null: none is asked for. */
  readonly clientAuthority: string | null;
}

export type ListenTarget =
  /** A Unix socket, made here. A stale one is replaced; one that answers is another engine's, and stays. */
  | { readonly path: string; readonly mode?: number }
  /** A listening socket that is open already: systemd's. */
  | { readonly fd: number; readonly network: "unix" | "tcp"; readonly tls: TlsIdentity | null }
  /** Port 0 is any that is free. */
  | { readonly host: string; readonly port: number; readonly tls: TlsIdentity | null };

export interface Handlers {
  readonly request: (request: IncomingMessage, response: ServerResponse) => void;
  /** A client that asks to take its connection over. */
  readonly upgrade: (request: IncomingMessage, socket: Socket, head: Buffer) => void;
}

const SOCKET_MODE = 0o660;
/** Who sends its head byte by byte holds a connection no longer than this. */
const HEADERS_TIMEOUT_MS = 60_000;
const HEADERS_CHECK_MS = 5000;
const HANDSHAKE_TIMEOUT_MS = 20_000;
/** A head larger than this is an attack: clients send authorizations of a few kilobytes. */
const HEADERS_LIMIT_BYTES = 256 * 1024;
const HEADER_COUNT_LIMIT = 500;

export class Listener {
  readonly #server: Server;
  #gate: NetServer | null = null;
  /** Connections of the gate, those in their handshake among them. */
  readonly #handed = new Set<Socket>();

  constructor(target: ListenTarget, handlers: Handlers) {
    // Attach, events and uploads last as long as they last; idle connections are the client's to close.
    const options = {
      keepAliveTimeout: 0,
      requestTimeout: 0,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: HEADERS_CHECK_MS,
      maxHeaderSize: HEADERS_LIMIT_BYTES,
    };
    this.#server =
      "port" in target && target.tls !== null
        ? createTlsServer({ ...options, ...tlsOptions(target.tls) }, handlers.request)
        : createServer(options, handlers.request);
    this.#server.timeout = 0;
    this.#server.maxHeadersCount = HEADER_COUNT_LIMIT;
    this.#server.on("upgrade", handlers.upgrade);
    this.#server.on("clientError", refuseHead);
  }

  async listen(target: ListenTarget): Promise<void> {
    if ("path" in target) return listenOnPath(this.#server, target);
    if ("port" in target) {
      return listening(this.#server, () => this.#server.listen(target.port, target.host));
    }
    // Bun's HTTP server cannot listen on a descriptor; its net and TLS servers can, and hand connections over.
    const handOver = (socket: Socket): void => void this.#server.emit("connection", socket);
    const gate =
      target.tls === null
        ? createNetServer({ allowHalfOpen: true }, handOver)
        : createSecureServer(
            {
              ...tlsOptions(target.tls),
              handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
              allowHalfOpen: true,
            },
            handOver,
          );
    // Whoever shows no certificate is gone before there is anything to answer.
    gate.on("tlsClientError", (_: Error, socket: Socket) => socket.destroy());
    gate.on("connection", (socket: Socket) => {
      this.#handed.add(socket);
      socket.once("close", () => this.#handed.delete(socket));
    });
    this.#gate = gate;
    return listening(gate, () => gate.listen({ fd: target.fd }));
  }

  /** The port that was given, where 0 was asked for; null on a Unix socket. */
  get port(): number | null {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : null;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    for (const socket of this.#handed) socket.destroy();
    for (const one of [this.#gate, this.#server]) {
      if (one?.listening === true) await new Promise((resolve) => one.close(resolve));
    }
  }
}

const tlsOptions = ({ cert, key, clientAuthority }: TlsIdentity) => ({
  cert,
  key,
  minVersion: "TLSv1.2" as const,
  ...(clientAuthority === null
    ? {}
    : { ca: clientAuthority, requestCert: true, rejectUnauthorized: true }),
});

/** A head that is too large, too slow or no HTTP: told, and cut off. */
function refuseHead(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.writable && !socket.destroyed) {
    const status =
      error.code === "HPE_HEADER_OVERFLOW" || /overflow/i.test(error.message)
        ? "431 Request Header Fields Too Large"
        : /timeout/i.test(error.message)
          ? "408 Request Timeout"
          : "400 Bad Request";
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  }
  socket.destroySoon();
}

async function listening(server: NetServer, listen: () => void): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.once("listening", resolve);
  listen();
  await promise;
  server.off("error", reject);
}

async function listenOnPath(
  server: Server,
  target: { path: string; mode?: number },
): Promise<void> {
  const { path, mode = SOCKET_MODE } = target;
  try {
    await listening(server, () => server.listen(path));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    if (await answers(path)) throw conflict(`an engine already answers on ${path}`);
    rmSync(path, { force: true });
    await listening(server, () => server.listen(path));
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
