/** Images as Docker shows them: familiar names, seconds since 1970. */
import type { Image, ImageHistoryEntry, ImageUsage } from "#engine/image";
import { familiarName, familiarReference, type ImageRunConfig, parseReference } from "#oci";
import {
  atLeast,
  type ImageDescriptor,
  type ImageHistoryItem,
  type ImageInspect,
  type ImageManifestSummary,
  type ImageSummary,
  ZERO_TIME,
} from "#wire/docker";

import { GRAPH_DRIVER } from "./container.ts";

const familiar = (reference: string): string => familiarReference(parseReference(reference));

/** Only what a pull or push has proved the name of. */
const familiarDigests = (image: Image): string[] => image.repoDigests.map(familiar);

/** Without the names that only say a digest. */
const familiarTags = (image: Image): string[] =>
  image.references.filter((reference) => !reference.includes("@")).map(familiar);

const secondsOf = (created: string | undefined): number => {
  const milliseconds = created === undefined ? Number.NaN : Date.parse(created);
  return Number.isNaN(milliseconds) ? 0 : Math.trunc(milliseconds / 1000);
};

/** What is only told when it was asked for. */
export interface ImageExtras {
  readonly sharedSizeBytes?: number;
  readonly containers?: number;
  readonly usage?: ImageUsage;
}

export function encodeImageSummary(
  image: Image,
  apiVersion: string,
  { sharedSizeBytes = -1, containers = -1, usage }: ImageExtras = {},
): ImageSummary {
  const tags = familiarTags(image);
  const digests = familiarDigests(image);
  const nameless = tags.length === 0 && digests.length === 0 && !atLeast(apiVersion, "1.43");
  return {
    Id: image.id,
    ParentId: image.parent ?? "",
    RepoTags: nameless ? ["<none>:<none>"] : tags,
    RepoDigests: nameless ? ["<none>@<none>"] : digests,
    Created: secondsOf(image.config.created),
    Size: image.sizeBytes,
    SharedSize: sharedSizeBytes,
    ...(atLeast(apiVersion, "1.44") ? {} : { VirtualSize: image.sizeBytes }),
    Labels: { ...image.config.config?.Labels },
    Containers: containers,
    ...(usage === undefined ? {} : encodeManifests(image, usage)),
  };
}

/** The one manifest an image has here, in the list that multi-platform clients read. */
export function encodeManifests(
  { config, sizeBytes }: Image,
  { descriptor, contentBytes, containerIds }: ImageUsage,
): { Descriptor: ImageDescriptor; Manifests: ImageManifestSummary[] } {
  const { mediaType, digest, size } = descriptor;
  const told = { mediaType, digest, size };
  const { architecture, os, variant } = config;
  return {
    Descriptor: told,
    Manifests: [
      {
        ID: digest,
        Descriptor: told,
        Available: true,
        Size: { Content: contentBytes, Total: contentBytes + sizeBytes },
        Kind: "image",
        ImageData: {
          Platform: { architecture, os, ...(variant === undefined ? {} : { variant }) },
          Containers: [...containerIds],
          Size: { Unpacked: sizeBytes },
        },
      },
    ],
  };
}

export function encodeImage(image: Image, apiVersion: string): ImageInspect {
  const { config } = image;
  const last = config.history?.at(-1);
  return {
    Id: image.id,
    RepoTags: familiarTags(image),
    RepoDigests: familiarDigests(image),
    Parent: image.parent ?? "",
    Comment: last?.comment ?? "",
    ...(config.created === undefined ? {} : { Created: config.created }),
    DockerVersion: "",
    Author: config.author ?? "",
    Config: encodeRunConfig(config.config ?? {}),
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    ...(config["os.version"] === undefined ? {} : { OsVersion: config["os.version"] }),
    Size: image.sizeBytes,
    ...(atLeast(apiVersion, "1.44") ? {} : { VirtualSize: image.sizeBytes }),
    GraphDriver: GRAPH_DRIVER,
    RootFS: { Type: "layers", Layers: [...config.rootfs.diff_ids] },
    Metadata: { LastTagTime: image.lastTagged?.toISOString() ?? ZERO_TIME },
  };
}

/** What of the image's document concerns a run; images carry more (`Hostname`, `Image`), which Docker hides too. */
const RUN_FIELDS = [
  "User",
  "ExposedPorts",
  "Env",
  "Cmd",
  "Healthcheck",
  "ArgsEscaped",
  "Volumes",
  "WorkingDir",
  "Entrypoint",
  "OnBuild",
  "Labels",
  "StopSignal",
  "Shell",
] as const satisfies (keyof ImageRunConfig)[];

function encodeRunConfig(config: ImageRunConfig): ImageRunConfig {
  const given = RUN_FIELDS.flatMap((field) => {
    const value: unknown = config[field];
    return value === undefined || value === null ? [] : [[field, value] as const];
  });
  return { User: "", WorkingDir: "", ...Object.fromEntries(given) };
}

export const encodeHistory = (entry: ImageHistoryEntry): ImageHistoryItem => ({
  Id: entry.id,
  Created: entry.created === null ? 0 : Math.trunc(entry.created.getTime() / 1000),
  CreatedBy: entry.createdBy,
  Tags: entry.tags.length === 0 ? null : entry.tags.map(familiar),
  Size: entry.sizeBytes,
  Comment: entry.comment,
});

/** `busybox:latest` and the like, as `untagged` items are told. */
export function familiarOrSame(reference: string): string {
  try {
    const parsed = parseReference(reference);
    return parsed.digest === null || parsed.tag !== null
      ? familiarReference(parsed)
      : `${familiarName(parsed)}@${parsed.digest}`;
  } catch {
    return reference;
  }
}
