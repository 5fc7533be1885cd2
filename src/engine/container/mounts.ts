/** What is mounted where: a request's mounts and an image's volumes, decided once at create. Pure. */
import { invalid } from "#base";
import { checkVolumeName } from "#engine/volume";
import type { Digest } from "#oci";

import type { MountRequest } from "./config.ts";
import type { ContainerMount } from "./container-service.ts";
import { cleanPath } from "./merge.ts";

/** A mount with every choice made: targets are clean, volumes have names. */
export type ResolvedMount =
  | Extract<MountRequest, { type: "bind" | "tmpfs" }>
  | (Extract<MountRequest, { type: "volume" }> & {
      /** Goes with its container at `rm -v` and `--rm`. */
      readonly anonymous: boolean;
    })
  | (Extract<MountRequest, { type: "image" }> & {
      readonly imageId: Digest;
      /** Bottom first: they stay as long as the container, whatever becomes of the image. */
      readonly layers: readonly Digest[];
    });

/** What a mount needs to know of an image. */
export type ImageLookup = (name: string) => {
  readonly imageId: Digest;
  readonly layers: readonly Digest[];
};

/** tmpfs options that change nothing outside the mount itself. */
const TMPFS_FLAGS = new Set(
  (
    "ro rw exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime relatime " +
    "norelatime strictatime nostrictatime mand nomand nr_blocks nr_inodes size mode uid gid mpol " +
    "private rprivate shared rshared slave rslave unbindable runbindable defaults"
  ).split(" "),
);

/**
 * @param request.inherited mounts of other containers: what is asked for, or is the image's, goes before them
 * @param request.newName names an anonymous volume
 * @throws EngineError "invalid": `Duplicate mount point: /x`, `invalid mount config for type …`
 */
export function resolveMounts(
  asked: readonly MountRequest[],
  imageVolumes: readonly string[],
  request: {
    newName: () => string;
    imageOf: ImageLookup;
    inherited?: readonly ResolvedMount[];
  },
): ResolvedMount[] {
  const { inherited = [], newName } = request;
  const targets = new Set<string>();
  const resolved = asked.map((mount) => {
    const target = checkTarget(mount);
    if (targets.has(target)) throw invalid(`Duplicate mount point: ${target}`);
    targets.add(target);
    return resolveOne({ ...mount, target }, request);
  });
  for (const mount of inherited) {
    if (targets.has(mount.target)) continue;
    targets.add(mount.target);
    resolved.push(mount);
  }
  for (const path of imageVolumes) {
    const target = checkTarget({ type: "volume", target: path });
    if (targets.has(target)) continue;
    targets.add(target);
    resolved.push({
      type: "volume",
      name: newName(),
      target,
      readOnly: false,
      noCopy: false,
      anonymous: true,
    });
  }
  // A mount on a folder hides what was mounted below it before: parents go first.
  return resolved.toSorted((a, b) => depthOf(a.target) - depthOf(b.target));
}

const depthOf = (path: string): number => path.split("/").length;

const badConfig = (type: string, why: string): Error =>
  invalid(`invalid mount config for type "${type}": ${why}`);

function checkTarget({ type, target }: Pick<MountRequest, "type" | "target">): string {
  if (!target.startsWith("/")) {
    throw badConfig(type, `invalid mount path: '${target}' mount path must be absolute`);
  }
  if (target.includes("\0")) throw badConfig(type, "invalid mount path: it holds a NUL byte");
  const clean = cleanPath(target);
  if (clean === "/") throw badConfig(type, "invalid specification: destination can't be '/'");
  return clean;
}

function resolveOne(
  mount: MountRequest,
  { newName, imageOf }: { newName: () => string; imageOf: ImageLookup },
): ResolvedMount {
  switch (mount.type) {
    case "bind":
      if (!mount.source.startsWith("/") || mount.source.includes("\0")) {
        throw badConfig(
          "bind",
          `invalid mount path: '${mount.source}' mount path must be absolute`,
        );
      }
      return { ...mount, source: cleanPath(mount.source) };
    case "tmpfs":
      for (const option of mount.options) {
        const [key = ""] = option.split("=", 1);
        if (!TMPFS_FLAGS.has(key)) throw invalid(`invalid tmpfs option ${JSON.stringify(option)}`);
      }
      if ((mount.sizeBytes ?? 0) < 0) throw badConfig("tmpfs", "the size can not be negative");
      return mount;
    case "volume":
      checkSubpath(mount.subpath);
      if (mount.name === "") return { ...mount, name: newName(), anonymous: true };
      checkVolumeName(mount.name);
      return { ...mount, anonymous: false };
    case "image":
      checkSubpath(mount.subpath, "image");
      return { ...mount, ...imageOf(mount.source) };
  }
}

function checkSubpath(subpath: string | undefined, type = "volume"): void {
  if (subpath === undefined) return;
  if (subpath.startsWith("/") || subpath.split("/").includes("..") || subpath.includes("\0")) {
    throw badConfig(type, "subpath must be a relative path within the volume");
  }
}

/** A mount as inspect shows it. */
export function describeMount(
  mount: ResolvedMount,
  volumePath: (name: string) => string,
): ContainerMount {
  switch (mount.type) {
    case "bind":
      return {
        type: "bind",
        name: "",
        source: mount.source,
        destination: mount.target,
        driver: "",
        mode: writtenMode(mount) ?? (mount.readOnly ? "ro" : ""),
        readWrite: !mount.readOnly,
        propagation: mount.propagation,
      };
    case "tmpfs":
      return {
        type: "tmpfs",
        name: "",
        source: "",
        destination: mount.target,
        driver: "",
        mode: mount.options.join(","),
        readWrite: !mount.options.includes("ro"),
        propagation: "",
      };
    case "image":
      return {
        type: "image",
        name: "",
        source: mount.source,
        destination: mount.target,
        driver: "",
        mode: "",
        readWrite: false,
        propagation: "",
      };
    case "volume":
      return {
        type: "volume",
        name: mount.name,
        source: volumePath(mount.name),
        destination: mount.target,
        driver: "local",
        mode: writtenMode(mount) ?? (mount.readOnly ? "ro" : mount.anonymous ? "" : "z"),
        readWrite: !mount.readOnly,
        propagation: "",
      };
  }
}

/** The options of `-v` as they were given, which is what Docker shows; null where there were none. */
const writtenMode = ({ asWritten }: { readonly asWritten?: string }): string | null =>
  asWritten?.split(":")[2] ?? null;
