/** The commands of networks. */
import type { CommandEntry } from "./command.ts";

export const networkCommands: readonly CommandEntry[] = [
  {
    names: ["network connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    short: "Connect a container to a network",
    args: { min: 2, max: 2 },
    completes: "networks",
    load: async () => (await import("./networks.ts")).connect,
  },
  {
    names: ["network create"],
    usage: "[OPTIONS] NETWORK",
    short: "Create a network",
    args: { min: 1, max: 1 },
    completes: "none",
    load: async () => (await import("./networks.ts")).create,
  },
  {
    names: ["network disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    short: "Disconnect a container from a network",
    args: { min: 2, max: 2 },
    completes: "networks",
    load: async () => (await import("./networks.ts")).disconnect,
  },
  {
    names: ["network inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    short: "Display detailed information on one or more networks",
    args: { min: 1 },
    completes: "networks",
    load: async () => (await import("./inspect.ts")).inspectNetworks,
  },
  {
    names: ["network ls", "network list"],
    usage: "[OPTIONS]",
    short: "List networks",
    args: { min: 0, max: 0 },
    load: async () => (await import("./networks.ts")).ls,
  },
  {
    names: ["network prune"],
    usage: "[OPTIONS]",
    short: "Remove all unused networks",
    args: { min: 0, max: 0 },
    load: async () => (await import("./networks.ts")).prune,
  },
  {
    names: ["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    short: "Remove one or more networks",
    args: { min: 1 },
    completes: "networks",
    load: async () => (await import("./networks.ts")).rm,
  },
];
