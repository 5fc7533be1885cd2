/**
 * What of a container is not in a checkpoint's images, since it belongs to the host, and by which keys the images
 * call it: written beside them as `naru.json`, read by the start from them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { RuntimeError } from "../driver.ts";

/** A mount whose files are not the container's own. */
export interface OutsideMount {
  readonly key: string;
  /** Where it is in the container. */
  readonly target: string;
  /** How it is confined. */
  readonly attributes: number;
  readonly source:
    /** The spec's mount that goes to `destination`, and the way below it. */
    | { readonly kind: "bind"; readonly destination: string; readonly below: string }
    /** The null device over a file that is masked. */
    | { readonly kind: "null" }
    /** The container's own folder in a hierarchy. */
    | { readonly kind: "cgroup"; readonly hierarchy: string };
}

/** "ended" is a standard input that nobody can write to any more. */
export type OutsideStream = "stdin" | "stdout" | "stderr" | "null" | "ended";

export interface Manifest {
  readonly version: 1;
  readonly mounts: readonly OutsideMount[];
  /** Open files, by criu's names for them. */
  readonly files: readonly { readonly key: string; readonly stream: OutsideStream }[];
  /** Whether it has a network namespace that the engine furnishes. */
  readonly network: boolean;
  /** Mount points in the container's own root: none may have become a link meanwhile. */
  readonly points: readonly string[];
  /** Every mount, in its order: what is made again must be confined as much. */
  readonly confined: readonly Confined[];
}

export interface Confined {
  readonly target: string;
  /** MOUNT_ATTR_RDONLY, _NOSUID, _NODEV, _NOEXEC. */
  readonly attributes: number;
}

/** The images' name for that namespace. */
export const NETWORK_KEY = "extRootNetNS";

const pathOf = (images: string): string => join(images, "naru.json");

export const writeManifest = (images: string, manifest: Manifest): void =>
  writeFileSync(pathOf(images), JSON.stringify(manifest), { mode: 0o600 });

/** @throws RuntimeError for a folder without one, or with one of another version */
export function readManifest(images: string): Manifest {
  let read: Partial<Manifest> | null;
  try {
    read = JSON.parse(readFileSync(pathOf(images), "utf8")) as Partial<Manifest> | null;
  } catch (cause) {
    throw new RuntimeError("failed", `${images} is no checkpoint of this engine`, { cause });
  }
  if (
    read?.version === 1 &&
    [read.mounts, read.files, read.points, read.confined].every(Array.isArray)
  ) {
    return read as Manifest;
  }
  throw new RuntimeError("failed", `${images} is a checkpoint of another version`);
}
