/** What a build made: kept by a lease of its own until somebody has taken it. */
import type { RootTree } from "#engine/build/source";
import type { ImageConfig } from "#oci";

import type { SolvedBuild } from "./build-service.ts";
import type { Context } from "./context.ts";
import { bytesIn } from "./file-bytes.ts";
import { rootOf } from "./run-mounts.ts";

export function solvedBuild(context: Context, config: ImageConfig): SolvedBuild {
  const { images, gc } = context;
  const layers = config.rootfs.diff_ids;
  const lease = gc.lease();
  lease.keep({ layers });
  let root: RootTree | null = null;
  const opened = () => (root ??= rootOf(context, layers));
  return {
    config,
    keep: (references) => images.addBuilt({ config, references }),
    get tree() {
      return opened();
    },
    read: bytesIn,
    tar: () => opened().tar(),
    [Symbol.dispose]: () => {
      root?.[Symbol.dispose]();
      lease[Symbol.dispose]();
    },
  };
}
