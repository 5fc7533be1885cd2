/**
 * Where a daemon listens, as people write it: `unix:///run/naru/naru.sock`, `tcp://host:2375`, `host:2375`,
 * `ssh://user@host`.
 * Parsed once, at the edge, in Docker's words.
 */
import { invalid, notImplemented } from "#base";

/** PEM texts for a TLS connection; `verify: false` accepts any certificate, as docker's `--tls` does. */
export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly verify: boolean;
}

export type Endpoint =
  | { readonly kind: "unix"; readonly path: string }
  | {
      readonly kind: "tcp";
      readonly hostname: string;
      readonly port: number;
      readonly tls?: TlsMaterial;
    }
  /** Through `ssh` to a client on that machine, which dials its own daemon. */
  | {
      readonly kind: "ssh";
      readonly user: string;
      readonly hostname: string;
      /** "" is ssh's own choice. */
      readonly port: string;
      /** The daemon's socket over there; "" is that client's default. */
      readonly path: string;
    };

const DEFAULT_PORT = 2375;
const DEFAULT_TLS_PORT = 2376;

/** An endpoint of a host as written after `-H` or in DOCKER_HOST. @throws EngineError "invalid" */
export function parseHost(host: string, tls?: TlsMaterial): Endpoint {
  const text = host.trim();
  const [scheme, rest] = text.includes("://") ? split(text, "://") : ["tcp", text];
  switch (scheme) {
    case "unix":
      if (!rest.startsWith("/")) throw invalid(`unable to parse docker host \`${host}\``);
      return { kind: "unix", path: rest };
    case "tcp":
    case "http":
      return parseTcp(host, rest, tls);
    case "https":
      return parseTcp(host, rest, tls ?? { verify: true });
    case "ssh":
      return parseSsh(rest);
    case "npipe":
    case "fd":
      throw notImplemented(
        `the ${scheme}:// scheme is not implemented: use unix://, tcp:// or ssh://`,
      );
    default:
      throw invalid(`invalid bind address format: ${host}`);
  }
}

function parseTcp(host: string, rest: string, tls?: TlsMaterial): Endpoint {
  const address = rest.split("/", 1)[0] ?? "";
  const match = /^(\[[0-9a-fA-F:.%]+\]|[^:[\]]*)(?::(\d+))?$/.exec(address);
  if (match === null) throw invalid(`unable to parse docker host \`${host}\``);
  const hostname = (match[1] ?? "").replace(/^\[|\]$/g, "") || "localhost";
  const port = Number(match[2] ?? (tls === undefined ? DEFAULT_PORT : DEFAULT_TLS_PORT));
  if (port > 65535) throw invalid(`unable to parse docker host \`${host}\``);
  return { kind: "tcp", hostname, port, ...(tls === undefined ? {} : { tls }) };
}

/** @throws EngineError "invalid" in Docker's words */
function parseSsh(rest: string): Endpoint {
  const wrong = (why: string) => invalid(`ssh host connection is not valid: ${why}`);
  if (rest.includes("?")) throw wrong(`extra query after the host: ${JSON.stringify(rest)}`);
  if (rest.includes("#")) throw wrong(`extra fragment after the host: ${JSON.stringify(rest)}`);
  const [authority = ""] = rest.split("/", 1);
  const path = rest.slice(authority.length);
  const match = /^(?:([^@]*)@)?(\[[0-9a-fA-F:.%]+\]|[^:@[\]]*)(?::(\d{1,5}))?$/.exec(authority);
  if (match === null) throw wrong(`invalid host: ${authority}`);
  const [, user = "", host = "", port = ""] = match;
  if (user.includes(":")) throw wrong("plain-text password is not supported");
  const hostname = host.replace(/^\[|\]$/g, "");
  if (hostname === "") throw wrong("no host specified");
  // ssh would take it for an option, and options run programs.
  if (hostname.startsWith("-") || user.startsWith("-")) throw wrong(`invalid host: ${authority}`);
  return { kind: "ssh", user, hostname, port, path: path === "/" ? "" : path };
}

/** The endpoint as Docker's messages write it. */
export function endpointText(endpoint: Endpoint): string {
  if (endpoint.kind === "unix") return `unix://${endpoint.path}`;
  if (endpoint.kind === "ssh") {
    const { user, hostname, port, path } = endpoint;
    return `ssh://${user === "" ? "" : `${user}@`}${hostname}${port === "" ? "" : `:${port}`}${path}`;
  }
  const hostname = endpoint.hostname.includes(":") ? `[${endpoint.hostname}]` : endpoint.hostname;
  return `tcp://${hostname}:${endpoint.port}`;
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + separator.length)];
}
