/** A build's cache as BuildKit writes it: an artifact's manifest, or an index whose entries are layers and a config. */
import type { Descriptor, Index, Manifest } from "./image-spec.ts";
import { isLayerType } from "./media-types.ts";

/** BuildKit's name for the config of a build's cache. */
export const CACHE_CONFIG_TYPE = "application/vnd.buildkit.cacheconfig.v0";

/** An index that is a cache, as a manifest; null for one that is none. */
export function cacheManifestIn({ manifests }: Pick<Index, "manifests">): Manifest | null {
  const config = manifests.find(({ mediaType }: Descriptor) => mediaType === CACHE_CONFIG_TYPE);
  if (config === undefined) return null;
  return {
    schemaVersion: 2,
    config,
    layers: manifests.filter(({ mediaType }) => isLayerType(mediaType)),
  };
}
