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
  type ImageInspectConfig,
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
  const created = createdOf(config.created, apiVersion);
  return {
    Id: image.id,
    RepoTags: familiarTags(image),
    RepoDigests: familiarDigests(image),
    Parent: image.parent ?? "",
    Comment: last?.comment ?? "",
    ...(created === null ? {} : { Created: created }),
    DockerVersion: "",
    Author: config.author ?? "",
    ...(atLeast(apiVersion, "1.45") ? {} : { ContainerConfig: { ...ALWAYS, ...OF_CONTAINERS } }),
    Config: encodeRunConfig(config.config ?? {}, apiVersion),
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

/** What Docker tells of every image, set or not: clients read it without asking whether it is there. */
const ALWAYS = {
  Cmd: null,
  Entrypoint: null,
  Env: null,
  Labels: null,
  OnBuild: null,
  User: "",
  Volumes: null,
  WorkingDir: "",
} as const;

/** What belongs to containers, and was told of images below API 1.50. */
const OF_CONTAINERS = {
  AttachStderr: false,
  AttachStdin: false,
  AttachStdout: false,
  Domainname: "",
  Hostname: "",
  Image: "",
  OpenStdin: false,
  StdinOnce: false,
  Tty: false,
} as const;

function encodeRunConfig(config: ImageRunConfig, apiVersion: string): ImageInspectConfig {
  const given = RUN_FIELDS.flatMap((field) => {
    const value: unknown = config[field];
    return isEmpty(value) ? [] : [[field, value] as const];
  });
  return {
    ...(atLeast(apiVersion, "1.50") ? {} : OF_CONTAINERS),
    ...ALWAYS,
    ...Object.fromEntries(given),
  };
}

/** Not set, or nothing in it: Docker does not tell these apart. */
const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  (typeof value === "object" && Object.keys(value).length === 0);

/** As Go writes an instant: no zeros at the end of a fraction. null: not known, and not told since API 1.44. */
function createdOf(created: string | undefined, apiVersion: string): string | null {
  if (created === undefined) return atLeast(apiVersion, "1.44") ? null : ZERO_TIME;
  return created.replace(/(\.\d*?)0+(?=[Z+-])/, "$1").replace(/\.(?=[Z+-])/, "");
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
