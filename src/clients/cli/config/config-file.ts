/**
 * `config.json` of docker's clients: formats, headers, the current context, credentials. Read by every start, so it
 * is read with two system calls; written by few, atomically, keeping every key this program does not know.
 */
import { EngineError, sentenceOf } from "#base";

import { readTextFile } from "../terminal/stdio.ts";

/** The keys this client reads; others stay as they are. */
export interface ConfigFile {
  readonly auths?: Readonly<Record<string, StoredAuth>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly currentContext?: string;
  readonly HttpHeaders?: Readonly<Record<string, string>>;
  readonly detachKeys?: string;
  readonly psFormat?: string;
  readonly imagesFormat?: string;
  readonly statsFormat?: string;
  readonly proxies?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface StoredAuth {
  /** base64 of `user:password`. */
  readonly auth?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

export const configPath = (directory: string): string => `${directory}/config.json`;

/** Reads the file; one that is broken is an empty one and a warning, as docker has it. */
export function readConfigFile(directory: string, warn: (message: string) => void): ConfigFile {
  const path = configPath(directory);
  const text = readTextFile(path);
  if (text === undefined || text.trim() === "") return {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null && !Array.isArray(parsed)) return parsed;
    warn(`WARNING: Error loading config file: ${path}: not a JSON object`);
  } catch (cause) {
    warn(`WARNING: Error loading config file: ${path}: ${sentenceOf(cause)}`);
  }
  return {};
}

/** Rewrites the file: 0600, since it may hold credentials; renamed into place, so a crash leaves the old one. */
export async function updateConfigFile(
  directory: string,
  change: (config: Record<string, unknown>) => void,
): Promise<void> {
  const { chmodSync, existsSync, mkdirSync, realpathSync, renameSync, rmSync, writeFileSync } =
    await import("node:fs");
  const path = configPath(directory);
  const text = readTextFile(path) ?? "";
  let config: Record<string, unknown> = {};
  try {
    if (text.trim() !== "") config = JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new EngineError("invalid", `${path}: ${sentenceOf(cause)}`, { cause });
  }
  change(config);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // A linked config.json (dotfiles) stays a link: what it points to is replaced.
  const target = existsSync(path) ? realpathSync(path) : path;
  const temporary = `${target}.naru-${process.pid}`;
  try {
    writeFileSync(temporary, JSON.stringify(config, null, "\t"), { mode: 0o600, flush: true });
    chmodSync(temporary, 0o600);
    renameSync(temporary, target);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw cause;
  }
}
