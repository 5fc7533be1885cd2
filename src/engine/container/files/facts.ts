/** What a copy into a container asks about it. */
import { invalid, sentenceOf } from "#base";
import { resolveIdentity } from "#engine/runtime";
import { allocate, checked } from "#linux/ffi";

import type { Files } from "./view.ts";

const STATFS_BYTES = 120;
const F_FLAGS_OFFSET = 80;
const ST_RDONLY = 1n;

/** Whether nothing can be written through this descriptor (O_PATH is enough): its mount or file system is read-only. */
export function isReadOnly(fd: number): boolean {
  const buffer = allocate(STATFS_BYTES);
  checked("fstatfs", `fd ${fd}`, fd, buffer);
  return (new DataView(buffer.buffer).getBigUint64(F_FLAGS_OFFSET, true) & ST_RDONLY) !== 0n;
}

/** Who gets what is copied in archive mode: the container's own user; null when it has none. */
export function ownerOf({ record, rootFd }: Files): { uid: number; gid: number } | null {
  const { user } = record.config;
  if (user === "") return null;
  try {
    const { uid, gid } = resolveIdentity(rootFd, { user, groups: [] });
    return { uid, gid };
  } catch (cause) {
    throw invalid(sentenceOf(cause), { cause });
  }
}
