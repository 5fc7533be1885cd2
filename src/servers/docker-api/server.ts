/** Docker's Engine API on a socket: finds the handler of a request, and tells every error in Docker's words. */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { posix } from "node:path";

import { invalid, kindOf, notFound, sentenceOf } from "#base";

import type { Authorizer } from "./authorization/authorizer.ts";
import { noteRequest } from "./beginnings.ts";
import { Call, type Channel } from "./call.ts";
import { type Guard, openGuard } from "./guard.ts";
import { LINGER_MS } from "./join.ts";
import { Listener, type ListenTarget } from "./listener.ts";
import type { FindRoute } from "./routes.ts";
import { splitVersion } from "./versions.ts";

/** Where what only the operator should know goes: errors that are our own. */
export interface ApiLogger {
  error(message: string, details?: Record<string, unknown>): void;
}

export interface ApiServer {
  /** May be called for several places. @returns the port, null where there is none */
  listen(target: ListenTarget): Promise<number | null>;
  /** Stops listening and cuts every connection: clients come again, containers do not notice. */
  close(): Promise<void>;
}

interface ServeOptions {
  readonly find: FindRoute;
  /** Sent with every answer. */
  readonly headers: Readonly<Record<string, string>>;
  readonly logger: ApiLogger;
  /** When what was done so far survives a power cut; null: it does. */
  readonly settled: () => Promise<void> | null;
  /** Whether an address is that of a container of this engine. */
  readonly isContainers: (address: string) => boolean;
  readonly minApiVersion: string;
  readonly authorizer: Authorizer;
}

export function serve(options: ServeOptions): ApiServer {
  const sockets = new Set<Socket>();
  const listeners: Listener[] = [];
  return {
    async listen(target) {
      const guard = guardOf(target, options);
      const answer = (request: IncomingMessage, channel: Channel) => {
        void dispatch(request, channel, { ...options, guard });
      };
      const listener = new Listener(target, {
        request: (request, response) => answer(request, { kind: "response", response }),
        upgrade: (request, socket, head) => {
          sockets.add(socket);
          socket.once("close", () => sockets.delete(socket));
          // A client that breaks off is no error of ours; what was under way sees the end of its stream.
          socket.on("error", () => socket.destroy());
          answer(request, { kind: "socket", socket, head });
        },
      });
      await listener.listen(target);
      listeners.push(listener);
      return listener.port;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(listeners.splice(0).map((listener) => listener.close()));
    },
  };
}

/** What systemd opened may be TCP as well: then each request is looked at, as on a port of our own. */
function guardOf(
  target: ListenTarget,
  { isContainers }: Pick<ServeOptions, "isContainers">,
): Guard | null {
  if ("path" in target || ("fd" in target && target.network === "unix")) return null;
  const anyHost = target.tls !== null && target.tls.clientAuthority !== null;
  return openGuard({ names: "port" in target ? [target.host] : [], anyHost, isContainers });
}

async function dispatch(
  request: IncomingMessage,
  channel: Channel,
  options: ServeOptions & { readonly guard: Guard | null },
): Promise<void> {
  const { find, headers, logger, guard, minApiVersion, settled, authorizer } = options;
  let call: Call | null = null;
  try {
    const url = originForm(request.url ?? "/");
    const mark = url.indexOf("?");
    const query = mark < 0 ? "" : url.slice(mark + 1);
    // Made before anything can be wrong with the request, so that the error has somewhere to go.
    call = new Call({ request, channel, version: "", params: {}, query: "", headers });
    guard?.(request);
    const { version, path } = splitVersion(mark < 0 ? url : url.slice(0, mark), minApiVersion);
    noteRequest(request.socket, path);
    const route = find(request.method ?? "", path);
    if (route === null) return refusePath(call, url);
    const params = unescape(route.params);
    const admission = authorizer.isNeeded ? await authorizer.admit(request, url) : null;
    const asked = { request, channel, version, params, query, headers, settled };
    call = new Call({ ...asked, admission });
    await route.handler(call);
  } catch (error) {
    tellError(error, call, { request, logger });
  } finally {
    if (channel.kind === "response") dropRest(request);
  }
}

/** Servers take the form that clients send to proxies, too. Spec: RFC 9112, 3.2.2. */
const originForm = (url: string): string =>
  url.startsWith("/") ? url : url.replace(/^https?:\/\/[^/?]*/i, "") || "/";

/** Docker leads clients whose paths have empty or dotted parts to the right one. @throws EngineError "notFound" */
function refusePath(call: Call, url: string): void {
  const [path = "", ...query] = url.split("?");
  const clean = posix.normalize(path);
  if (clean === path || !path.startsWith("/")) throw notFound("page not found");
  const location = [clean, ...query].join("?");
  call.send({ status: 301, type: "", body: "", headers: { Location: location } });
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
