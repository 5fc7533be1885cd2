/** Volumes as Docker shows them. */
import type { Volume } from "#engine/volume";
import type * as wire from "#wire/docker";

export const encodeVolume = (volume: Volume): wire.Volume => ({
  CreatedAt: volume.createdAt,
  Driver: "local",
  Labels: orNull(volume.labels),
  Mountpoint: volume.path,
  Name: volume.name,
  Options: orNull(volume.options),
  Scope: "local",
});

const orNull = (map: Readonly<Record<string, string>>): Record<string, string> | null =>
  Object.keys(map).length === 0 ? null : { ...map };
