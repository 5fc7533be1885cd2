/**
 * A build cache in a folder of this host (`type=local`), as BuildKit's clients keep theirs: an OCI layout.
 *
 *   <folder>/oci-layout, index.json        which manifest is the newest
 *   <folder>/blobs/sha256/<hex>            written under another name first: what has its name is whole
 */
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { invalid, sentenceOf } from "#base";
import {
  type ApiClient,
  answerWanted,
  endOffered,
  fetchOffered,
  refuseWanted,
} from "#clients/api-client";
import { type Digest, digestHex, isDigest, MEDIA_TYPE, parseIndex } from "#oci";
import type { OfferedCache, WantedPiece } from "#wire/docker";

import type { CacheEntry } from "./cache-options.ts";

const TAG = "org.opencontainers.image.ref.name";
const LATEST = "latest";

const blobAt = (folder: string, digest: Digest): string =>
  join(folder, "blobs/sha256", digestHex(digest));

/** Sends a piece that the build wants. What is not there is said, and the build goes on without. */
export async function sendPiece(
  client: ApiClient,
  sources: readonly CacheEntry[],
  { id, cache, digest }: WantedPiece,
): Promise<void> {
  const folder = sources[cache]?.attributes["src"] ?? "";
  let path: string;
  try {
    path = digest === "" ? newestManifest(folder) : blobAt(folder, checked(digest));
    if (!existsSync(path)) throw invalid(`${path} is not there`);
  } catch (cause) {
    return await refuseWanted(client, id, sentenceOf(cause));
  }
  await answerWanted(client, id, createReadStream(path));
}

function checked(digest: string): Digest {
  if (!isDigest(digest)) throw invalid(`invalid digest ${digest}`);
  return digest;
}

function newestManifest(folder: string): string {
  const path = join(folder, "index.json");
  if (!existsSync(path)) throw invalid(`could not read ${path}: no such file or directory`);
  const { manifests } = parseIndex(readFileSync(path));
  const named = manifests.find(({ annotations }) => annotations?.[TAG] === LATEST);
  const chosen = named ?? manifests.at(-1);
  if (chosen === undefined) throw invalid(`${path} names no cache`);
  return blobAt(folder, chosen.digest);
}

/** Takes a cache that the build offers; where that fails the build is told, and fails as well. */
export async function takeCache(
  client: ApiClient,
  targets: readonly CacheEntry[],
  offered: OfferedCache,
): Promise<void> {
  const folder = targets[offered.cache]?.attributes["dest"] ?? "";
  try {
    await write(client, folder, offered);
  } catch (cause) {
    return await endOffered(client, offered.id, sentenceOf(cause));
  }
  await endOffered(client, offered.id);
}

/** What is here already is not fetched again. */
async function write(
  client: ApiClient,
  folder: string,
  { id, manifest, pieces }: OfferedCache,
): Promise<void> {
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  for (const { digest } of pieces) {
    const path = blobAt(folder, checked(digest));
    if (existsSync(path)) continue;
    const partial = `${path}.naru-${process.pid}`;
    try {
      await fetchInto(client, { id, digest }, partial);
      renameSync(partial, path);
    } catch (cause) {
      rmSync(partial, { force: true });
      throw cause;
    }
  }
  const annotations = { [TAG]: LATEST };
  const index = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociIndex,
    manifests: [{ ...manifest, annotations }],
  };
  put(join(folder, "oci-layout"), { imageLayoutVersion: "1.0.0" });
  put(join(folder, "index.json"), index);
}

async function fetchInto(
  client: ApiClient,
  piece: { id: string; digest: string },
  path: string,
): Promise<void> {
  const response = await fetchOffered(client, piece);
  const hasher = new Bun.CryptoHasher("sha256");
  const fd = openSync(path, "w", 0o644);
  try {
    for (let chunk = await response.read(); chunk; chunk = await response.read()) {
      hasher.update(chunk);
      for (let done = 0; done < chunk.length;) done += writeSync(fd, chunk, done);
    }
  } finally {
    closeSync(fd);
  }
  if (`sha256:${hasher.digest("hex")}` !== piece.digest) {
    throw invalid(`what arrived is not ${piece.digest}`);
  }
}

function put(path: string, value: object): void {
  const partial = `${path}.naru-${process.pid}`;
  writeFileSync(partial, JSON.stringify(value));
  renameSync(partial, path);
}
