/**
 * The one table of commands: parsing, help, completion and the manual read it. A name with a space belongs to a
 * group (`container run`); the last name of an entry is its short form when that has no space.
 */
import { findEntry, type CommandEntry, type FoundCommand } from "./command.ts";
import { checkpointCommands } from "./table-checkpoints.ts";
import { containerCommands } from "./table-containers.ts";
import { imageCommands } from "./table-images.ts";
import { manifestCommands } from "./table-manifests.ts";
import { networkCommands } from "./table-networks.ts";
import { swarmCommands } from "./table-swarm.ts";
import { systemCommands } from "./table-system.ts";
import { volumeCommands } from "./table-volumes.ts";

export const commands: readonly CommandEntry[] = [
  ...checkpointCommands,
  ...containerCommands,
  ...imageCommands,
  ...manifestCommands,
  ...networkCommands,
  ...swarmCommands,
  ...systemCommands,
  ...volumeCommands,
];

/** Groups (management commands) and what they manage. */
export const groups: Readonly<Record<string, string>> = {
  builder: "Manage builds",
  checkpoint: "Manage checkpoints",
  completion: "Generate the autocompletion script for the specified shell",
  container: "Manage containers",
  context: "Manage contexts",
  image: "Manage images",
  config: "Manage Swarm configs",
  manifest: "Manage Docker image manifests and manifest lists",
  network: "Manage networks",
  node: "Manage Swarm nodes",
  plugin: "Manage plugins",
  secret: "Manage Swarm secrets",
  service: "Manage Swarm services",
  stack: "Manage Swarm stacks",
  swarm: "Manage Swarm",
  system: "Manage Naru",
  volume: "Manage volumes",
};

/** What follows a group's name in its usage line when a command is wrong; docker names COMMAND for few of them. */
export const groupUsage = (group: string): string =>
  ["checkpoint", "manifest", "volume"].includes(group) ? `${group} COMMAND` : group;

const STILL_TO_COME = "is not implemented yet";

/** Docker's commands that this program has not: refused with a sentence each, and not shown as working. */
export const unbuilt: ReadonlyMap<string, string> = new Map([
  ["attestation", STILL_TO_COME],
  ["buildx", STILL_TO_COME],
  ["compose", STILL_TO_COME],
  [
    "trust",
    "is not here: Docker Content Trust (Notary v1) is being switched off, and docker's own client left it to a plugin",
  ],
]);

/** What the words at the start of a command line mean. */
export type Found =
  | FoundCommand
  | { readonly kind: "group"; readonly name: string; readonly next: string | undefined }
  | { readonly kind: "unbuilt"; readonly name: string }
  | { readonly kind: "unknown"; readonly name: string };

/** Finds the command that `words` begin with. */
export function findCommand(words: readonly string[]): Found {
  const found = findEntry(commands, words);
  if (found !== null) return found;
  const [first = "", second] = words;
  for (const name of [`${first} ${second}`, first]) {
    if (unbuilt.has(name)) return { kind: "unbuilt", name };
  }
  if (first in groups) return { kind: "group", name: first, next: second };
  return { kind: "unknown", name: first };
}
