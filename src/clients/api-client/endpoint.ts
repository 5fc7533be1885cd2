/**
 * Where a daemon listens, as people write it: `unix:///run/naru/naru.sock`, `tcp://host:2375`, `host:2375`.
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
    case "npipe":
    case "fd":
      throw notImplemented(
        `the ${scheme}:// scheme is not implemented: use unix:// or tcp:// (over SSH: \`ssh -L\` to the remote socket)`,
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

/** The endpoint as Docker's messages write it. */
export function endpointText(endpoint: Endpoint): string {
  if (endpoint.kind === "unix") return `unix://${endpoint.path}`;
  const hostname = endpoint.hostname.includes(":") ? `[${endpoint.hostname}]` : endpoint.hostname;
  return `tcp://${hostname}:${endpoint.port}`;
}

function split(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return [text.slice(0, at), text.slice(at + separator.length)];
}
