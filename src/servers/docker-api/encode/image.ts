/** Images as Docker shows them: familiar names, seconds since 1970. */
import type { Image, ImageHistoryEntry, ImageUsage, ManifestSummary } from "#engine/image";
import {
  type Descriptor,
  familiarName,
  familiarReference,
  type ImageRunConfig,
  parseReference,
  type Platform,
} from "#oci";
import {
  atLeast,
  type ImageDescriptor,
  type ImageHistoryItem,
  type ImageInspect,
  type ImageManifestSummary,
  type ImagePlatform,
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
    ...(usage === undefined ? {} : encodeManifests(usage)),
  };
}

/** Every manifest of an image, in the list that multi-platform clients read. */
export const encodeManifests = ({
  descriptor,
  manifests,
}: ImageUsage): { Descriptor: ImageDescriptor; Manifests: ImageManifestSummary[] } => ({
  Descriptor: encodeDescriptor(descriptor),
  Manifests: manifests.map(encodeManifest),
});

function encodeManifest(summary: ManifestSummary): ImageManifestSummary {
  const { descriptor, kind, isAvailable, contentBytes, unpackedBytes, platform } = summary;
  return {
    ID: descriptor.digest,
    Descriptor: encodeDescriptor(descriptor),
    Available: isAvailable,
    Size: { Content: contentBytes, Total: contentBytes + unpackedBytes },
    Kind: kind,
    ...(platform === undefined
      ? {}
      : {
          ImageData: {
            Platform: encodePlatform(platform),
            Containers: [...summary.containerIds],
            Size: { Unpacked: unpackedBytes },
          },
        }),
    ...(summary.attested === undefined ? {} : { AttestationData: { For: summary.attested } }),
  };
}

const encodePlatform = ({ architecture, os, variant }: Platform): ImagePlatform => ({
  architecture,
  os,
  ...(variant === undefined ? {} : { variant }),
});

function encodeDescriptor(descriptor: Descriptor): ImageDescriptor {
  const { mediaType, digest, size, annotations, platform } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(annotations === undefined ? {} : { annotations }),
    ...(platform === undefined ? {} : { platform: encodePlatform(platform) }),
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
