/** What a container's file tree is made of, as detached mounts: its root, and what is bound into it. */
import { basename, dirname } from "node:path";

import { invalid, sentenceOf } from "#base";
import {
  createDetachedOverlay,
  createDetachedView,
  createShiftedOverlay,
  createShiftedView,
  type Identities,
  MS_PRIVATE,
  mountSetattr,
  OPEN_TREE_CLONE,
  openTree,
  openTreeBelow,
  shiftIds,
  shiftOrGive,
} from "#linux/mount";
import { AT_RECURSIVE, closeFd } from "#linux/path";

import type { BirthRequest } from "./driver.ts";
import type { Shift } from "./native/user-namespaces.ts";

/** The container's root as a detached mount. */
export function openRoot(root: BirthRequest["root"], shift: Shift | null): number {
  if (root.type === "overlay") {
    const { lowers, upper, work } = root;
    if (shift !== null) {
      const { identities } = shift;
      const writable = { folder: dirname(upper), upper: basename(upper), work: basename(work) };
      return createShiftedOverlay({ lowers, writable, identities });
    }
    return createDetachedOverlay({ lowers, upper, work });
  }
  const fd = openTree({ path: root.path, flags: OPEN_TREE_CLONE | AT_RECURSIVE });
  mountSetattr({ fd, propagation: MS_PRIVATE, recursive: true });
  if (shift !== null) shiftIds(fd, shift.identities, true);
  return fd;
}

export interface Source {
  readonly source: string;
  readonly lowers: readonly string[] | undefined;
  readonly subpath: string | undefined;
  readonly destination: string;
  readonly recursive: boolean;
  /** Of the shift that the source is shown with. */
  readonly identities: Identities | null;
}

/** What is bound, as a detached mount; the caller's to close. @throws EngineError "invalid" in runc's words */
export function openSource(asked: Source): number {
  const { source, lowers, subpath, destination, recursive, identities } = asked;
  try {
    const flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0);
    if (lowers !== undefined) {
      return identities === null
        ? createDetachedView({ lowers, subpath })
        : createShiftedView({ lowers, subpath, identities });
    }
    const tree = openTreeBelow({ path: source, subpath, flags });
    if (identities !== null) shiftTree(tree, identities);
    return tree;
  } catch (cause) {
    const reason = sentenceOf(cause).slice(sentenceOf(cause).lastIndexOf(": ") + 2);
    throw invalid(
      `error mounting "${source}" to rootfs at "${destination}": mount src=${source}, dst=${destination}: ${reason}`,
      { cause },
    );
  }
}

/** The descriptor stays the caller's only when this does not throw. */
function shiftTree(tree: number, identities: Identities): void {
  try {
    shiftOrGive(tree, identities);
  } catch (thrown) {
    closeFd(tree);
    throw thrown;
  }
}
