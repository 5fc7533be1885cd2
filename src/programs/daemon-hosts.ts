/** `--host`: where the API is served, as people write it, and who may come in. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";

import { invalid, sentenceOf } from "#base";
import type { TlsIdentity } from "#servers/docker-api";

export type Host =
  | { readonly kind: "unix"; readonly path: string }
  /** A socket that systemd opened; null: every one. */
  | { readonly kind: "activation"; readonly fd: number | null }
  | { readonly kind: "tcp"; readonly address: string; readonly port: number };

const DEFAULT_PORT = 2375;
const DEFAULT_TLS_PORT = 2376;

/** @throws EngineError "invalid" in Docker's words */
export function parseHosts(
  texts: readonly string[],
  { tls, byDefault }: { tls: boolean; byDefault: string },
): Host[] {
  if (texts.length === 0) return [{ kind: "unix", path: byDefault }];
  const hosts = texts.map((text) => parseHost(text.trim(), { tls, byDefault }));
  return [...new Map(hosts.map((host) => [nameOfHost(host), host])).values()];
}

function parseHost(text: string, { tls, byDefault }: { tls: boolean; byDefault: string }): Host {
  if (text === "") return { kind: "unix", path: byDefault };
  const at = text.indexOf("://");
  const [scheme, rest] = at < 0 ? ["tcp", text] : [text.slice(0, at), text.slice(at + 3)];
  switch (scheme) {
    case "unix":
      if (rest === "") return { kind: "unix", path: byDefault };
      if (!isAbsolute(rest)) throw invalid(`invalid bind address (${text}): path must be absolute`);
      return { kind: "unix", path: rest };
    case "fd":
      if (rest === "" || rest === "*") return { kind: "activation", fd: null };
      if (!/^\d{1,4}$/.test(rest)) {
        throw invalid(`failed to parse systemd fd address: should be a number: ${rest}`);
      }
      return { kind: "activation", fd: Number(rest) };
    case "tcp":
      return parseTcp(text, rest, tls);
    default:
      throw invalid(`invalid bind address (${text}): unsupported proto '${scheme}'`);
  }
}

function parseTcp(text: string, rest: string, tls: boolean): Host {
  const match = /^(\[[0-9a-fA-F:.]+\]|[\w.-]*)(?::(\d{1,5}))?$/.exec(rest);
  if (match === null) {
    const why = /[/?#]/.test(rest)
      ? "should not contain a path element"
      : "should be an address and a port";
    throw invalid(`invalid bind address (${text}): ${why}`);
  }
  const address = (match[1] ?? "").replace(/^\[|\]$/g, "");
  const port = Number(match[2] ?? (tls ? DEFAULT_TLS_PORT : DEFAULT_PORT));
  if (port > 65_535) throw invalid(`invalid bind address (${text}): invalid port: ${port}`);
  return { kind: "tcp", address: address === "" ? "127.0.0.1" : address, port };
}

export function nameOfHost(host: Host): string {
  switch (host.kind) {
    case "unix":
      return `unix://${host.path}`;
    case "activation":
      return `fd://${host.fd ?? ""}`;
    case "tcp":
      return `tcp://${host.address.includes(":") ? `[${host.address}]` : host.address}:${host.port}`;
  }
}

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  /** null: clients need no certificate. */
  readonly clientAuthority: string | null;
}

/** Reads the PEM files. @throws EngineError "invalid" for what is not there, is no PEM, or does not belong together */
export function readTlsIdentity({ cert, key, clientAuthority }: TlsFiles): TlsIdentity {
  const pair = {
    cert: readPem(cert, "CERTIFICATE", "Could not load X509 key pair"),
    key: readPem(key, "PRIVATE KEY", "Could not load X509 key pair"),
  };
  const mismatch = mismatchOf(pair);
  if (mismatch !== null) {
    throw invalid(
      `invalid TLS configuration: error reading X509 key pair (cert: ${JSON.stringify(cert)}, key: ${JSON.stringify(key)}): ${mismatch}. Make sure the key is not encrypted.`,
    );
  }
  return {
    ...pair,
    clientAuthority:
      clientAuthority === null
        ? null
        : readPem(clientAuthority, "CERTIFICATE", "could not read CA certificate"),
  };
}

/** null: the first certificate is this key's. The library would tell at the first listening, and not of which files. */
function mismatchOf({ cert, key }: Pick<TlsIdentity, "cert" | "key">): string | null {
  try {
    const belongs = new X509Certificate(cert).checkPrivateKey(createPrivateKey(key));
    return belongs ? null : "tls: private key does not match public key";
  } catch (cause) {
    return sentenceOf(cause);
  }
}

function readPem(path: string, label: string, what: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw invalid(`invalid TLS configuration: ${what}: ${sentenceOf(cause)}`, { cause });
  }
  if (new RegExp(`-----BEGIN [A-Z ]*${label}-----`).test(text)) return text;
  throw invalid(`invalid TLS configuration: ${what} ${JSON.stringify(path)}: it holds no ${label}`);
}
