/** What a stage stands on: nothing, another stage, or an image that is here or is pulled. */
import { invalid, kindOf, wrap } from "#base";
import type { SourceTree } from "#engine/build/source";
import type { Image, OnProgress, ProgressMessage } from "#engine/image";
import {
  type Digest,
  digestOf,
  familiarReference,
  formatPlatform,
  formatReference,
  type ImageConfig,
  normalizePlatform,
  parsePlatform,
  parseReference,
  repositoryOf,
  type Platform,
  platformRank,
  type Reference,
  withDefaultTag,
} from "#oci";

import type { BuildMaterial, BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { drawFault } from "./fault.ts";
import type { PlannedStage } from "./plan.ts";
import type { NamedContext } from "./remote-tree.ts";
import type { BuildScope } from "./solver.ts";
import type { StageBuilder } from "./stage-builder.ts";
import { committed, emptyState, type StageState, stateOf } from "./stage-state.ts";
import { layerOfTree } from "./tree-layer.ts";

export interface Base {
  readonly state: StageState;
  /** ONBUILD of the image or stage, to be run first. */
  readonly triggers: readonly string[];
  readonly image: Image | null;
}

export async function resolveBase(
  scope: BuildScope,
  { base, platform: asked }: PlannedStage,
  builder: StageBuilder,
): Promise<Base> {
  await builder.tellFrom();
  if ("stage" in base) {
    const state = await scope.stage(base.stage);
    const { OnBuild: triggers = [], ...config } = state.config;
    return {
      state: { ...state, config, hasOwnCommand: false },
      triggers: triggers ?? [],
      image: null,
    };
  }
  const platform = asked === "" ? scope.platform : parsePlatform(asked);
  const named = "context" in base ? await scope.named(base.context) : null;
  if (named?.kind === "tree") return await fromTree(scope, named.tree, { platform, builder });
  if (named?.kind === "result") {
    const { config } = named;
    scope.lease.keep({ layers: config.rootfs.diff_ids });
    const id = digestOf(new TextEncoder().encode(JSON.stringify(config)));
    return { state: stateOf(id, config), triggers: config.config?.OnBuild ?? [], image: null };
  }
  if (named?.kind === "layout") {
    const context = "context" in base ? base.context : "";
    const { config, id } = await layoutImage(scope, named, { context, platform });
    return { state: stateOf(id, config), triggers: config.config?.OnBuild ?? [], image: null };
  }
  const name = named?.name ?? ("image" in base ? base.image : "");
  if (name === "scratch") {
    const created = new Date((scope.epochSec ?? 0) * 1000).toISOString();
    return { state: emptyState(platform, created), triggers: [], image: null };
  }
  const strict = asked !== "" || scope.request.platform !== null;
  const image = await findImage(scope, name, { platform: strict ? platform : null, builder });
  if (!strict) await warnOfPlatform(scope, image, { name, platform, builder });
  return {
    state: stateOf(image.id, image.config),
    triggers: image.config.config?.OnBuild ?? [],
    image,
  };
}

/** Of a client's layout, with the name that the build gives it. */
export async function layoutImage(
  { materials }: BuildScope,
  layout: Extract<NamedContext, { kind: "layout" }>,
  { context, platform }: { context: string; platform: Platform },
): Promise<{ readonly config: ImageConfig; readonly id: Digest }> {
  const { config, digest } = await layout.image(platform);
  const own = platformOf(config);
  materials.set(`${context} ${formatPlatform(own)}`, {
    reference: context,
    platform: own,
    digest,
    isLayout: true,
  });
  return { config, id: digestOf(new TextEncoder().encode(JSON.stringify(config))) };
}

/** An image of another platform than this host's is used, where nobody asked for one. */
async function warnOfPlatform(
  { file, arrived }: BuildScope,
  { config }: Image,
  { name, platform, builder }: { name: string; platform: Platform; builder: StageBuilder },
): Promise<void> {
  const { skip, skipAll } = file.check;
  const rule = "InvalidBaseImagePlatform";
  const isSkipped = skip.some((each) => each.toLowerCase() === rule.toLowerCase());
  if (skipAll || isSkipped || platformRank(platform, config) !== null) return;
  const { location } = builder.planned.stage;
  const [actual, expected] = [formatPlatform(config), formatPlatform(platform)];
  await builder.tell({
    type: "warning",
    rule,
    message: `Base image ${name} was pulled with platform "${actual}", expected "${expected}" for current build`,
    line: location.startLine,
    endLine: location.endLine,
    excerpt: drawFault({ file: arrived.name, lines: file.lines }, location),
  });
}

/** `FROM` of a named context that is no image: its files, and nothing else. */
async function fromTree(
  scope: BuildScope,
  tree: SourceTree,
  { platform, builder }: { platform: Platform; builder: StageBuilder },
): Promise<Base> {
  const { epochSec } = scope;
  const times = { nowSec: builder.nowSec, latestSec: epochSec };
  const diffId = await layerOfTree(scope, tree, times);
  const created = new Date((epochSec ?? 0) * 1000).toISOString();
  const createdBy = "FROM a named context";
  const state = emptyState(platform, created);
  const made = { createdBy, created, layer: diffId, key: `context ${diffId}` };
  return { state: committed(state, made), triggers: [], image: null };
}

/** An image by name, pulled when it is not here or when a newer one is wanted. @throws EngineError in Docker's words */
export async function findImage(
  scope: BuildScope,
  name: string,
  { platform, builder }: { platform: Platform | null; builder: StageBuilder },
): Promise<Image> {
  const { request, context, signal, lease, materials } = scope;
  const onProgress = (message: ProgressMessage) => void builder.progress(message);
  const asked = { ...request, signal };
  const image = await bringImage(context, asked, name, { platform, onProgress });
  lease.keep({ layers: image.config.rootfs.diff_ids, blobs: [image.id] });
  const material = materialOf(name, image);
  materials.set(`${material.reference} ${formatPlatform(material.platform)}`, material);
  return image;
}

/** The same, held by nobody yet. */
export async function bringImage(
  context: Context,
  request: Pick<BuildRequest, "pull" | "credentials" | "signal">,
  name: string,
  { platform, onProgress }: { platform: Platform | null; onProgress: OnProgress },
): Promise<Image> {
  const here = request.pull ? null : localImage(context, name, platform);
  const suits = (image: Image) =>
    platform === null || platformRank(platform, image.config) !== null;
  if (here !== null && suits(here)) return here;
  const reference = referenceOf(name);
  const credentials = await request.credentials(reference.domain);
  await context.images.pull({
    reference: familiarReference(reference),
    ...(platform === null ? {} : { platform }),
    ...(credentials === undefined ? {} : { credentials }),
    signal: request.signal,
    onProgress,
  });
  const image = localImage(context, name, platform) ?? context.images.resolve(name);
  if (suits(image)) return image;
  throw invalid(
    `image with reference ${name} was found but its platform (${formatPlatform(image.config)}) does not match the specified platform (${platform === null ? "" : formatPlatform(platform)})`,
  );
}

function referenceOf(name: string): Reference {
  try {
    return withDefaultTag(parseReference(name));
  } catch (cause) {
    throw wrap(`failed to parse stage name ${JSON.stringify(name)}`, cause);
  }
}

/** An image as what a build was made from. */
export function materialOf(name: string, image: Image): BuildMaterial {
  const reference = withDefaultTag(parseReference(name));
  const repository = `${repositoryOf(reference)}@`;
  const known = image.repoDigests.find((one) => one.startsWith(repository));
  const digest = known === undefined ? null : parseReference(known).digest;
  return {
    reference: formatReference(reference),
    platform: platformOf(image.config),
    digest: digest ?? image.indexes[0] ?? image.id,
  };
}

function platformOf({ os, architecture, variant = "" }: ImageConfig): Platform {
  return normalizePlatform({ os, architecture, ...(variant && { variant }) });
}

function localImage({ images }: Context, name: string, platform: Platform | null): Image | null {
  try {
    return images.resolve(name, platform);
  } catch (cause) {
    if (kindOf(cause) === "notFound") return null;
    throw cause;
  }
}
