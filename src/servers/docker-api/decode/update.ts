/** `POST /containers/{id}/update`, as the domain's UpdateRequest. */
import { invalid } from "#base";
import type { UpdateRequest } from "#engine/container";
import { atLeast, type HostConfig } from "#wire/docker";

import { decodeResources } from "./container.ts";
import { updateShape } from "./create-shape.ts";
import { decodeRestartPolicy } from "./modes.ts";
import { decodeShape } from "./shape.ts";
import { given, refuseUnsupported } from "./unsupported.ts";

/** Fields of Docker's UpdateConfig that an update can change; of the others none may be given. */
const CHANGEABLE: ReadonlySet<string> = new Set([
  "BlkioWeight",
  "CpuPeriod",
  "CpuQuota",
  "CpuRealtimePeriod",
  "CpuRealtimeRuntime",
  "CpuShares",
  "CpusetCpus",
  "CpusetMems",
  "Memory",
  "MemoryReservation",
  "MemorySwap",
  "NanoCpus",
  "PidsLimit",
  "RestartPolicy",
]);

/** @throws EngineError "invalid" or "notImplemented" */
export function decodeUpdate(body: unknown, { apiVersion }: { apiVersion: string }): UpdateRequest {
  const asked = decodeShape<HostConfig>(body, updateShape);
  refuseUnsupported(asked);
  for (const [name, value] of Object.entries(asked)) {
    if (CHANGEABLE.has(name) || !given(value) || value === false) continue;
    if (name === "MemorySwappiness" && value === -1) continue;
    throw invalid(`${name} of a container cannot be updated`);
  }
  const { RestartPolicy: restart, PidsLimit: pidsLimit } = asked;
  const knowsPids = atLeast(apiVersion, "1.40") && pidsLimit !== undefined && pidsLimit !== null;
  return {
    resources: {
      ...decodeResources(asked),
      // 0 and below take the limit away.
      pidsLimit: !knowsPids ? null : pidsLimit > 0 ? pidsLimit : -1,
    },
    restartPolicy:
      restart?.Name === undefined || restart.Name === ""
        ? null
        : decodeRestartPolicy(restart.Name, restart.MaximumRetryCount ?? 0),
  };
}
