/**
 * Who may ask over TCP. Whoever reaches the port reaches the engine, and a browser reaches what its person reaches:
 * a page may send requests to any address (told by Origin), and may rename its own address to ours (told by Host).
 * A container reaches what its host serves, and root on the host is no part of that (CVE-2025-9074): it is served only
 * where the client proves itself. A Unix socket needs none of this: no browser can open one, and no container sees it.
 */
import type { IncomingMessage } from "node:http";
import { hostname } from "node:os";

import { forbidden } from "#base";

/** @throws EngineError "forbidden" */
export type Guard = (request: {
  readonly headers: IncomingMessage["headers"];
  readonly socket: { readonly remoteAddress?: string | undefined };
}) => void;

/**
 * @param request.names host names under which the operator said that this engine is reached
 * @param request.anyHost true where the client proved itself: a page cannot borrow a client's certificate by name
 * @param request.isContainers whether an address is that of a container of this engine
 */
export function openGuard(request: {
  names: readonly string[];
  anyHost: boolean;
  isContainers: (address: string) => boolean;
}): Guard {
  const known = new Set([...request.names, hostname()].map((name) => name.toLowerCase()));
  return ({ headers, socket }) => {
    if (!request.anyHost && request.isContainers(socket.remoteAddress ?? "")) {
      throw forbidden(
        "the API is served to no container: mount its socket into the container, or serve it with --tlsverify",
      );
    }
    const { host = "", origin } = headers;
    const site = headers["sec-fetch-site"];
    if (!request.anyHost && !isAllowedHost(host, known)) {
      throw forbidden(
        `the Host header ${JSON.stringify(host.slice(0, 200))} is not allowed: a page could have given its own name to this address. Use an IP address, a name without dots, or a name given with --host`,
      );
    }
    const foreign = origin !== undefined && !isSameOrigin(origin, host);
    if (foreign || site === "cross-site" || site === "same-site") {
      throw forbidden("requests of other web pages are not allowed");
    }
  };
}

/**
 * A name that a stranger can have registered has a dot in it, and none of the endings that are never delegated.
 * "" is a client of HTTP/1.0, which no browser is.
 */
function isAllowedHost(host: string, known: ReadonlySet<string>): boolean {
  if (host === "") return true;
  const name = host.replace(/:\d*$/, "").replace(/\.$/, "").toLowerCase();
  if (/^\[[0-9a-f:.%]+\]$/.test(name) || /^\d{1,3}(\.\d{1,3}){3}$/.test(name)) return true;
  if (!/^[a-z0-9_.-]+$/.test(name)) return false;
  return !name.includes(".") || known.has(name) || /\.(localhost|local|internal)$/.test(name);
}

const isSameOrigin = (origin: string, host: string): boolean =>
  origin.replace(/^https?:\/\//, "").toLowerCase() === host.toLowerCase();
