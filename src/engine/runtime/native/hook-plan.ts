/** From a hook to the plan that runs it, on the host or in a container that is being born. Pure. */
import type { HookSpec, NamespaceType, RuntimeSpec } from "#oci";

import { namespaceFlags } from "./facts.ts";
import { writeMappedRoot } from "./mapped-root.ts";
import { type Plan, PlanWriter, type SlotValues } from "./plan.ts";
import { writeHead } from "./tail.ts";

const SIG_SETMASK = 2;
const CLOSE_RANGE_CLOEXEC = 4;
const CLONE_PARENT = 0x8000;
const SIGCHLD = 17;
const DEFAULT_UMASK = 0o022;

const JOINED: readonly NamespaceType[] = [
  "user",
  "mount",
  "cgroup",
  "uts",
  "ipc",
  "pid",
  "network",
];

/** Host hooks go back to the host's mounts (slot "mounts"); container hooks join the newborn's namespaces ("pidfd"). */
export function compileHook(hook: HookSpec, spec: RuntimeSpec, where: "host" | "container"): Plan {
  const writer = new PlanWriter();
  writeHead(writer);
  if (where === "host") {
    writer.call("setns", [{ slot: "mounts" }, namespaceFlags.mount], "go to the host's mounts");
  } else {
    const flags = spec.linux.namespaces.reduce(
      (sum, { type }) => (JOINED.includes(type) ? sum | namespaceFlags[type] : sum),
      0,
    );
    writer.call("setns", [{ slot: "pidfd" }, flags], "join the container's namespaces");
    if (flags & namespaceFlags.user) writeMappedRoot(writer);
  }
  writer.call("chdir", [{ text: "/" }], "go to /");
  for (const [fd, slot] of ["stdin", "stdout", "stderr"].entries()) {
    writer.call("dup3", [{ slot }, fd, 0], `standard stream ${fd}`);
  }
  writer.call("umask", [DEFAULT_UMASK], "the usual umask");
  const close = [3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC];
  writer.call("close_range", close, "no descriptor but 0, 1, 2 outlives execve");
  if (where === "container") {
    const clone = [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0];
    writer.call("clone", clone, "enter the pid namespace", { result: "child" });
    writer.control("leaveIfParent", [{ register: "child" }], "leave the rest to the child");
  }
  writer.call("setsid", [], "a session of its own");
  const none = { bytes: new Uint8Array(8) };
  writer.call("rt_sigprocmask", [SIG_SETMASK, none, 0, 8], "let signals in");
  writer.call("execve", [{ text: hook.path }, { slot: "args" }, { slot: "env" }], hook.path, {
    context: `fork/exec ${hook.path}`,
  });
  return writer.finish();
}

export const hookSlots = ({ path, args, env }: HookSpec): SlotValues => ({
  args: args === undefined || args.length === 0 ? [path] : args,
  env: env ?? [],
});
