/** What is mounted where: a request's mounts and an image's volumes, decided once at create. Pure. */
import { invalid } from "#base";

import type { MountRequest } from "./config.ts";
import type { ContainerMount } from "./container-service.ts";
import { cleanPath } from "./merge.ts";

/** A mount with every choice made: targets are clean, volumes have names. */
export type ResolvedMount =
  | Extract<MountRequest, { type: "bind" | "tmpfs" }>
  | (Extract<MountRequest, { type: "volume" }> & {
      /** Goes with its container at `rm -v` and `--rm`. */
      readonly anonymous: boolean;
    });

/** tmpfs options that change nothing outside the mount itself. */
const TMPFS_FLAGS = new Set(
  (
    "ro rw exec noexec suid nosuid dev nodev sync async dirsync atime noatime diratime nodiratime relatime " +
    "norelatime strictatime nostrictatime mand nomand nr_blocks nr_inodes size mode uid gid mpol " +
    "private rprivate shared rshared slave rslave unbindable runbindable defaults"
  ).split(" "),
);

const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const VOLUME_NAME_LIMIT = 255;

/**
 * @param newName names an anonymous volume
 * @throws EngineError "invalid": `Duplicate mount point: /x`, `invalid mount config for type …`
 */
export function resolveMounts(
  asked: readonly MountRequest[],
  imageVolumes: readonly string[],
  newName: () => string,
): ResolvedMount[] {
  const targets = new Set<string>();
  const resolved = asked.map((mount) => {
    const target = checkTarget(mount);
    if (targets.has(target)) throw invalid(`Duplicate mount point: ${target}`);
    targets.add(target);
    return resolveOne({ ...mount, target }, newName);
  });
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

function resolveOne(mount: MountRequest, newName: () => string): ResolvedMount {
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
        if (!TMPFS_FLAGS.has(key)) throw invalid(`invalid tmpfs option ["${option}"]`);
      }
      if ((mount.sizeBytes ?? 0) < 0) throw badConfig("tmpfs", "the size can not be negative");
      return mount;
    case "volume":
      if (mount.name === "") return { ...mount, name: newName(), anonymous: true };
      checkVolumeName(mount.name);
      return { ...mount, anonymous: false };
  }
}

/** @throws EngineError "invalid" in Docker's words */
export function checkVolumeName(name: string): void {
  if (VOLUME_NAME.test(name) && name.length <= VOLUME_NAME_LIMIT) return;
  throw invalid(
    `create ${name}: "${name}" includes invalid characters for a local volume name, ` +
      'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path',
  );
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
        mode: mount.readOnly ? "ro" : "",
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
    case "volume":
      return {
        type: "volume",
        name: mount.name,
        source: volumePath(mount.name),
        destination: mount.target,
        driver: "local",
        mode: mount.readOnly ? "ro" : mount.anonymous ? "" : "z",
        readWrite: !mount.readOnly,
        propagation: "",
      };
  }
}
