/** Volumes: create, list, inspect, remove, prune. */
import { invalid, unavailable } from "#base";
import type { VolumeService } from "#engine/volume";
import { atLeast, type VolumeCreate } from "#wire/docker";

import type { Call } from "./call.ts";
import { decodeShape, type FieldsOf, type Shape } from "./decode/shape.ts";
import { encodeVolume } from "./encode/volume.ts";
import type { Routes } from "./routes.ts";
import { notManager } from "./swarm.ts";

/** Before it, prune took every volume that no container had. */
const ANONYMOUS_ONLY_SINCE = "1.42";
const TEXTS: Shape = { map: "string" };

const CREATE: FieldsOf<VolumeCreate> = {
  Name: "string",
  Driver: "string",
  DriverOpts: TEXTS,
  Labels: TEXTS,
  ClusterVolumeSpec: "empty",
};

export function volumeRoutes(volumes: VolumeService): Routes {
  return {
    "GET /volumes": (call) => {
      const listed = volumes.list(call.query.filters());
      call.json(200, { Volumes: listed.map(encodeVolume), Warnings: null });
    },
    "POST /volumes/create": (call) => create(call, volumes),
    "GET /volumes/:name": (call) => call.json(200, encodeVolume(volumes.get(call.param("name")))),
    "DELETE /volumes/:name": (call) => {
      volumes.remove(call.param("name"), { force: call.query.bool("force") });
      call.empty(204);
    },
    "POST /volumes/prune": (call) => prune(call, volumes),
    "PUT /volumes/:name": () => {
      throw unavailable("volume update only valid for cluster volumes, but swarm is unavailable");
    },
  };
}

async function create(call: Call, volumes: VolumeService): Promise<void> {
  const asked = decodeShape<VolumeCreate>(await call.requireBody(), {
    struct: "CreateOptions",
    fields: CREATE,
  });
  // Older clients know none: their word is not heard.
  if ((asked.ClusterVolumeSpec ?? null) !== null && atLeast(call.version, "1.42"))
    throw notManager();
  const volume = volumes.create({
    name: asked.Name ?? "",
    driver: asked.Driver ?? "",
    options: asked.DriverOpts ?? {},
    labels: asked.Labels ?? {},
  });
  call.json(201, encodeVolume(volume));
}

async function prune(call: Call, volumes: VolumeService): Promise<void> {
  const { all: everything = [], ...filters } = call.query.filters();
  const all =
    everything.length === 0 ? !atLeast(call.version, ANONYMOUS_ONLY_SINCE) : truth(everything);
  const { deleted, reclaimedBytes } = await volumes.prune({ all, filters });
  call.json(200, { VolumesDeleted: deleted, SpaceReclaimed: reclaimedBytes });
}

function truth(values: readonly string[]): boolean {
  const wanted = values.map((value) => {
    if (/^(1|true)$/i.test(value)) return true;
    if (/^(0|false)$/i.test(value)) return false;
    throw invalid(`invalid filter 'all=${value}'`);
  });
  if (new Set(wanted).size > 1) throw invalid(`invalid filter 'all=${values.join(" ")}'`);
  return wanted[0] ?? false;
}
