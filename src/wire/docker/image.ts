/** Images, and the progress of what moves them, in the JSON of Docker's Engine API 1.51. */
import type { ImageRunConfig } from "#oci";

import type { GraphDriver } from "./container.ts";

/** One element of `GET /images/json`. */
export interface ImageSummary {
  Id: string;
  ParentId: string;
  RepoTags: string[];
  RepoDigests: string[];
  /** Seconds since 1970. */
  Created: number;
  Size: number;
  /** -1: not asked. */
  SharedSize: number;
  /** Only below API 1.44. */
  VirtualSize?: number;
  Labels: Record<string, string>;
  /** How many containers use it; -1: not asked. */
  Containers: number;
  /** Since API 1.47, when asked for. */
  Manifests?: ImageManifestSummary[];
  Descriptor?: ImageDescriptor;
}

export interface ImagePlatform {
  architecture: string;
  os: string;
  variant?: string;
}

export interface ImageDescriptor {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
  platform?: ImagePlatform;
}

/** One of an image's manifests: its only one, or one of its index, whether it is here or not. */
export interface ImageManifestSummary {
  ID: string;
  Descriptor: ImageDescriptor;
  Available: boolean;
  Size: { Content: number; Total: number };
  Kind: "image" | "attestation" | "unknown";
  ImageData?: {
    Platform: ImagePlatform;
    Containers: string[];
    Size: { Unpacked: number };
  };
  AttestationData?: { For: string };
}

/** An image's defaults, with null for what Docker tells though it is not set. */
export type ImageInspectConfig = {
  [Field in keyof ImageRunConfig]: ImageRunConfig[Field] | null;
};

/** `GET /images/{name}/json`. */
export interface ImageInspect {
  Id: string;
  RepoTags: string[];
  RepoDigests: string[];
  Parent: string;
  Comment: string;
  Created?: string;
  DockerVersion: string;
  Author: string;
  /** Only below API 1.45. */
  ContainerConfig?: ImageInspectConfig;
  Config: ImageInspectConfig;
  Architecture: string;
  Variant?: string;
  Os: string;
  OsVersion?: string;
  Size: number;
  /** Only below API 1.44. */
  VirtualSize?: number;
  GraphDriver: GraphDriver;
  RootFS: { Type: string; Layers?: string[] };
  Metadata: { LastTagTime: string };
  /** Since API 1.48, when asked for. */
  Manifests?: ImageManifestSummary[];
  Descriptor?: ImageDescriptor;
}

/** `POST /images/prune`. */
export interface ImagesPrune {
  ImagesDeleted: ImageDeleteItem[];
  SpaceReclaimed: number;
}

/** One element of `GET /images/search`. */
export interface ImageSearchResult {
  name: string;
  description: string;
  is_official: boolean;
  is_automated: boolean;
  star_count: number;
}

/** One element of `GET /images/{name}/history`. */
export interface ImageHistoryItem {
  Id: string;
  /** Seconds since 1970. */
  Created: number;
  CreatedBy: string;
  Tags: string[] | null;
  Size: number;
  Comment: string;
}

/** One element of `DELETE /images/{name}`. */
export interface ImageDeleteItem {
  Untagged?: string;
  Deleted?: string;
}

/**
 * One line of a progress stream (pull, push, load, import, build): JSON objects, one after another.
 * An error arrives here, under a status of 200, once the stream has begun.
 */
export interface JsonMessage {
  stream?: string;
  status?: string;
  progressDetail?: { current?: number; total?: number; hidecounts?: boolean; units?: string };
  /** For people: `[==>    ]  1.2MB/3.4MB`. */
  progress?: string;
  id?: string;
  from?: string;
  time?: number;
  timeNano?: number;
  errorDetail?: { code?: number; message: string };
  error?: string;
  aux?: unknown;
}

/** What `X-Registry-Auth` holds, in base64url. */
export interface AuthConfig {
  username?: string;
  password?: string;
  auth?: string;
  email?: string;
  serveraddress?: string;
  identitytoken?: string;
  registrytoken?: string;
}
