/** The commands of volumes. */
import type { CommandEntry } from "./command.ts";

export const volumeCommands: readonly CommandEntry[] = [
  {
    names: ["volume create"],
    usage: "[OPTIONS] [VOLUME]",
    short: "Create a volume",
    args: { min: 0, max: 1 },
    completes: "none",
    load: async () => (await import("./volumes.ts")).create,
  },
  {
    names: ["volume inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    short: "Display detailed information on one or more volumes",
    args: { min: 1 },
    completes: "volumes",
    load: async () => (await import("./inspect.ts")).inspectVolumes,
  },
  {
    names: ["volume ls", "volume list"],
    usage: "[OPTIONS]",
    short: "List volumes",
    args: { min: 0, max: 0 },
    load: async () => (await import("./volumes.ts")).ls,
  },
  {
    names: ["volume prune"],
    usage: "[OPTIONS]",
    short: "Remove unused local volumes",
    args: { min: 0, max: 0 },
    load: async () => (await import("./volumes.ts")).prune,
  },
  {
    names: ["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    short: "Remove one or more volumes",
    long: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    args: { min: 1 },
    completes: "volumes",
    load: async () => (await import("./volumes.ts")).rm,
  },
  {
    names: ["volume update"],
    usage: "[OPTIONS] [VOLUME]",
    short: "Update a volume (cluster volumes only)",
    args: { min: 1, max: 1, exact: 1 },
    hidden: true,
    completes: "volumes",
    load: async () => (await import("./volumes.ts")).update,
  },
];
