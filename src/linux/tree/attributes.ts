/** What a file carries into an archive and out of one: not what belongs to its host or to overlayfs. */
import { type FileStat, isType, S_IFBLK, S_IFCHR, S_IFIFO, S_IFLNK, S_IFREG } from "#linux/path";
import { getXattr, listXattrs } from "#linux/xattr";
import { rawOf, type TarEntryType } from "#wire/tar";

const OWN = new Set(["security.capability", "system.posix_acl_access", "system.posix_acl_default"]);

/** Attributes that mean the same on another file system. */
export const isOwnXattr = (name: string): boolean =>
  OWN.has(name) || (name.startsWith("user.") && !name.startsWith("user.overlay."));

/** A file's own attributes by byte string; null for none. @param names of all it has, where they are known */
export function ownXattrs(
  target: number | Uint8Array,
  names: readonly string[] = listXattrs(target),
): Map<string, Uint8Array> | null {
  const own = new Map<string, Uint8Array>();
  for (const name of names) {
    const value = isOwnXattr(name) ? getXattr(target, name) : null;
    if (value !== null) own.set(rawOf(name), value);
  }
  return own.size === 0 ? null : own;
}

/** The entry type of all but directories; null for sockets, which have no place in a tar: Docker leaves them out too. */
export function leafType(mode: number): Exclude<TarEntryType, "directory" | "hardlink"> | null {
  if (isType(mode, S_IFREG)) return "file";
  if (isType(mode, S_IFLNK)) return "symlink";
  if (isType(mode, S_IFCHR)) return "character";
  if (isType(mode, S_IFBLK)) return "block";
  return isType(mode, S_IFIFO) ? "fifo" : null;
}

/** A header's fields of one inode. Times are cut to seconds, as Docker cuts them. */
export function headerOf<Type extends TarEntryType>(stat: FileStat, type: Type) {
  const { mode, uid, gid, mtimeSec } = stat;
  return {
    type,
    mode: mode & 0o7777,
    uid,
    gid,
    mtimeSec,
    devMajor: stat.rdevMajor,
    devMinor: stat.rdevMinor,
  };
}
