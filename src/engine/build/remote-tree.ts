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
import { type Digest, formatPlatform, hostPlatform, type Platform } from "#oci";
import { plainArchive } from "#wire/tar";

import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { openFolder } from "./client-folder.ts";
import { fetchLayoutImage, type LayoutImage, parseLayoutName } from "./layout-image.ts";
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
  | { readonly kind: "layout"; image(platform: Platform): Promise<LayoutImage> }
  | { readonly kind: "tree"; readonly tree: SourceTree };

/** What the opener of a context does for it. */
export interface ContextOwner {
  /** Called with what is to be given back when the build ends. */
  own(undo: () => void): void;
  /** Holds layers until then. */
  keep(layers: readonly Digest[]): void;
}

export async function openNamedContext(
  context: Context,
  { name, value, request }: { name: string; value: string; request: BuildRequest },
  owner: ContextOwner,
): Promise<NamedContext> {
  const { signal } = request;
  const own = (undo: () => void) => owner.own(undo);
  const config = request.results.get(value);
  if (config !== undefined) return { kind: "result", config };
  const layout = openLayout(context, { value, request }, owner);
  if (layout !== null) return layout;
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
  const spooled = async (body: ReadableStream<Uint8Array>): Promise<NamedContext> => {
    const path = contextPath(context, "tar");
    own(() => rmSync(path, { force: true }));
    return { kind: "tree", tree: await spool(await plainArchive(body), path, signal) };
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
    const platform = request.platform ?? hostPlatform();
    const load = { archive, quiet: true, platform, signal, onProgress: () => undefined };
    const [id] = await context.images.load(load);
    if (id !== undefined) return { kind: "image", name: id };
  }
  throw invalid(`invalid context ${name}: ${JSON.stringify(value)} is no URL of a context`);
}

/** Each platform of it is fetched once. Null for what is no layout that is read piece by piece. */
function openLayout(
  context: Context,
  { value, request }: { readonly value: string; readonly request: BuildRequest },
  owner: ContextOwner,
): NamedContext | null {
  const { givenLayout, signal } = request;
  if (givenLayout === undefined) return null;
  const name = parseLayoutName(value);
  if (name === null) return null;
  const layout = givenLayout(name.store);
  const images = new Map<string, Promise<LayoutImage>>();
  const held = (layers: readonly Digest[]) => {
    owner.keep(layers);
    owner.own(() => context.gc.release({ layers }));
  };
  return {
    kind: "layout",
    image: (platform) => {
      const wanted = formatPlatform(platform);
      let image = images.get(wanted);
      if (image === undefined) {
        image = fetchLayoutImage(context, { layout, name, platform, signal, keep: held });
        images.set(wanted, image);
      }
      return image;
    },
  };
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
