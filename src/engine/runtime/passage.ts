/**
 * A way to a container's folder for a root that is not the host's: it may look for paths only where everybody may. Over the first
 * folder on the way that is closed to others an empty one is laid, in a mount namespace that ends with the birth, with
 * the rest of the way in it; the container's folder itself is attached at its end.
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";

export interface Passage {
  /** The folder that is closed. */
  readonly path: string;
  /** The folders below it in their order; the last one is the end of the way. */
  readonly folders: readonly string[];
}

/** Null: everybody may go there. */
export function passageTo(folder: string): Passage | null {
  const above: string[] = [];
  for (let path = dirname(folder); path !== "/"; path = dirname(path)) above.unshift(path);
  const closed = above.findIndex((path) => (statSync(path).mode & 0o001) === 0);
  const path = above[closed];
  return path === undefined ? null : { path, folders: [...above.slice(closed + 1), folder] };
}

/** Of the folder that is laid over: nothing is kept in it but further ones. */
export const PASSAGE_OPTIONS = "mode=711,size=64k";
