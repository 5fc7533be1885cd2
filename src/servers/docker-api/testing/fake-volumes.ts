/** Volumes that are only names. */
import { conflict, notFound } from "#base";
import type { Volume, VolumeService } from "#engine/volume";

export function fakeVolumes(): VolumeService {
  const all = new Map<string, Volume>();
  const get = (name: string): Volume => {
    const volume = all.get(name);
    if (volume === undefined) throw notFound(`get ${name}: no such volume`);
    return volume;
  };
  return {
    get,
    create({ name, options, labels }) {
      const createdAt = "2026-01-02T03:04:05Z";
      const volume = { name, createdAt, labels, options, path: `/volumes/${name}/_data` };
      all.set(name, volume);
      return volume;
    },
    list: () => [...all.values()],
    remove(name, { force }) {
      if (name === "used") throw conflict("remove used: volume is in use - [abc]");
      if (!force) get(name);
      all.delete(name);
    },
    prune({ all: everything }) {
      const deleted = everything ? [...all.keys()] : [];
      for (const name of deleted) all.delete(name);
      return Promise.resolve({ deleted, reclaimedBytes: deleted.length * 100 });
    },
    usage: () =>
      Promise.resolve([...all.values()].map((volume) => ({ volume, sizeBytes: 100, users: 0 }))),
  };
}
