/** A build's context as it arrives: one archive in one file, read on the way, gone when the build ends. */
import { rmSync } from "node:fs";

import { invalid } from "#base";
import { parseGitUrl, resolveCommit } from "#engine/build/git";
import { type Found, IgnoredTree, type SourceTree } from "#engine/build/source";
import { PatternMatcher, readIgnoreFile } from "#wire/ignore";
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
import { collectAfter, collectSoonAfter } from "./collect.ts";
import type { Context } from "./context.ts";
import { bytesIn } from "./file-bytes.ts";
import { contextPath, getContext, gitAccessOf, gitTree, type RemoteTree } from "./remote-tree.ts";
import { readDockerfileOf, receiveFolder } from "./client-folder.ts";
import { spool } from "./spool.ts";

/** No Dockerfile that a person wrote is larger. */
const DOCKERFILE_LIMIT_BYTES = 8 * 1024 * 1024;

export interface Arrived extends Disposable {
  /**
   * Its files, when they are needed: of a client with a session they come then.
   * @param sources what is read of them; without it everything has to be there
   */
  readonly tree: (sources?: readonly string[]) => Promise<SourceTree>;
  /** What of the context is left out; null for nothing. */
  readonly ignored: () => Promise<PatternMatcher | null>;
  readonly dockerfile: string;
  /** Names the Dockerfile in errors. */
  readonly name: string;
}

/** Takes the context in. @throws EngineError "invalid" in Docker's words */
export async function receiveContext(context: Context, request: BuildRequest): Promise<Arrived> {
  if (request.folders !== null && request.context === null && request.remote === "") {
    return await receiveFolder(context, request, request.folders);
  }
  const opened = await openContext(context, request);
  try {
    const name = request.dockerfile === "" ? "Dockerfile" : request.dockerfile;
    const { text, at } =
      request.folders === null
        ? await readDockerfile(opened.tree, name)
        : { ...(await readDockerfileOf(request, request.folders)), at: name };
    const matcher = await ignoreMatcherOf(opened.tree, at);
    const tree = await withoutIgnored(opened.tree, matcher);
    const dispose = () => opened[Symbol.dispose]();
    const files = () => Promise.resolve(tree);
    const ignored = () => Promise.resolve(matcher);
    return { tree: files, ignored, dockerfile: text, name, [Symbol.dispose]: dispose };
  } catch (cause) {
    opened[Symbol.dispose]();
    throw cause;
  }
}

async function openContext(context: Context, request: BuildRequest): Promise<RemoteTree> {
  const { remote, signal, offer } = request;
  if (offer !== "") {
    if (request.context === null) throw invalid("no build context was given");
    const received = await context.kept.receive(offer, await plainArchive(request.context), signal);
    collectAfter(received.tree.entries);
    return received;
  }
  const source = remote === "" ? null : parseGitUrl(remote);
  if (source !== null) {
    const access = await gitAccessOf(request);
    const asked = request.buildArgs["BUILDKIT_CONTEXT_KEEP_GIT_DIR"] ?? "";
    const keepGitDir = source.keepGitDir ?? /^(?:1|true)$/i.test(asked);
    const commit = await resolveCommit(source, { access, signal });
    return await gitTree(context, source, { commit, keepGitDir, access, signal });
  }
  const path = contextPath(context, "tar");
  const dispose = () => rmSync(path, { force: true });
  try {
    const tree = await spool(await openStream(request), path, signal);
    collectAfter(tree.entries);
    const done = () => {
      dispose();
      collectSoonAfter(tree.entries);
    };
    return { tree, [Symbol.dispose]: done };
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
    throw invalid(`remoteURL (${remote}) could not be recognized as URL`);
  }
  const peeked = await peek(await getContext(remote, signal));
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

/** `Dockerfile`, or in its absence `dockerfile`, as everywhere. */
async function readDockerfile(
  tree: SourceTree,
  name: string,
): Promise<{ text: string; at: string }> {
  const path = name.replace(/^(?:\.?\/)+/, "");
  const found =
    tree.find(rawOf(path), { follow: true }) ??
    (name === "Dockerfile" ? tree.find("dockerfile", { follow: true }) : null);
  if (found === null || found.node.type !== "file") {
    throw invalid(`Cannot locate specified Dockerfile: ${name}`);
  }
  if (found.node.sizeBytes === 0) throw invalid(`the Dockerfile (${name}) cannot be empty`);
  return { text: await textOfFile(found), at: textOf(found.path) };
}

/** A file of the context as text. @throws EngineError "invalid" when it is too large */
async function textOfFile({ path, node }: Found): Promise<string> {
  if (node.sizeBytes > DOCKERFILE_LIMIT_BYTES) throw invalid(`${textOf(path)} is too large`);
  const bytes = bytesIn(node);
  return bytes === null ? "" : new TextDecoder().decode(await new Response(bytes).arrayBuffer());
}

/** What the CLI has not left out already is hidden here. */
async function withoutIgnored(
  tree: SourceTree,
  matcher: PatternMatcher | null,
): Promise<SourceTree> {
  if (matcher === null || matcher.isEmpty) return tree;
  return await IgnoredTree.of(tree, (path) => matcher.matches(textOf(path)));
}

/** `<Dockerfile>.dockerignore` before `.dockerignore`; null for neither. */
async function ignoreMatcherOf(
  tree: SourceTree,
  dockerfile: string,
): Promise<PatternMatcher | null> {
  const own = tree.find(rawOf(`${dockerfile}.dockerignore`), { follow: true });
  const found = own ?? tree.find(".dockerignore", { follow: true });
  if (found === null || found.node.type !== "file") return null;
  return new PatternMatcher(readIgnoreFile(await textOfFile(found)));
}
