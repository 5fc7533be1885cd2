/** Changing containers that live, and clearing away those that do not: update and prune. */
import { invalid } from "#base";
import type { ContainerService, PruneRequest } from "#engine/container";
import { requireFilters } from "#wire/http";

import type { Call } from "./call.ts";
import { decodeUpdate } from "./decode/update.ts";
import { parseMoment } from "./instants.ts";
import type { Routes } from "./routes.ts";

const PRUNE_FILTERS: ReadonlySet<string> = new Set(["label", "label!", "until"]);

export function liveRoutes(containers: Pick<ContainerService, "update" | "prune">): Routes {
  return {
    "POST /containers/:id/update": async (call) => {
      const request = decodeUpdate(await call.requireBody(), { apiVersion: call.version });
      const { warnings } = await containers.update(call.param("id"), request);
      call.json(200, { Warnings: warnings });
    },
    "POST /containers/prune": async (call) => {
      const { deleted, reclaimedBytes } = await containers.prune(pruneRequest(call));
      call.json(200, {
        ContainersDeleted: deleted,
        SpaceReclaimed: reclaimedBytes,
      });
    },
  };
}

function pruneRequest(call: Call): PruneRequest {
  const filters = requireFilters(call.query.filters(), PRUNE_FILTERS);
  const until = filters["until"] ?? [];
  if (until.length > 1) throw invalid("more than one until filter specified");
  const [moment] = until;
  return {
    untilMs: moment === undefined ? null : parseMoment(moment, new Date()).getTime(),
    labels: filters["label"] ?? [],
    withoutLabels: filters["label!"] ?? [],
  };
}
