/** One layer alone: what it holds, and what it hides of the layers below it. */
import { OPEN_TREE_CLONE, openTree } from "#linux/mount";
import { FileDescriptor } from "#linux/path";
import { getXattr } from "#linux/xattr";

import { RootTree } from "./root-tree.ts";
import type { SourceNode } from "./tree.ts";

const OPAQUE = "trusted.overlay.opaque";

/** A removed name, as overlayfs marks it. */
export const isWhiteout = ({ type, devMajor, devMinor }: SourceNode): boolean =>
  type === "character" && devMajor === 0 && devMinor === 0;

export class LayerFiles extends RootTree {
  /** @param mounted where the layer store shows the layer */
  constructor(mounted: string) {
    super(new FileDescriptor(openTree({ path: mounted, flags: OPEN_TREE_CLONE })));
  }

  /** Whether nothing of the layers below is seen in a directory. */
  isOpaque(path: string): boolean {
    const through = Buffer.from(`/proc/self/fd/${this.fd}/${path}`, "latin1");
    return getXattr(through, OPAQUE) !== null;
  }
}
