/** Whose files are whose in a running container with a user namespace: archives name owners as the container does. */
import { hostIdOf, type IdMaps } from "#engine/runtime";
import type { Owners } from "#linux/tree";

/** What an id that the container has no name for is in it: the kernel's overflow id. */
const NOBODY = 65_534;

/** From the host's ids to the container's. */
export const insideOwners = ({ uids, gids }: IdMaps): Owners => ({
  uid: (uid) => containerIdOf(uids, uid),
  gid: (gid) => containerIdOf(gids, gid),
});

/** From the container's ids to the host's. They throw for what the container cannot have, in Docker's words. */
export const outsideOwners = ({ uids, gids }: IdMaps): Owners => ({
  uid: (uid) => hostIdOf(uids, uid),
  gid: (gid) => hostIdOf(gids, gid),
});

function containerIdOf(maps: IdMaps["uids"], id: number): number {
  for (const { containerID, hostID, size } of maps) {
    if (id >= hostID && id < hostID + size) return containerID + id - hostID;
  }
  return NOBODY;
}
