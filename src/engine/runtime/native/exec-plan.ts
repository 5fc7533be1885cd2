/** From a process description to the plan that runs it inside a container that lives. Pure. */
import { O_DIRECTORY, O_PATH } from "#linux/path";
import type { NamespaceType, ProcessSpec, RuntimeSpec } from "#oci";

import { writeBarrier, writeTerminal } from "./birth-plan.ts";
import { type BorrowedJoin, type HostFacts, namespaceFlags } from "./facts.ts";
import { type Plan, PlanWriter } from "./plan.ts";
import { writeCgroupJoin, writeHead, writeTail } from "./tail.ts";

export interface ExecPlanRequest {
  readonly id: string;
  /** The container's own. */
  readonly spec: RuntimeSpec;
  /** What to run; `user` filled in, HOME in the environment. */
  readonly process: ProcessSpec;
  readonly facts: HostFacts;
  readonly borrowed: BorrowedJoin & {
    /** A pidfd of the container's init. */
    readonly pidfd: number;
  };
}

const AT_FDCWD = -100;

/**
 * Compiles an exec. The process that joins stays outside of the container's pid namespace, where nobody in the
 * container sees it, until it has given up every power; the program itself is a second clone, inside,
 * and a child of the supervisor (CLONE_PARENT).
 */
export function compileExec(request: ExecPlanRequest): Plan {
  const { id, spec, process, facts, borrowed } = request;
  const writer = new PlanWriter();
  writeHead(writer, borrowed.goWriter);
  writeCgroupJoin(writer, borrowed.tasks);
  const joined: readonly NamespaceType[] = ["mount", "cgroup", "uts", "ipc", "pid", "network"];
  const flags = spec.linux.namespaces.reduce(
    (sum, { type }) => (joined.includes(type) ? sum | namespaceFlags[type] : sum),
    0,
  );
  writer.call("setns", [borrowed.pidfd, flags], "join the container's namespaces", {
    context: "unable to join the namespaces of the container",
  });
  const root = { register: "root" };
  writer.call("openat", [AT_FDCWD, { text: "/" }, O_PATH | O_DIRECTORY, 0], "keep the root", {
    result: "root",
  });
  if (borrowed.stdio.type === "terminal") {
    writeTerminal(writer, { root, ...borrowed.stdio });
    writeBarrier(writer, borrowed);
  }
  writeTail(writer, {
    facts,
    process,
    seccomp: spec.linux.seccomp,
    id,
    root,
    stdio: borrowed.stdio,
    joinsPidNamespace: true,
    makesDirectory: false,
  });
  return writer.finish();
}
