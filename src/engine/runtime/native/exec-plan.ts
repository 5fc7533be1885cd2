/** From a process description to the plan that runs it inside a container that lives. Pure. */
import { AT_FDCWD, O_DIRECTORY, O_PATH } from "#linux/path";
import type { NamespaceType, ProcessSpec, RuntimeSpec } from "#oci";

import { writeBarrier, writeTerminal } from "./birth-plan.ts";
import { type HostFacts, type JoinShape, namespaceFlags } from "./facts.ts";
import { writeMappedRoot } from "./mapped-root.ts";
import { type Plan, PlanWriter, type SlotValues } from "./plan.ts";
import { filterNumber, writeCgroupJoin, writeHead, writeProfile, writeTail } from "./tail.ts";

export interface ExecPlanRequest {
  /** The container's own. */
  readonly spec: RuntimeSpec;
  /** What to run; `user` filled in, HOME in the environment. */
  readonly process: ProcessSpec;
  readonly facts: HostFacts;
  readonly shape: JoinShape;
}

/**
 * Compiles an exec. The process that joins stays outside of the container's pid namespace, where nobody in the
 * container sees it, until it has given up every power; the program itself is a second clone, inside,
 * and a child of the supervisor (CLONE_PARENT).
 */
export function compileExec({ spec, process, facts, shape }: ExecPlanRequest): Plan {
  const writer = new PlanWriter();
  writeHead(writer);
  writeCgroupJoin(writer, shape.tasks);
  const joined: readonly NamespaceType[] = [
    "user",
    "mount",
    "cgroup",
    "uts",
    "ipc",
    "pid",
    "network",
  ];
  const flags = spec.linux.namespaces.reduce(
    (sum, { type }) => (joined.includes(type) ? sum | namespaceFlags[type] : sum),
    0,
  );
  // In a user namespace nobody mounts a procfs while the container's own is masked; and what is asked for here stays asked for.
  const { apparmorProfile, ...unprofiled } = process;
  const early = (flags & namespaceFlags.user) !== 0 ? apparmorProfile : undefined;
  if (early) writeProfile(writer, early);
  writer.call("setns", [{ slot: "pidfd" }, flags], "join the container's namespaces", {
    context: "unable to join the namespaces of the container",
  });
  if (flags & namespaceFlags.user) writeMappedRoot(writer);
  const root = { register: "root" };
  writer.call("openat", [AT_FDCWD, { text: "/" }, O_PATH | O_DIRECTORY, 0], "keep the root", {
    result: "root",
  });
  if (shape.stdio.type === "terminal") {
    writeTerminal(writer, { root, ...shape.stdio });
    writeBarrier(writer, shape);
  }
  writeTail(writer, {
    facts,
    process: early ? unprofiled : process,
    seccomp: spec.linux.seccomp,
    root,
    stdio: shape.stdio,
    joinsPidNamespace: true,
    makesDirectory: false,
  });
  return writer.finish();
}

/** What goes into an exec's slots besides descriptors. */
export const execSlots = (id: string, { args, env }: ProcessSpec): SlotValues => ({
  args,
  env,
  keyring: `_ses.${id}`,
});

/** As `birthKey`. */
export function execKey({ spec, process, shape }: Omit<ExecPlanRequest, "facts">): string {
  const { args, env, ...rest } = process;
  const { namespaces, seccomp } = spec.linux;
  return JSON.stringify([
    rest,
    args[0],
    env.find((entry) => entry.startsWith("PATH=")),
    namespaces.map(({ type }) => type),
    shape,
    seccomp === undefined ? 0 : filterNumber(seccomp),
  ]);
}
