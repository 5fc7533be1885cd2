/**
 * The plan of a birth in a user namespace of its own. clone3 makes it first, so it owns the other namespaces. What its
 * root may not do comes ready from the supervisor: the overlay and the engine's own files with ids shifted by their
 * mounts, /dev with its nodes, streams with their owner. Pure.
 *
 * Who joins another container's namespaces joins its user namespace first, and is cloned once more in there: what is
 * made then belongs to that user namespace, and its root has power over it.
 */
import { invalid } from "#base";
import type { NamespaceType, RuntimeSpec } from "#oci";

import {
  type BirthPlanRequest,
  cloneFlagsOf,
  refuseUnsupported,
  writeEnding,
  writeInit,
  writeJail,
  writeNamespaces,
  writeTerminal,
} from "./birth-plan.ts";
import { writeConsole, writeDeviceLinks, writeProtection } from "./devices.ts";
import { type BirthShape, namespaceFlags } from "./facts.ts";
import { writeMappedRoot } from "./mapped-root.ts";
import { writeMounts } from "./mounts.ts";
import { errnoOf, type Plan, PlanWriter } from "./plan.ts";
import { writeCgroupJoin, writeHead, writeParting, writeProfile } from "./tail.ts";

const root = { slot: "root" };
const CLONE_PARENT = 0x8000;
const SIGCHLD = 17;
const PR_SET_PDEATHSIG = 1;

/** Namespaces whose owner the container's root must be: without them proc and sysfs cannot be mounted. */
const OWNED: readonly NamespaceType[] = ["mount", "pid", "network"];

/** Whether the container is to have a user namespace. */
export const isRemapped = ({ linux }: RuntimeSpec): boolean =>
  linux.uidMappings !== undefined || linux.gidMappings !== undefined;

/** Of the first clone. */
export const remappedFlagsOf = (spec: RuntimeSpec, shape: Pick<BirthShape, "namespaces">): number =>
  joinsUser(shape) ? 0 : cloneFlagsOf(spec, shape) | namespaceFlags.user;

/** Then a second child is the container's: the first one tells its number. */
export const joinsUser = ({ namespaces }: Pick<BirthShape, "namespaces">): boolean =>
  namespaces.includes("user");

/** @throws EngineError for what cannot be in a user namespace */
export function refuseUnmappable(spec: RuntimeSpec): void {
  const { linux } = spec;
  const covers = (maps: RuntimeSpec["linux"]["uidMappings"] = []) =>
    maps.some(({ containerID, size }) => containerID === 0 && size > 0);
  if (!covers(linux.uidMappings) || !covers(linux.gidMappings)) {
    throw invalid("a user namespace needs mappings of the ids 0");
  }
  const joined = linux.namespaces.filter(({ path }) => path !== undefined);
  if (joined.length > 0 && !joined.some(({ type }) => type === "user")) {
    throw invalid("to share a namespace, containers must also share a user namespace");
  }
  if (!OWNED.every((type) => linux.namespaces.some((namespace) => namespace.type === type))) {
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
  writeParting(writer, shape.kept);
  writeCgroupJoin(writer, shape.tasks);
  const joins = joinsUser(shape);
  if (joins) writeEntry(writer, request);
  else {
    const byte = { area: "go", sizeBytes: 8 };
    writer.call("read", [{ slot: "go" }, byte, 1], "wait until the parent wrote the id maps", {
      result: "mapped",
    });
    const wanted = [{ register: "mapped" }, 1, errnoOf("ECANCELED")];
    writer.control("requireEqual", wanted, "the parent wants this to go on");
    writeMappedRoot(writer);
  }
  writeNamespaces(writer, request);
  const joinsPidNamespace = shape.namespaces.includes("pid");
  const { binds, foreignDev } = shape;
  const mounts = { spec, facts, root, binds, joinsPidNamespace, foreignDev };
  writeMounts(writer, mounts);
  writeDeviceLinks(writer, mounts);
  if (stdio.type === "terminal") {
    writeTerminal(writer, { root, ...stdio });
    writeConsole(writer, { register: "slave" });
  }
  if (shape.init !== null) writeInit(writer, shape.init);
  writeProtection(writer, mounts);
  writeJail(writer, request);
  const { apparmorProfile: _asked, ...unprofiled } = spec.process;
  writeEnding(writer, joins ? { ...request, spec: { ...spec, process: unprofiled } } : request);
  return writer.finish();
}

/** Into the other container's user namespace, then a second child in namespaces that belong to it. */
function writeEntry(writer: PlanWriter, { spec, shape }: BirthPlanRequest): void {
  // In there nobody mounts a procfs of the host's processes, and a joined pid namespace is entered last; what is asked
  // for here stays asked for.
  const { apparmorProfile } = spec.process;
  if (apparmorProfile) writeProfile(writer, apparmorProfile);
  writer.call("setns", [{ slot: "join.user" }, namespaceFlags.user], "join the user namespace", {
    context: "failed to join the user namespace",
  });
  writeMappedRoot(writer);
  const flags = cloneFlagsOf(spec, shape) | CLONE_PARENT | SIGCHLD;
  writer.call("clone", [flags, 0, 0, 0, 0], "be born once more, in there", { result: "child" });
  writer.control("leaveIfParent", [{ register: "child" }], "leave the rest to the child");
  writer.call("prctl", [PR_SET_PDEATHSIG, 9, 0, 0, 0], "die with the supervisor as well");
}
