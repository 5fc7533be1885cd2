/** The commands of checkpoints. */
import type { CommandEntry } from "./command.ts";

export const checkpointCommands: readonly CommandEntry[] = [
  {
    names: ["checkpoint create"],
    usage: "[OPTIONS] CONTAINER CHECKPOINT",
    short: "Create a checkpoint from a running container",
    args: { min: 2, max: 2 },
    completes: "running",
    load: async () => (await import("./checkpoints.ts")).create,
  },
  {
    names: ["checkpoint ls", "checkpoint list"],
    usage: "[OPTIONS] CONTAINER",
    short: "List checkpoints for a container",
    args: { min: 1, max: 1 },
    completes: "containers",
    load: async () => (await import("./checkpoints.ts")).ls,
  },
  {
    names: ["checkpoint rm", "checkpoint remove"],
    usage: "[OPTIONS] CONTAINER CHECKPOINT",
    short: "Remove a checkpoint",
    args: { min: 2, max: 2 },
    completes: "containers",
    load: async () => (await import("./checkpoints.ts")).rm,
  },
];
