/** What images take on disk. A layer is stored once, however many images stand on it. */
import type { Digest } from "#oci";

import type { ImageContext } from "./context.ts";
import { chainOf } from "./records.ts";

/** @returns the layers' sum, and of each image what it shares with others */
export function usageOfImages({ records, layers }: ImageContext): {
  layersSizeBytes: number;
  sharedSizeBytes: ReadonlyMap<Digest, number>;
} {
  const users = new Map<Digest, number>();
  const stacks = new Map(records.ids().map((id) => [id, chainOf(records.factsOf(id).diffIds)]));
  for (const stack of stacks.values()) {
    for (const { chainId } of stack) users.set(chainId, (users.get(chainId) ?? 0) + 1);
  }
  const sizeOf = (diffId: Digest) => layers.info(diffId)?.contentSizeBytes ?? 0;
  const used = new Set([...stacks.values()].flatMap((stack) => stack.map(({ diffId }) => diffId)));
  let layersSizeBytes = 0;
  for (const diffId of used) layersSizeBytes += sizeOf(diffId);
  const sharedSizeBytes = new Map<Digest, number>();
  for (const [id, stack] of stacks) {
    const shared = stack.filter(({ chainId }) => (users.get(chainId) ?? 0) > 1);
    sharedSizeBytes.set(
      id,
      shared.reduce((sum, { diffId }) => sum + sizeOf(diffId), 0),
    );
  }
  return { layersSizeBytes, sharedSizeBytes };
}
