/**
 * Which extended attributes of an archive a file gets. overlayfs keeps its own state in attributes: an image that
 * brought `trusted.overlay.redirect` could point a directory anywhere in its lower layers, so none of those pass.
 */
import { invalid } from "#base";
import { isType, S_IFDIR, S_IFLNK, S_IFREG } from "#linux/path";

import { textOf } from "#wire/tar";

/** e_value_size of EROFS has 16 bits; Linux itself stops one byte later. */
const VALUE_LIMIT_BYTES = 65535;
const NAME_LIMIT_BYTES = 255;

export const ACL_ACCESS = "system.posix_acl_access";
export const ACL_DEFAULT = "system.posix_acl_default";

/** The attributes of a file with this mode, sorted by name; null for none. @throws EngineError "invalid" */
export function keptXattrs(
  xattrs: ReadonlyMap<string, Uint8Array> | null,
  mode: number,
): ReadonlyMap<string, Uint8Array> | null {
  if (xattrs === null) return null;
  const kept = [...xattrs].filter(([name]) => isKept(name, mode));
  if (kept.length === 0) return null;
  for (const [name, value] of kept) {
    if (name.length > NAME_LIMIT_BYTES || value.length > VALUE_LIMIT_BYTES) {
      throw invalid(`extended attribute "${textOf(name.slice(0, 100))}" is too large`);
    }
    if (name.startsWith("system.")) checkAcl(name, value);
  }
  return new Map(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function isKept(name: string, mode: number): boolean {
  if (name.startsWith("trusted.")) return name.length > 8 && !name.startsWith("trusted.overlay.");
  if (name.startsWith("security.")) return name.length > 9;
  // Linux has user attributes on files and directories only, and lists for no link.
  if (name.startsWith("user.")) {
    const own = isType(mode, S_IFREG) || isType(mode, S_IFDIR);
    return own && name.length > 5 && !name.startsWith("user.overlay.");
  }
  if (name === ACL_ACCESS) return !isType(mode, S_IFLNK);
  return name === ACL_DEFAULT && isType(mode, S_IFDIR);
}

/** Linux's form of an access control list: version 2, then entries of 8 bytes. */
function checkAcl(name: string, value: Uint8Array): void {
  const version = value[0] === 2 && value[1] === 0 && value[2] === 0 && value[3] === 0;
  if (!version || value.length % 8 !== 4)
    throw invalid(`extended attribute "${name}" is malformed`);
}
