/** Trees from elsewhere: repositories and archives of web servers, kept beside the contexts until the build ends. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

import { invalid, newId, sentenceOf, unavailable } from "#base";
import {
  checkOut,
  type GitAccess,
  type GitCommit,
  type GitSource,
  parseGitUrl,
  resolveCommit,
} from "#engine/build/git";
import { RootTree, type SourceTree } from "#engine/build/source";
import type { ImageConfig } from "#oci";
import { removeTree } from "#engine/snapshot";
import { plainArchive } from "#wire/tar";

import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { openFolder } from "./client-folder.ts";
import {
  type ContextOwner,
  layoutContext,
  type LayoutContext,
  layoutIn,
  parseLayoutName,
} from "./layout-image.ts";
import { spool } from "./spool.ts";

export interface RemoteTree extends Disposable {
  readonly tree: SourceTree;
}

/** `contexts`: gone with the build, and at the next start whatever happened. */
export function contextPath({ paths }: Context, ending: string): string {
  const folder = join(paths.data, "contexts");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return join(folder, `${newId()}.${ending}`);
}

export const gitAccessOf = async ({ agents, secrets }: BuildRequest): Promise<GitAccess> => {
  const token = await secrets.get("GIT_AUTH_TOKEN");
  return {
    agent: (await agents.get("default")) ?? null,
    token: token === undefined ? null : new TextDecoder().decode(token).trim(),
  };
};

export async function gitTree(
  context: Context,
  source: GitSource,
  options: { commit: GitCommit; keepGitDir: boolean; access: GitAccess; signal: AbortSignal },
): Promise<RemoteTree> {
  const folder = contextPath(context, "git");
  const drop = () => {
    // What cannot be deleted now goes at the next start.
    removeTree(folder).catch((cause: unknown) =>
      context.log.warn("a checkout was not removed", { folder, error: sentenceOf(cause) }),
    );
  };
  try {
    const top = await checkOut(source, options.commit, { ...options, folder });
    const tree = new RootTree([top]);
    return {
      tree,
      [Symbol.dispose]: () => {
        tree[Symbol.dispose]();
        drop();
      },
    };
  } catch (cause) {
    drop();
    throw cause;
  }
}

/** What `--build-context` may name: an image, or files. */
export type NamedContext =
  | { readonly kind: "image"; readonly name: string }
  | { readonly kind: "result"; readonly config: ImageConfig }
  | LayoutContext
  | { readonly kind: "tree"; readonly tree: SourceTree };

export async function openNamedContext(
  context: Context,
  { name, value, request }: { name: string; value: string; request: BuildRequest },
  owner: ContextOwner,
): Promise<NamedContext> {
  const { signal } = request;
  const own = (undo: () => void) => owner.own(undo);
  const config = request.results.get(value);
  if (config !== undefined) return { kind: "result", config };
  const { givenLayout } = request;
  const named = givenLayout === undefined ? null : parseLayoutName(value);
  if (named !== null && givenLayout !== undefined) {
    const layout = givenLayout(named.store);
    return layoutContext(context, { layout, digest: named.digest, signal }, owner);
  }
  if (value.startsWith("docker-image://")) {
    return { kind: "image", name: value.slice("docker-image://".length) };
  }
  const source = parseGitUrl(value);
  if (source !== null) {
    const access = await gitAccessOf(request);
    const commit = await resolveCommit(source, { access, signal });
    const keepGitDir = source.keepGitDir ?? false;
    const opened = await gitTree(context, source, { commit, keepGitDir, access, signal });
    own(() => opened[Symbol.dispose]());
    return { kind: "tree", tree: opened.tree };
  }
  const spooled = async (body: ReadableStream<Uint8Array>) => {
    const path = contextPath(context, "tar");
    own(() => rmSync(path, { force: true }));
    return { kind: "tree", tree: await spool(await plainArchive(body), path, signal) } as const;
  };
  if (/^https?:\/\//i.test(value)) return await spooled(await getContext(value, signal));
  if (value.startsWith("local:") && request.givenFolder !== undefined) {
    return await spooled(await request.givenFolder(value.slice("local:".length), signal));
  }
  if (value.startsWith("local:")) {
    const opened = await openFolder(context, request, value.slice("local:".length));
    own(() => opened[Symbol.dispose]());
    return { kind: "tree", tree: opened.tree };
  }
  if (value.startsWith("oci-layout:") && request.givenFolder !== undefined) {
    const archive = await request.givenFolder(value.slice("oci-layout:".length), signal);
    const { tree } = await spooled(archive);
    return layoutContext(context, { ...(await layoutIn(tree)), signal }, owner);
  }
  throw invalid(`invalid context ${name}: ${JSON.stringify(value)} is no URL of a context`);
}

/** @throws EngineError in Docker's words */
export async function getContext(
  url: string,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    throw unavailable(`error downloading remote context ${url}: the server could not be reached`, {
      cause,
    });
  }
  if (response.ok && response.body !== null) return response.body;
  await response.body?.cancel();
  throw invalid(`failed to GET ${url} with status ${response.status} ${response.statusText}`);
}
