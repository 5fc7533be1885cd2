/** A build's context as it arrives: one archive in one file, read on the way, gone when the build ends. */
import { closeSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";

import { invalid, newId, notImplemented, unavailable } from "#base";
import { PatternMatcher, readIgnoreFile } from "#wire/ignore";
import { type ArchiveTree, ArchiveWriter, type SourceTree } from "#engine/build/source";
import {
  encodeTarHeader,
  peek,
  plainArchive,
  rawOf,
  TAR_TRAILER,
  tarPadding,
  textOf,
} from "#wire/tar";

import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";

/** No Dockerfile that a person wrote is larger. */
const DOCKERFILE_LIMIT_BYTES = 8 * 1024 * 1024;

export interface Arrived extends Disposable {
  readonly tree: ArchiveTree;
  readonly dockerfile: string;
  /** Names the Dockerfile in errors. */
  readonly name: string;
}

/** Takes the context in. @throws EngineError "invalid" in Docker's words */
export async function receiveContext(context: Context, request: BuildRequest): Promise<Arrived> {
  const folder = join(context.paths.data, "contexts");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${newId()}.tar`);
  const dispose = () => rmSync(path, { force: true });
  try {
    const stream = await openStream(request);
    const tree = await spool(stream, path, request.signal);
    const name = request.dockerfile === "" ? "Dockerfile" : request.dockerfile;
    const { text, at } = readDockerfile(tree, name);
    ignoreFiles(tree, at);
    return { tree, dockerfile: text, name, [Symbol.dispose]: dispose };
  } catch (cause) {
    dispose();
    throw cause;
  }
}

async function openStream({
  context,
  remote,
  signal,
}: BuildRequest): Promise<ReadableStream<Uint8Array>> {
  if (remote === "") {
    if (context === null) throw invalid("no build context was given");
    return await plainArchive(context);
  }
  if (!/^https?:\/\//i.test(remote)) {
    throw notImplemented(`not implemented yet: the build context ${JSON.stringify(remote)}`);
  }
  if (/\.git(?:#.*)?$/.test(remote)) {
    throw notImplemented("not implemented yet: a git repository as the build context");
  }
  let response: Response;
  try {
    response = await fetch(remote, { signal });
  } catch (cause) {
    throw unavailable(
      `error downloading remote context ${remote}: the server could not be reached`,
      { cause },
    );
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw invalid(`failed to GET ${remote} with status ${response.status} ${response.statusText}`);
  }
  const peeked = await peek(response.body);
  if (peeked.kind !== "other" && peeked.kind !== "json") return await plainArchive(peeked.stream);
  return dockerfileAlone(peeked.stream);
}

/** A text that is no archive is the Dockerfile itself. */
async function dockerfileAlone(
  stream: ReadableStream<Uint8Array>,
): Promise<ReadableStream<Uint8Array>> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of stream) {
    sizeBytes += chunk.length;
    if (sizeBytes > DOCKERFILE_LIMIT_BYTES) throw invalid("the Dockerfile is too large");
    chunks.push(chunk);
  }
  const parts = [
    encodeTarHeader({ name: "Dockerfile", sizeBytes }),
    ...chunks,
    tarPadding(sizeBytes),
    TAR_TRAILER,
  ];
  return new ReadableStream({
    start(controller) {
      for (const part of parts) if (part.length > 0) controller.enqueue(part);
      controller.close();
    },
  });
}

/** Reads an archive into a file and a tree. The file is the caller's to delete. */
export async function spool(
  stream: ReadableStream<Uint8Array>,
  path: string,
  signal: AbortSignal,
): Promise<ArchiveTree> {
  const writer = new ArchiveWriter(path);
  let ended = false;
  try {
    for await (const chunk of stream) {
      signal.throwIfAborted();
      writer.push(chunk);
    }
    const tree = writer.end();
    ended = true;
    return tree;
  } finally {
    if (!ended) writer.close();
  }
}

/** `Dockerfile`, or in its absence `dockerfile`, as everywhere. */
function readDockerfile(tree: ArchiveTree, name: string): { text: string; at: string } {
  const path = name.replace(/^(?:\.?\/)+/, "");
  const found =
    tree.find(rawOf(path), { follow: true }) ??
    (name === "Dockerfile" ? tree.find("dockerfile", { follow: true }) : null);
  if (found === null || found.node.type !== "file") {
    throw invalid(`Cannot locate specified Dockerfile: ${name}`);
  }
  if (found.node.sizeBytes === 0) throw invalid(`the Dockerfile (${name}) cannot be empty`);
  return { text: textOfFile(tree, found.path), at: textOf(found.path) };
}

/** A file of the context as text. @throws EngineError "invalid" when it is too large */
function textOfFile(tree: SourceTree, path: string): string {
  const node = tree.at(path);
  if (node?.data?.kind !== "file") return "";
  if (node.sizeBytes > DOCKERFILE_LIMIT_BYTES) throw invalid(`${textOf(path)} is too large`);
  const { path: file, offset } = node.data;
  const bytes = Buffer.alloc(node.sizeBytes);
  const fd = openSync(file, "r");
  try {
    readSync(fd, bytes, 0, bytes.length, offset);
  } finally {
    closeSync(fd);
  }
  return new TextDecoder().decode(bytes);
}

/** `<Dockerfile>.dockerignore` before `.dockerignore`. The CLI has left most of it out already. */
function ignoreFiles(tree: ArchiveTree, dockerfile: string): void {
  const own = tree.find(rawOf(`${dockerfile}.dockerignore`), { follow: true });
  const found = own ?? tree.find(".dockerignore", { follow: true });
  if (found === null || found.node.type !== "file") return;
  const matcher = new PatternMatcher(readIgnoreFile(textOfFile(tree, found.path)));
  if (!matcher.isEmpty) tree.remove((path) => matcher.matches(textOf(path)));
}
