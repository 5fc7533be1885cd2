/** The commands of manifest lists. */
import type { CommandEntry } from "./command.ts";

export const manifestCommands: readonly CommandEntry[] = [
  {
    names: ["manifest annotate"],
    usage: "[OPTIONS] MANIFEST_LIST MANIFEST",
    short: "Add additional information to a local image manifest",
    args: { min: 2, max: 2 },
    load: async () => (await import("./manifest.ts")).annotate,
  },
  {
    names: ["manifest create"],
    usage: "MANIFEST_LIST MANIFEST [MANIFEST...]",
    short: "Create a local manifest list for annotating and pushing to a registry",
    args: { min: 2 },
    load: async () => (await import("./manifest.ts")).create,
  },
  {
    names: ["manifest inspect"],
    usage: "[OPTIONS] [MANIFEST_LIST] MANIFEST",
    short: "Display an image manifest, or manifest list",
    args: { min: 1, max: 2 },
    load: async () => (await import("./manifest.ts")).inspect,
  },
  {
    names: ["manifest push"],
    usage: "[OPTIONS] MANIFEST_LIST",
    short: "Push a manifest list to a repository",
    args: { min: 1, max: 1 },
    load: async () => (await import("./manifest.ts")).push,
  },
  {
    names: ["manifest rm"],
    usage: "MANIFEST_LIST [MANIFEST_LIST...]",
    short: "Delete one or more manifest lists from local storage",
    args: { min: 1 },
    load: async () => (await import("./manifest.ts")).rm,
  },
];
