/** Who enters a user namespace has its powers, and nobody's ids until it takes root's there. */
import type { PlanWriter } from "./plan.ts";

/** Becomes the user namespace's root; the maps must be written. */
export function writeMappedRoot(writer: PlanWriter): void {
  const context = "unable to become root of the user namespace";
  writer.call("setgroups", [0, 0], "no groups of the host", { context });
  writer.call("setresgid", [0, 0, 0], "the group 0 of the user namespace", { context });
  writer.call("setresuid", [0, 0, 0], "the user 0 of the user namespace", { context });
  // Another user's process is open to that user's others again.
  writer.call("prctl", [4, 0, 0, 0, 0], "hide from other processes");
}
