/** Host devices by path, as a container gets them. */
import { lstatSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

import { internal, sentenceOf } from "#base";
import type { DeviceSpec } from "#oci";

import type { HostConfig } from "./config.ts";

/** Folders of /dev that are file systems or views of their own, and the console, which each container makes. */
const SKIPPED = new Set([
  "pts",
  "shm",
  "fd",
  "mqueue",
  "hugepages",
  ".lxc",
  ".lxd-mounts",
  ".udev",
]);
const TYPE_MASK = 0o170000;
const CHARACTER = 0o020000;
const BLOCK = 0o060000;

/** Those asked for; a folder stands for every device in it. @throws EngineError "internal" in Docker's words */
export function requestedDevices(asked: HostConfig["devices"]): DeviceSpec[] {
  return asked.flatMap(({ hostPath, containerPath }) => {
    try {
      const device = deviceAt(hostPath, containerPath);
      if (device !== null) return [device];
      if (statSync(hostPath).isDirectory()) {
        const found = devicesBelow(hostPath, containerPath);
        if (found.length > 0) return found;
      }
      throw new Error("not a device node");
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      const why = code === "ENOENT" ? "no such file or directory" : sentenceOf(cause);
      throw internal(
        `error gathering device information while adding custom device "${hostPath}": ${why}`,
        { cause },
      );
    }
  });
}

/** Everything below /dev, for a privileged container. */
export const hostDevices = (): DeviceSpec[] => devicesBelow("/dev", "/dev");

function devicesBelow(hostFolder: string, containerFolder: string): DeviceSpec[] {
  return readdirSync(hostFolder, { withFileTypes: true }).flatMap((entry) => {
    const hostPath = join(hostFolder, entry.name);
    const containerPath = join(containerFolder, entry.name);
    if (entry.isDirectory()) {
      return SKIPPED.has(entry.name) ? [] : devicesBelow(hostPath, containerPath);
    }
    if (hostPath === "/dev/console") return [];
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const device = deviceAt(hostPath, containerPath, lstatSync);
    return device === null ? [] : [device];
  });
}

/** null for what is no device. Links are followed, as `--device /dev/disk/by-id/…` wants. */
export function deviceAt(
  hostPath: string,
  containerPath: string,
  read: (path: string) => ReturnType<typeof lstatSync> = statSync,
): DeviceSpec | null {
  const stat = read(hostPath);
  if (stat === undefined) return null;
  const mode = Number(stat.mode);
  const type = mode & TYPE_MASK;
  if (type !== CHARACTER && type !== BLOCK) return null;
  const { major, minor } = deviceNumbers(BigInt(stat.rdev));
  return {
    type: type === BLOCK ? "b" : "c",
    path: containerPath,
    major,
    minor,
    fileMode: mode & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
  };
}

/** The two halves of a dev_t, as glibc's gnu_dev_major and gnu_dev_minor cut it. */
export function deviceNumbers(device: bigint): { major: number; minor: number } {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n);
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n);
  return { major: Number(major), minor: Number(minor) };
}
