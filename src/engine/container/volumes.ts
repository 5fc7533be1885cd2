/** A container's volumes: those it asks for, those it takes from others, those that go with it. */
import { invalid, sentenceOf } from "#base";
import { ANONYMOUS_LABEL, type CreateVolumeRequest, type VolumeMount } from "#engine/volume";

import type { Context } from "./context.ts";
import type { ResolvedMount } from "./mounts.ts";
import type { ContainerRecord } from "./records.ts";

/** What is to be made for a new container where it is not there yet. */
export const volumesOf = ({
  mounts,
  host,
}: Pick<ContainerRecord, "mounts" | "host">): CreateVolumeRequest[] =>
  mounts.flatMap((mount) =>
    mount.type === "volume"
      ? [
          {
            name: mount.name,
            driver: mount.driver ?? host.volumeDriver ?? "",
            options: mount.driverOptions ?? {},
            labels: { ...mount.labels, ...(mount.anonymous ? { [ANONYMOUS_LABEL]: "" } : {}) },
          },
        ]
      : [],
  );

/** What is mounted of them when it runs. */
export const volumeMounts = ({ mounts }: Pick<ContainerRecord, "mounts">): VolumeMount[] =>
  mounts.flatMap((mount) => (mount.type === "volume" ? [mount] : []));

/** Names of those that go with the container at `rm -v`, unless another one has them. */
export const anonymousVolumes = ({ mounts }: Pick<ContainerRecord, "mounts">): string[] =>
  mounts.flatMap((mount) => (mount.type === "volume" && mount.anonymous ? [mount.name] : []));

function mountsOf(records: Context["records"], name: string): readonly ResolvedMount[] {
  try {
    return records.resolve(name).mounts;
  } catch (cause) {
    // As Docker: a client would take "not found" for the image.
    throw invalid(sentenceOf(cause), { cause });
  }
}

/**
 * The volumes and binds of other containers, as `--volumes-from` asks for them; of two at one place the later wins.
 * @throws EngineError "invalid"
 */
export function volumesFrom(
  { records }: Pick<Context, "records">,
  sources: readonly string[],
): ResolvedMount[] {
  const byTarget = new Map<string, ResolvedMount>();
  for (const source of sources) {
    if (source === "") throw invalid("volumes-from specification cannot be an empty string");
    const [name = "", mode = "rw", ...rest] = source.split(":");
    if (name === "") throw invalid(`malformed volumesFrom specification: ${source}`);
    if (rest.length > 0 || !["ro", "rw", "z", "Z"].includes(mode)) {
      throw invalid(`invalid mode: ${[mode, ...rest].join(":")}`);
    }
    for (const mount of mountsOf(records, name)) {
      // A tmpfs is memory of one container: there is nothing to share.
      if (mount.type === "tmpfs") continue;
      if (mount.type === "image") {
        byTarget.set(mount.target, mount);
        continue;
      }
      const readOnly = mount.readOnly || mode === "ro";
      // What the other's `-v` said of the mode is said anew here.
      const { asWritten: _, ...own } = mount;
      const copied = own.type === "volume" ? { ...own, noCopy: true } : own;
      byTarget.set(mount.target, { ...copied, readOnly });
    }
  }
  return [...byTarget.values()];
}
