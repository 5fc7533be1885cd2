/**
 * `docker update`: limits and restart policy of a container, in its record and, while it runs, in the kernel. The
 * kernel goes first, since it may refuse; a daemon killed between the two leaves a container with the limits it was
 * asked to have, and a record that says so at the next update or start.
 */
import { conflict, sentenceOf, wrap } from "#base";
import { type CgroupResources, updateResources } from "#linux/cgroup";

import type { HostConfig } from "./config.ts";
import type { UpdateRequest } from "./container-service.ts";
import { type Context, liveOf } from "./context.ts";
import { publishEvent } from "./happenings.ts";
import { NO_LIMITS } from "./plain.ts";
import type { ContainerRecord } from "./records.ts";
import { checkResources } from "./resources.ts";
import { cgroupOf } from "./signal.ts";
import { limitsOf } from "./spec.ts";

type Resources = HostConfig["resources"];

/** @throws EngineError in Docker's words */
export async function updateContainer(
  context: Context,
  nameOrId: string,
  request: UpdateRequest,
): Promise<{ warnings: string[] }> {
  const { id } = context.records.resolve(nameOrId);
  const { resources: asked, warnings } = checkResources(
    { ...NO_LIMITS, ...request.resources },
    context.facts,
    "update",
  );
  const live = liveOf(context, id);
  await live.queue.run(async () => {
    const record = context.records.must(id);
    try {
      if (live.removing) {
        throw conflict('container is marked for removal and cannot be "update"');
      }
      applyUpdate(context, record, changeOf(record, asked, request));
    } catch (cause) {
      throw wrap(`Cannot update container ${id}`, cause);
    }
  });
  return { warnings };
}

interface Change {
  readonly host: HostConfig;
  /** What of it the kernel is told. */
  readonly limits: (resources: Resources) => CgroupResources;
}

/** Pure: the new host side, and which limits changed. @throws EngineError "conflict" */
function changeOf({ host }: ContainerRecord, asked: Resources, request: UpdateRequest): Change {
  const { resources } = host;
  checkAgainst(resources, asked);
  const { restartPolicy } = request;
  if (restartPolicy !== null && restartPolicy.name !== "no" && host.autoRemove) {
    throw conflict(
      "Restart policy cannot be updated because AutoRemove is enabled for the container",
    );
  }
  const isGiven = (name: keyof Resources) => asked[name] !== NO_LIMITS[name];
  const given = Object.keys(asked).filter((name) => isGiven(name as keyof Resources));
  const merged: Resources = {
    ...resources,
    ...Object.fromEntries(given.map((name) => [name, asked[name as keyof Resources]])),
    ...(isGiven("pidsLimit")
      ? { pidsLimit: (asked.pidsLimit ?? 0) > 0 ? asked.pidsLimit : null }
      : {}),
  };
  return {
    host: { ...host, resources: merged, restartPolicy: restartPolicy ?? host.restartPolicy },
    limits: (wanted) => {
      const { memory, cpu, blockIO } = limitsOf(wanted);
      const has = (pattern: RegExp) => given.some((name) => pattern.test(name));
      return {
        ...(memory !== undefined && has(/^memory/) ? { memory } : {}),
        ...(cpu !== undefined && has(/^(?:cpu|nanoCpus)/) ? { cpu } : {}),
        ...(blockIO !== undefined && has(/^blkio/) ? { blockIO } : {}),
        ...(has(/^pids/) ? { pids: { limit: wanted.pidsLimit ?? -1 } } : {}),
      };
    },
  };
}

/** @throws EngineError "conflict": what is set already and what is asked cannot both be */
function checkAgainst(current: Resources, asked: Resources): void {
  const refused = (what: string, other: string) =>
    conflict(`Conflicting options: ${what} cannot be updated as ${other} has already been set`);
  if (asked.nanoCpus > 0 && current.cpuPeriodUsec > 0) throw refused("Nano CPUs", "CPU Period");
  if (asked.nanoCpus > 0 && current.cpuQuotaUsec > 0) throw refused("Nano CPUs", "CPU Quota");
  if (asked.cpuPeriodUsec > 0 && current.nanoCpus > 0) throw refused("CPU Period", "NanoCPUs");
  if (asked.cpuQuotaUsec > 0 && current.nanoCpus > 0) throw refused("CPU Quota", "NanoCPUs");
  const { memorySwapBytes } = current;
  if (
    asked.memoryBytes > 0 &&
    asked.memorySwapBytes === 0 &&
    memorySwapBytes >= 0 &&
    asked.memoryBytes > memorySwapBytes
  ) {
    throw conflict(
      "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
    );
  }
}

function applyUpdate(context: Context, record: ContainerRecord, { host, limits }: Change): void {
  const { id, state } = record;
  const runs = state.status === "running" || state.status === "paused";
  const cgroup = runs ? cgroupOf(context, record) : null;
  const undo = () => {
    if (cgroup === null) return;
    try {
      updateResources(cgroup, limits(record.host.resources));
    } catch (cause) {
      context.log.warn(`could not take back an update of ${id}`, { error: sentenceOf(cause) });
    }
  };
  try {
    if (cgroup !== null) updateResources(cgroup, limits(host.resources));
    publishEvent(context, context.records.redefine(id, host), "update");
  } catch (cause) {
    undo();
    throw cause;
  }
}
