/** `docker system df`: what images, containers, volumes and the build cache take on disk. */
import { invalid, ownTurn } from "#base";
import type { BuildService } from "#engine/build";
import type { ContainerService } from "#engine/container";
import type { ImageService } from "#engine/image";
import type { VolumeService } from "#engine/volume";
import {
  atLeast,
  type BuildCache,
  type ContainerSummary,
  type SystemDiskUsage,
  type Volume,
} from "#wire/docker";

import type { Call } from "./call.ts";
import { encodeBuildCache } from "./encode/build.ts";
import { encodeImageSummary } from "./encode/image.ts";
import { encodeVolume } from "./encode/volume.ts";
import type { Routes } from "./routes.ts";

const KINDS = ["container", "image", "volume", "build-cache"] as const;
type Kind = (typeof KINDS)[number];
const isKind = (text: string): text is Kind => KINDS.some((kind) => kind === text);

interface Services {
  readonly containers: Pick<ContainerService, "list">;
  readonly volumes: Pick<VolumeService, "usage">;
  readonly images: Pick<ImageService, "list" | "usage" | "containersOf">;
  readonly builds: Pick<BuildService, "cacheUsage">;
  /** As `GET /containers/json` tells them. */
  readonly summaries: (
    call: Call,
    listed: Awaited<ReturnType<ContainerService["list"]>>,
  ) => ContainerSummary[];
}

export function diskUsageRoutes(services: Services): Routes {
  return { "GET /system/df": (call) => diskUsage(call, services) };
}

async function diskUsage(call: Call, services: Services): Promise<void> {
  const asked = atLeast(call.version, "1.42") ? call.query.all("type") : [];
  for (const kind of asked) if (!isKind(kind)) throw invalid(`unknown object type: ${kind}`);
  const wants = (kind: Kind) => asked.length === 0 || asked.includes(kind);
  await ownTurn();
  const builds = wants("build-cache") ? await buildCacheOf(services) : null;
  const answer: SystemDiskUsage = {
    ...(wants("image") ? imagesOf(call, services) : {}),
    ...(wants("container") ? { Containers: await containersOf(call, services) } : {}),
    ...(wants("volume") ? { Volumes: await volumesOf(services) } : {}),
    ...(builds === null ? {} : buildsFor(call.version, builds)),
  };
  call.json(200, answer);
}

function imagesOf(
  call: Call,
  { images }: Services,
): Pick<SystemDiskUsage, "LayersSize" | "Images"> {
  const { layersSizeBytes, sharedSizeBytes } = images.usage();
  // Without images that are only parents of others, as in a list.
  const all = images.list({}, {}).map((image) =>
    encodeImageSummary(image, call.version, {
      sharedSizeBytes: sharedSizeBytes.get(image.id) ?? 0,
      containers: images.containersOf(image),
    }),
  );
  return { LayersSize: layersSizeBytes, Images: all };
}

async function containersOf(
  call: Call,
  { containers, summaries }: Services,
): Promise<ContainerSummary[]> {
  const listed = await containers.list({ all: true, limit: 0, size: true, filters: {} });
  return summaries(call, listed);
}

async function volumesOf({ volumes }: Services): Promise<Volume[]> {
  const used = await volumes.usage();
  return used.map(({ volume, sizeBytes, users }) => ({
    ...encodeVolume(volume),
    UsageData: { Size: sizeBytes, RefCount: users },
  }));
}

/** Older clients know one parent, and the sum. */
function buildsFor(
  version: string,
  builds: readonly BuildCache[],
): Pick<SystemDiskUsage, "BuildCache" | "BuilderSize"> {
  if (atLeast(version, "1.42")) return { BuildCache: [...builds] };
  const size = builds.reduce((sum, { Size }) => sum + Size, 0);
  return {
    BuildCache: builds.map(({ Parents, ...item }) => ({
      ...item,
      ...(Parents?.[0] === undefined ? {} : { Parent: Parents[0] }),
    })),
    ...(size === 0 ? {} : { BuilderSize: size }),
  };
}

const buildCacheOf = async ({ builds }: Services): Promise<BuildCache[]> =>
  (await builds.cacheUsage()).map(encodeBuildCache);
