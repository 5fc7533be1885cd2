/** Giving back all that outlives a container's last process. */
import type { SupervisorParts } from "./parts.ts";
import type { SupervisedProcess } from "./process.ts";
import type { ProcessKey } from "./protocol.ts";
import type { ContainerState, Records } from "./records.ts";

const KILL_WAIT = { timeoutMs: 10_000 };
const REMOVE_WAIT = { timeoutMs: 5_000 };
/** For what a birth left in the kernel, which nobody may end: its cgroup is removed when the container is. */
const STUCK_WAIT = { timeoutMs: 200 };

export interface TeardownRequest {
  readonly process?: SupervisedProcess | null;
  readonly isStuck?: boolean;
}

interface Owner {
  readonly parts: SupervisorParts;
  readonly records: Records;
  readonly warn: (what: string, thrown: unknown) => void;
}

/** Idempotent; each step is tried whatever the others do. */
export async function tearDown(
  { parts, records, warn }: Owner,
  request: TeardownRequest & { readonly key: ProcessKey; readonly container: ContainerState },
): Promise<void> {
  const { key, container, process = null, isStuck = false } = request;
  const [killWait, removeWait] = isStuck ? [STUCK_WAIT, STUCK_WAIT] : [KILL_WAIT, REMOVE_WAIT];
  const cgroup = () => parts.cgroup(container.cgroupsPath);
  const scratch = records.scratch(key);
  const steps: [string, () => unknown][] = [
    ["end the resolver of", () => parts.dns.close(key.id)],
    ["unmount the tree of", () => process?.releaseMounts()],
    ["remove the links of", () => parts.removeLinks(container.endpoints)],
    ["kill the rest of", () => cgroup().killAll(killWait)],
    ["release", () => parts.openDriver(container.runtime).release({ id: key.id, scratch })],
    [
      "remove the cgroup of",
      async () => {
        if (!(await cgroup().remove(removeWait))) throw new Error("it is still in use");
      },
    ],
    ["close the streams of", () => process?.closeStreams()],
  ];
  for (const [what, step] of steps) {
    try {
      await step();
    } catch (thrown) {
      warn(`${what} ${key.id}`, thrown);
    }
  }
}
