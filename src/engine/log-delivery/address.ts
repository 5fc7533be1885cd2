/** Where a log server listens, as Docker's options write it. Pure, but for sockets that must be there. */
import { statSync } from "node:fs";

import { invalid } from "#base";

export type ServerAddress =
  | { readonly type: "tcp" | "tls" | "udp"; readonly host: string; readonly port: number }
  | { readonly type: "unix" | "unixgram"; readonly path: string };

interface Parts {
  readonly scheme: string;
  /** `host`, `host:port`, `[::1]:port`. */
  readonly authority: string;
  readonly path: string;
}

function split(address: string): Parts {
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)/i.exec(address);
  if (match === null) return { scheme: "", authority: "", path: address };
  const [, scheme = "", authority = "", path = ""] = match;
  return { scheme: scheme.toLowerCase(), authority, path };
}

/** @param port where the authority names none; null: it must. @returns null when it is no host and port */
function hostAndPort(
  authority: string,
  port: number | null,
): { host: string; port: number } | null {
  const match = /^(\[[0-9a-f:.%a-z]+\]|[^:[\]]*)(?::(\d{1,5}))?$/i.exec(authority);
  const [, host = "", number] = match ?? [];
  if (match === null || (number === undefined && port === null)) return null;
  const chosen = number === undefined ? (port ?? 0) : Number(number);
  if (chosen > 65535) return null;
  const bare = host.replace(/^\[|\]$/g, "");
  return { host: bare === "" ? "127.0.0.1" : bare, port: chosen };
}

/** null: the host's own syslog. @throws EngineError "invalid" */
export function syslogAddress(address: string): ServerAddress | null {
  if (address === "") return null;
  const { scheme, authority, path } = split(address);
  if (scheme === "unix" || scheme === "unixgram") {
    mustExist(path);
    return { type: scheme, path };
  }
  if (scheme !== "udp" && scheme !== "tcp" && scheme !== "tcp+tls") {
    throw invalid(`unsupported scheme: '${scheme}'`);
  }
  const place = hostAndPort(authority, 514);
  if (place === null) throw invalid(`address ${authority}: invalid port`);
  return { type: scheme === "tcp+tls" ? "tls" : scheme, ...place };
}

function mustExist(path: string): void {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    throw invalid(`stat ${path}: no such file or directory`);
  }
}

/** @throws EngineError "invalid" */
export function fluentdAddress(address: string): ServerAddress {
  const port = 24224;
  if (address === "") return { type: "tcp", host: "127.0.0.1", port };
  const wrong = (why: string) => invalid(`invalid fluentd-address (${address}): ${why}`);
  const { scheme, authority, path } = split(address.includes("://") ? address : `tcp://${address}`);
  if (scheme === "unix") {
    if (path.replace(/^\/+/, "") === "") throw wrong("path is empty");
    return { type: "unix", path };
  }
  if (scheme !== "tcp" && scheme !== "tls") throw wrong(`unsupported scheme: '${scheme}'`);
  if (path !== "") throw wrong("should not contain a path element");
  const place = hostAndPort(authority, port);
  if (place === null) throw wrong(`invalid port in ${authority}`);
  return { type: scheme, ...place };
}

/** @throws EngineError "invalid" */
export function gelfAddress(address: string): ServerAddress & { readonly type: "udp" | "tcp" } {
  if (address === "") throw invalid("gelf-address is a required parameter");
  const { scheme, authority } = split(address);
  if (scheme === "") {
    throw invalid(`gelf-address should be in form proto://address, got ${address}`);
  }
  if (scheme !== "udp" && scheme !== "tcp") throw invalid("gelf: endpoint needs to be TCP or UDP");
  const place = hostAndPort(authority, null);
  if (place === null) throw invalid("gelf: please provide gelf-address as proto://host:port");
  return { type: scheme, ...place };
}
