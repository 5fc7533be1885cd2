/** ADD of a URL: fetched into a file of the build, checked when a checksum was given. */
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

import { invalid, newId, unavailable } from "#base";
import { EMPTY_TREE, type Found, type SourceTree } from "#engine/build/source";

import type { BuildScope } from "./solver.ts";

export interface Download {
  readonly url: string;
  /** The file's name at the destination. */
  readonly name: string;
  readonly digest: string;
  readonly mtimeSec: number | null;
  readonly tree: SourceTree;
  readonly found: Found;
}

export const isRemote = (source: string): boolean => /^https?:\/\//i.test(source);

/** @throws EngineError "invalid" when it cannot be had, or is not what was promised */
export async function fetchSource(
  scope: BuildScope,
  url: string,
  checksum: string,
): Promise<Download> {
  const wanted = checksumOf(checksum);
  const name = decodeURIComponent(new URL(url).pathname.split("/").at(-1) ?? "");
  if (name === "" || name.includes("/") || name === ".." || name === ".") {
    throw invalid(`ADD failed: cannot determine filename from url: ${url}`);
  }
  const { signal, context } = scope;
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    throw unavailable(`ADD failed: failed to GET ${url}: the server could not be reached`, {
      cause,
    });
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw invalid(`ADD failed: failed to GET ${url} with status ${response.status}`);
  }
  const folder = join(context.paths.data, "contexts");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${newId()}.download`);
  // Beside the context, and gone with it.
  scope.own(() => rmSync(path, { force: true }));
  const { digest, sizeBytes } = await save(response.body, path);
  if (wanted !== null && wanted !== digest) {
    throw invalid(`ADD failed: digest mismatch sha256:${digest}: sha256:${wanted}`);
  }
  const modified = Date.parse(response.headers.get("last-modified") ?? "");
  const node = {
    type: "file",
    mode: 0o600,
    uid: 0,
    gid: 0,
    sizeBytes,
    mtimeSec: 0,
    devMajor: 0,
    devMinor: 0,
    link: null,
    xattrs: null,
    data: { kind: "file", path, offset: 0, sparse: null },
    identity: path,
  } as const;
  return {
    url,
    name,
    digest,
    mtimeSec: Number.isNaN(modified) ? null : Math.floor(modified / 1000),
    tree: EMPTY_TREE,
    found: { path: name, node },
  };
}

function checksumOf(text: string): string | null {
  if (text === "") return null;
  const match = /^sha256:([a-f0-9]{64})$/.exec(text);
  if (match === null) throw invalid(`invalid checksum digest format: ${text}`);
  return match[1] ?? null;
}

async function save(
  body: ReadableStream<Uint8Array>,
  path: string,
): Promise<{ digest: string; sizeBytes: number }> {
  const hasher = new Bun.CryptoHasher("sha256");
  const fd = openSync(path, "wx", 0o600);
  let sizeBytes = 0;
  try {
    for await (const chunk of body) {
      hasher.update(chunk);
      for (let done = 0; done < chunk.length;) done += writeSync(fd, chunk, done);
      sizeBytes += chunk.length;
    }
  } finally {
    closeSync(fd);
  }
  return { digest: hasher.digest("hex"), sizeBytes };
}
