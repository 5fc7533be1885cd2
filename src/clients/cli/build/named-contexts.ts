/** `--build-context NAME=…`: what the engine finds itself goes as it is; folders of this host are sent when asked for. */
import { existsSync, readFileSync, realpathSync, statSync } from "node:fs";

import { invalid, sentenceOf } from "#base";
import { type ApiClient, answerWanted, refuseWanted } from "#clients/api-client";
import { type Descriptor, type Digest, digestHex, parseIndex, parseManifestDocument } from "#oci";
import { readIgnoreFile } from "#wire/ignore";

import { keyValue } from "../options/csv.ts";
import { readTextFile } from "../terminal/stdio.ts";
import { archiveFile, asUpload, ContextTree } from "./context-tree.ts";

interface NamedFolder {
  readonly folder: string;
  /** Which image of an OCI layout: a tag or a digest; null for files. */
  readonly wanted: string | null;
}

export interface NamedContexts {
  /** By name, for the engine. */
  readonly values: Readonly<Record<string, string>>;
  /** By name, on this host. */
  readonly named: ReadonlyMap<string, NamedFolder>;
}

const LAYOUT = "oci-layout://";
const REF_NAME = "org.opencontainers.image.ref.name";
const DOCUMENT_LIMIT_BYTES = 4 * 1024 * 1024;
const ELSEWHERE =
  /^(?:docker-image:\/\/|https?:\/\/|git:\/\/|ssh:\/\/|[\w-]+@[\w.-]+:|github\.com\/|target:|input:)/;

/** @throws EngineError "invalid" for a folder that is not there */
export function readNamedContexts(texts: readonly string[]): NamedContexts {
  const values: Record<string, string> = {};
  const named = new Map<string, NamedFolder>();
  for (const text of texts) {
    const [name, value = ""] = keyValue(text);
    if (value.startsWith("target:")) {
      throw invalid(
        `invalid context ${name}: targets are those of a bake file, which a build has not`,
      );
    }
    if (ELSEWHERE.test(value)) {
      values[name] = value;
      continue;
    }
    const isLayout = value.startsWith(LAYOUT);
    const { path, wanted } = isLayout ? layoutOf(value) : { path: value, wanted: null };
    named.set(name, { folder: folderAt(name, path), wanted });
    values[name] = `${isLayout ? "oci-layout" : "local"}:${name}`;
  }
  return { values, named };
}

function folderAt(name: string, path: string): string {
  try {
    const folder = realpathSync(path);
    if (statSync(folder).isDirectory()) return folder;
  } catch (cause) {
    throw invalid(`failed to find the context ${name}: lstat ${path}: no such file or directory`, {
      cause,
    });
  }
  throw invalid(`the context ${name} is no folder: ${path}`);
}

/** Sends what the build wants: a folder without what its own ignore file names, or the image of a layout. */
export async function sendNamed(
  client: ApiClient,
  { named }: NamedContexts,
  { id, name }: { readonly id: string; readonly name: string },
): Promise<void> {
  const found = named.get(name);
  if (found === undefined) return await refuseWanted(client, id, `no context named ${name}`);
  try {
    using tree = new ContextTree(found.folder, rulesOf(found), new Set());
    const parts =
      found.wanted === null
        ? [tree.archive(tree.entries)]
        : layoutParts(tree, found.folder, found.wanted);
    await answerWanted(client, id, asUpload(parts));
  } catch (cause) {
    // Where it broke off on the way the engine knows already.
    await refuseWanted(client, id, `the context ${name}: ${sentenceOf(cause)}`).catch(
      () => undefined,
    );
  }
}

const rulesOf = ({ folder, wanted }: NamedFolder): string[] =>
  wanted === null ? readIgnoreFile(readTextFile(`${folder}/.dockerignore`) ?? "") : [];

/** `oci-layout://FOLDER[:tag][@digest]`. */
function layoutOf(value: string): { path: string; wanted: string } {
  const [place = "", digest] = value.slice(LAYOUT.length).split("@", 2);
  const colon = place.lastIndexOf(":");
  const hasTag = colon > place.lastIndexOf("/");
  const path = hasTag ? place.slice(0, colon) : place;
  return { path, wanted: digest ?? (hasTag ? place.slice(colon + 1) : "latest") };
}

/** Of a layout only what belongs to one image, under an index that names nothing else. */
function layoutParts(tree: ContextTree, folder: string, wanted: string): Iterable<Uint8Array>[] {
  const { manifests } = parseIndex(readDocument(`${folder}/index.json`));
  const chosen =
    manifests.find(({ digest }) => digest === wanted) ??
    manifests.find(({ annotations }) => annotations?.[REF_NAME] === wanted) ??
    (manifests.length === 1 && wanted === "latest" ? manifests[0] : undefined);
  if (chosen === undefined) throw invalid(`could not find ${wanted} in the OCI layout ${folder}`);
  const { mediaType, digest, size } = chosen;
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size }] };
  const paths = new Set<string>();
  collect(folder, chosen, paths);
  return [
    archiveFile("oci-layout", Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" }))),
    archiveFile("index.json", Buffer.from(JSON.stringify(index))),
    tree.archive(tree.entries.filter(({ path }) => paths.has(path))),
  ];
}

const pathOf = (digest: Digest): string => `blobs/sha256/${digestHex(digest)}`;

/** The blobs that a manifest or an index leads to; of other platforms not all may be there. */
function collect(folder: string, { mediaType, digest }: Descriptor, paths: Set<string>): void {
  const path = pathOf(digest);
  if (paths.has(path) || !existsSync(`${folder}/${path}`)) return;
  paths.add(path);
  const document = parseManifestDocument(readDocument(`${folder}/${path}`), mediaType);
  if (document.kind === "index") {
    for (const manifest of document.index.manifests) collect(folder, manifest, paths);
  } else if (document.kind === "manifest") {
    const { config, layers } = document.manifest;
    for (const blob of [config, ...layers]) paths.add(pathOf(blob.digest));
  }
}

function readDocument(path: string): Uint8Array {
  try {
    if (statSync(path).size > DOCUMENT_LIMIT_BYTES) throw invalid(`${path} is too large`);
    return readFileSync(path);
  } catch (cause) {
    throw invalid(`could not read ${path}: ${sentenceOf(cause)}`, { cause });
  }
}
