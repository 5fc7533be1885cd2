/** The kernel's budget of real-time shares, which all engines of a machine have together. */
import { existsSync, readFileSync } from "node:fs";

/** Another engine on this machine may have taken it for its containers. */
export const realtimeIsTaken = (): boolean =>
  existsSync("/sys/fs/cgroup/cpu") &&
  [...new Bun.Glob("*/cpu.rt_runtime_us").scanSync("/sys/fs/cgroup/cpu")].some(
    (path) => readFileSync(`/sys/fs/cgroup/cpu/${path}`, "utf8").trim() !== "0",
  );
