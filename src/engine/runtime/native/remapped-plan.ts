/**
 * The plan of a birth in a user namespace of its own. clone3 makes it first, so it owns the other namespaces. What its
 * root may not do comes ready from the supervisor: the overlay and the engine's own files with ids shifted by their
 * mounts, /dev with its nodes, streams with their owner. Pure.
 */
import { invalid, notImplemented } from "#base";
import type { NamespaceType, RuntimeSpec } from "#oci";

import {
  argumentsOf,
  type BirthPlanRequest,
  cloneFlagsOf,
  refuseUnsupported,
  writeBarrier,
  writeInit,
  writeNames,
  writeNamespaces,
  writeRoot,
  writeTerminal,
} from "./birth-plan.ts";
import { writeConsole, writeDeviceLinks, writeProtection } from "./devices.ts";
import { type BirthShape, namespaceFlags } from "./facts.ts";
import { writeMappedRoot } from "./mapped-root.ts";
import { writeMounts } from "./mounts.ts";
import { errnoOf, type Plan, PlanWriter } from "./plan.ts";
import { writeCgroupJoin, writeHead, writeSysctl, writeTail } from "./tail.ts";

const root = { slot: "root" };

/** Namespaces whose owner the container's root must be: without them proc and sysfs cannot be mounted. */
const OWNED: readonly NamespaceType[] = ["mount", "pid", "network"];

/** Whether the container is to have a user namespace. */
export const isRemapped = ({ linux }: RuntimeSpec): boolean =>
  linux.uidMappings !== undefined || linux.gidMappings !== undefined;

export const remappedFlagsOf = (spec: RuntimeSpec, shape: Pick<BirthShape, "namespaces">): number =>
  cloneFlagsOf(spec, shape) | namespaceFlags.user;

/** @throws EngineError for what cannot be in a user namespace */
export function refuseUnmappable({ linux }: RuntimeSpec): void {
  const covers = (maps: RuntimeSpec["linux"]["uidMappings"] = []) =>
    maps.some(({ containerID, size }) => containerID === 0 && size > 0);
  if (!covers(linux.uidMappings) || !covers(linux.gidMappings)) {
    throw invalid("a user namespace needs mappings of the ids 0");
  }
  const made = linux.namespaces.filter(({ path }) => path === undefined).map(({ type }) => type);
  if (linux.namespaces.some(({ path }) => path !== undefined)) {
    throw notImplemented(
      "the native runtime cannot join another container's namespaces from a remapped user namespace: use --userns=host",
    );
  }
  if (!OWNED.every((type) => made.includes(type))) {
    throw invalid(
      "cannot share the host's network or PID namespace when user namespaces are enabled",
    );
  }
}

/** @throws EngineError */
export function compileRemappedBirth(request: BirthPlanRequest): Plan {
  const { spec, facts, shape } = request;
  const { stdio } = shape;
  refuseUnsupported(spec);
  const writer = new PlanWriter();
  writeHead(writer);
  writeCgroupJoin(writer, shape.tasks);
  const byte = { area: "go", sizeBytes: 8 };
  writer.call("read", [{ slot: "go" }, byte, 1], "wait until the parent wrote the id maps", {
    result: "mapped",
  });
  const wanted = [{ register: "mapped" }, 1, errnoOf("ECANCELED")];
  writer.control("requireEqual", wanted, "the parent wants this to go on");
  writeMappedRoot(writer);
  writeNamespaces(writer, request);
  const mounts = { spec, facts, root, binds: shape.binds, joinsPidNamespace: false };
  writeMounts(writer, mounts);
  writeDeviceLinks(writer, mounts);
  if (stdio.type === "terminal") {
    writeTerminal(writer, { root, ...stdio });
    writeConsole(writer, { register: "slave" });
  }
  if (shape.init !== null) writeInit(writer, shape.init);
  writeProtection(writer, mounts);
  writeRoot(writer, spec);
  writeNames(writer, spec);
  writeBarrier(writer, shape);
  for (const [key, value] of Object.entries(spec.linux.sysctl ?? {})) {
    writeSysctl(writer, key, value);
  }
  writeTail(writer, {
    facts,
    process: { ...spec.process, args: argumentsOf(request) },
    seccomp: spec.linux.seccomp,
    root,
    stdio,
    joinsPidNamespace: false,
    makesDirectory: true,
  });
  return writer.finish();
}
