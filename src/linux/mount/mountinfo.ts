/** /proc/self/mountinfo. Source: kernel documentation, filesystems/proc.rst, section 3.5. */
import { readFileSync } from "node:fs";

/** One mount of this mount namespace. */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  readonly device: { readonly major: number; readonly minor: number };
  /** The directory of the file system that is the mount's root. */
  readonly root: string;
  readonly target: string;
  /** Of this mount: "rw", "nosuid". */
  readonly options: readonly string[];
  /** Propagation: "shared:12", "master:1". */
  readonly tags: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Of the file system. */
  readonly superOptions: readonly string[];
}

const unescape = (field: string): string =>
  field.includes("\\")
    ? field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
        String.fromCharCode(Number.parseInt(octal, 8)),
      )
    : field;

/** The mounts that a mountinfo text lists, in the kernel's order. */
export function parseMountInfo(text: string): MountEntry[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ", 2);
      const [id = "", parentId = "", device = "", root = "", target = "", options = "", ...tags] =
        before.split(" ");
      const [type = "", source = "", superOptions = ""] = after.split(" ");
      const [major = "", minor = ""] = device.split(":");
      return {
        id: Number(id),
        parentId: Number(parentId),
        device: { major: Number(major), minor: Number(minor) },
        root: unescape(root),
        target: unescape(target),
        options: options.split(","),
        tags,
        type,
        source: unescape(source),
        superOptions: superOptions.split(","),
      };
    });
}

/** Every mount that a process sees now. */
export const readMountInfo = (pid: number | "self" = "self"): MountEntry[] =>
  parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, "utf8"));
