/**
 * For tests: a small daemon that answers the API on a Unix socket. Its containers "run" their command as a script:
 * `echo …`, `fail CODE`, `cat` (standard input back), `both` (a line on each stream), `size` (waits for a resize).
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

import { encodeFrame, type ContainerCreateRequest } from "#wire/docker";

interface FakeContainer {
  readonly id: string;
  readonly config: ContainerCreateRequest;
  stream: Duplex | undefined;
  waiters: ((code: number) => void)[];
  resized: (() => void)[];
}

export interface FakeDaemon extends AsyncDisposable {
  readonly host: string;
  /** `POST /v1.51/containers/create?name=x`, in order. */
  readonly requests: string[];
  readonly bodies: unknown[];
  /** Fixed answers by method and path below the version: `GET /images/json`. */
  readonly answers: Map<
    string,
    { status?: number; body: unknown; headers?: Record<string, string> }
  >;
  /** The newest API version it speaks. */
  apiVersion: string;
  /** Images that are here; others are 404 until pulled. */
  readonly images: Set<string>;
  /** Headers of the last request. */
  lastHeaders: IncomingMessage["headers"];
  /** What an exec in one exchange says. */
  exchange: Uint8Array;
}

/** Starts a daemon on `path`. */
export async function startFakeDaemon(path: string): Promise<FakeDaemon> {
  const containers = new Map<string, FakeContainer>();
  const daemon: Omit<FakeDaemon, typeof Symbol.asyncDispose> = {
    host: `unix://${path}`,
    requests: [],
    bodies: [],
    answers: new Map(),
    apiVersion: "1.51",
    images: new Set(["busybox"]),
    lastHeaders: {},
    exchange: new Uint8Array(),
  };
  const server = createServer((request, response) => {
    handle({ daemon, containers, request, response }).catch((cause: unknown) => {
      response.writeHead(500).end(JSON.stringify({ message: String(cause) }));
    });
  });
  server.on("upgrade", (request, socket: Duplex) => {
    daemon.requests.push(`${request.method} ${request.url}`);
    if (request.headers.upgrade === "naru-exec") {
      socket.write("HTTP/1.1 101 UPGRADED\r\nUpgrade: naru-exec\r\nNaru-Exec-Id: e1\r\n\r\n");
      socket.end(daemon.exchange);
      return;
    }
    const id = /containers\/([^/]+)\/attach/.exec(request.url ?? "")?.[1] ?? "";
    const container = containers.get(id);
    if (container === undefined) {
      const body = JSON.stringify({ message: `No such container: ${id}` });
      socket.end(`HTTP/1.1 404 Not Found\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      return;
    }
    container.stream = socket;
    socket.write("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return Object.assign(daemon, {
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  });
}

interface Exchange {
  readonly daemon: Omit<FakeDaemon, typeof Symbol.asyncDispose>;
  readonly containers: Map<string, FakeContainer>;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function handle(exchange: Exchange): Promise<void> {
  const { daemon, request, response } = exchange;
  const { method = "", url = "" } = request;
  daemon.requests.push(`${method} ${url}`);
  daemon.lastHeaders = request.headers;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  const version = /^\/v([\d.]+)\//.exec(url)?.[1];
  if (version !== undefined && Number(version.slice(2)) > Number(daemon.apiVersion.slice(2))) {
    const message = `client version ${version} is too new. Maximum supported API version is ${daemon.apiVersion}`;
    json(response, 400, { message });
    return;
  }
  const path = url.replace(/^\/v[\d.]+/, "").split("?", 1)[0] ?? "";
  const fixed = daemon.answers.get(`${method} ${path}`);
  if (fixed !== undefined) {
    daemon.bodies.push(text);
    for (const [name, value] of Object.entries(fixed.headers ?? {}))
      response.setHeader(name, value);
    json(response, fixed.status ?? 200, fixed.body);
    return;
  }
  await builtIn(exchange, `${method} ${path}`, text);
}

async function builtIn(exchange: Exchange, what: string, text: string): Promise<void> {
  const { daemon, containers, response, request } = exchange;
  if (what === "HEAD /_ping") {
    response.writeHead(200, { "Api-Version": daemon.apiVersion, OSType: "linux" }).end();
    return;
  }
  if (what === "POST /containers/create") {
    create(exchange, JSON.parse(text) as ContainerCreateRequest);
    return;
  }
  if (what === "POST /images/create") {
    const name = new URL(request.url ?? "", "http://x").searchParams.get("fromImage") ?? "";
    daemon.images.add(name);
    response.write(`${JSON.stringify({ status: `Pulling from library/${name}`, id: "latest" })}\n`);
    response.end(`${JSON.stringify({ status: "Status: Downloaded newer image" })}\n`);
    return;
  }
  const match = /^(\w+) \/containers\/([^/]+)(?:\/(\w+))?$/.exec(what);
  const container = containers.get(match?.[2] ?? "");
  if (match === null) json(response, 404, { message: "page not found" });
  else if (container === undefined) {
    json(response, 404, { message: `No such container: ${match[2]}` });
  } else await act(exchange, container, match[3] ?? match[1] ?? "");
}

function create({ daemon, containers, response }: Exchange, config: ContainerCreateRequest): void {
  daemon.bodies.push(config);
  const image = config.Image ?? "";
  if (!daemon.images.has(image)) {
    json(response, 404, { message: `No such image: ${image}:latest` });
    return;
  }
  const id = String(containers.size + 1).padStart(64, "c");
  containers.set(id, { id, config, stream: undefined, waiters: [], resized: [] });
  json(response, 201, { Id: id, Warnings: [] });
}

async function act(exchange: Exchange, container: FakeContainer, action: string): Promise<void> {
  const { response } = exchange;
  switch (action) {
    case "wait":
      response.writeHead(200, { "Content-Type": "application/json" });
      response.flushHeaders();
      container.waiters.push((code) => response.end(JSON.stringify({ StatusCode: code })));
      return;
    case "start":
      if (container.config.Cmd?.[0] === "nowhere") {
        const message = 'exec: "nowhere": executable file not found in $PATH: unknown';
        json(response, 400, { message });
        return;
      }
      response.writeHead(204).end();
      await runScript(container);
      return;
    case "resize":
      response.writeHead(200).end();
      for (const done of container.resized.splice(0)) done();
      return;
    case "kill": {
      const signal = new URL(exchange.request.url ?? "", "http://x").searchParams.get("signal");
      response.writeHead(204).end();
      finish(container, signal === "SIGINT" ? 130 : 137);
      return;
    }
    default:
      response.writeHead(204).end();
  }
}

async function runScript(container: FakeContainer): Promise<void> {
  const [command = "", ...args] = container.config.Cmd ?? [];
  const show = (stream: "stdout" | "stderr", text: string) => {
    const bytes = Buffer.from(text);
    container.stream?.write(container.config.Tty === true ? bytes : encodeFrame(stream, bytes));
  };
  switch (command) {
    case "echo":
      show("stdout", `${args.join(" ")}\n`);
      finish(container, 0);
      return;
    case "fail":
      finish(container, Number(args[0]));
      return;
    case "both":
      show("stdout", "out\n");
      show("stderr", "err\n");
      finish(container, 0);
      return;
    case "cat":
      container.stream?.on("data", (chunk: Buffer) => show("stdout", chunk.toString()));
      container.stream?.on("end", () => finish(container, 0));
      return;
    case "size":
      container.resized.push(() => finish(container, 0));
      return;
    case "ready": // prints a line and stays
      show("stdout", "ready\n");
      return;
    default:
      finish(container, 0);
  }
}

function finish(container: FakeContainer, code: number): void {
  container.stream?.end();
  for (const done of container.waiters.splice(0)) done(code);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}
