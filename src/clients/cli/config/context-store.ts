/**
 * Docker's contexts on disk:
 *
 *   <config>/contexts/meta/<sha256 of the name>/meta.json       name, description, endpoint
 *   <config>/contexts/tls/<sha256 of the name>/docker/*.pem     ca.pem, cert.pem, key.pem
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";

import { conflict, EngineError, invalid, sentenceOf } from "#base";
import { parseHost, type Endpoint, type TlsMaterial } from "#clients/api-client";

import { readTextFile } from "../terminal/stdio.ts";

export interface ContextMeta {
  readonly Name: string;
  readonly Metadata: Readonly<Record<string, unknown>> & { readonly Description?: string };
  readonly Endpoints: Readonly<
    Record<string, { readonly Host?: string; readonly SkipTLSVerify?: boolean }>
  >;
}

export const TLS_FILES = ["ca", "cert", "key"] as const;
export type TlsFile = (typeof TLS_FILES)[number];

const idOf = (name: string): string => new Bun.CryptoHasher("sha256").update(name).digest("hex");

export const metaDirectory = (config: string, name: string): string =>
  `${config}/contexts/meta/${idOf(name)}`;
export const tlsDirectory = (config: string, name: string): string =>
  `${config}/contexts/tls/${idOf(name)}`;

/** @throws EngineError "notFound" in docker's words */
export function readContext(config: string, name: string): ContextMeta {
  const path = `${metaDirectory(config, name)}/meta.json`;
  const text = readTextFile(path);
  if (text === undefined) {
    throw new EngineError(
      "notFound",
      `context "${name}": context not found: open ${path}: no such file or directory`,
    );
  }
  try {
    const meta = JSON.parse(text) as Partial<ContextMeta>;
    return {
      Name: meta.Name ?? name,
      Metadata: meta.Metadata ?? {},
      Endpoints: meta.Endpoints ?? {},
    };
  } catch (cause) {
    throw invalid(`context "${name}": ${path}: ${sentenceOf(cause)}`, { cause });
  }
}

/** Every stored context, by name. */
export function listContexts(config: string): ContextMeta[] {
  const directory = `${config}/contexts/meta`;
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .flatMap((id) => {
      const text = readTextFile(`${directory}/${id}/meta.json`);
      return text === undefined ? [] : [JSON.parse(text) as ContextMeta];
    })
    .toSorted((a, b) => (a.Name < b.Name ? -1 : 1));
}

/** The names of the TLS files a context has. */
export const tlsFilesOf = (config: string, name: string): string[] =>
  TLS_FILES.map((file) => `${file}.pem`).filter((file) =>
    existsSync(`${tlsDirectory(config, name)}/docker/${file}`),
  );

/** Where a context's daemon is. */
export function contextEndpoint(config: string, name: string): Endpoint {
  let meta: ContextMeta;
  try {
    meta = readContext(config, name);
  } catch (cause) {
    throw new EngineError(
      "notFound",
      `Failed to initialize: unable to resolve docker endpoint: ${sentenceOf(cause)}`,
      { cause },
    );
  }
  const docker = meta.Endpoints["docker"];
  if (docker?.Host === undefined || docker.Host === "") {
    throw invalid(`context "${name}" has no docker endpoint`);
  }
  return parseHost(docker.Host, readTls(config, name, docker.SkipTLSVerify === true));
}

function readTls(config: string, name: string, skipVerify: boolean): TlsMaterial | undefined {
  const directory = `${tlsDirectory(config, name)}/docker`;
  const material: Partial<Record<TlsFile, string>> = {};
  for (const file of TLS_FILES) {
    const text = readTextFile(`${directory}/${file}.pem`);
    if (text !== undefined) material[file] = text;
  }
  if (Object.keys(material).length === 0 && !skipVerify) return undefined;
  return { ...material, verify: !skipVerify };
}

/** Writes a new context. @throws EngineError "conflict" when the name is taken */
export function createContext(
  config: string,
  meta: ContextMeta,
  tls: Partial<Record<TlsFile, string>>,
): void {
  const path = `${metaDirectory(config, meta.Name)}/meta.json`;
  if (existsSync(path)) throw conflict(`context "${meta.Name}" already exists`);
  writeContext(config, meta, tls);
}

/** Writes a context over what it was; TLS files it is not given stay. */
export function writeContext(
  config: string,
  meta: ContextMeta,
  tls: Partial<Record<TlsFile, string>>,
): void {
  const directory = metaDirectory(config, meta.Name);
  const pem = `${tlsDirectory(config, meta.Name)}/docker`;
  for (const file of TLS_FILES) {
    const text = tls[file];
    if (text === undefined) continue;
    mkdirSync(pem, { recursive: true, mode: 0o700 });
    writeFileSync(`${pem}/${file}.pem`, text, { mode: 0o600 });
    chmodSync(`${pem}/${file}.pem`, 0o600);
  }
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const fresh = `${directory}/meta.json.${process.pid}`;
  writeFileSync(fresh, JSON.stringify(meta));
  renameSync(fresh, `${directory}/meta.json`);
}

/** Removes a context's files; the TLS files first, so that a crash leaves no key behind a name that is gone. */
export function removeContext(config: string, name: string): void {
  rmSync(tlsDirectory(config, name), { recursive: true, force: true });
  rmSync(metaDirectory(config, name), { recursive: true, force: true });
}
