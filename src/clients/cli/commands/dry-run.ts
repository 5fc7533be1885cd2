/** `--dry-run` of prune and rm: what would go and what that would free, read from what the engine lists. Nothing changes. */
import { conflict, humanSize } from "#base";
import { diskUsage, inspectContainer, listNetworks, type ApiClient } from "#clients/api-client";

import type { FlagSpec } from "../flags/spec.ts";
import {
  type Prunable,
  prunableCache,
  prunableContainers,
  prunableImages,
  prunableNetworks,
  prunableVolumes,
  type Wish,
} from "../options/prunable.ts";
import { print, printLine } from "../terminal/stdio.ts";
import { forEachArgument } from "./each.ts";

export const DRY_RUN_FLAG: FlagSpec = {
  name: "dry-run",
  kind: "bool",
  usage: "Only print what would be removed, and the space that would free",
};

export type PrunedKind = "containers" | "networks" | "volumes" | "images" | "build cache";

const TITLES: Readonly<Record<PrunedKind, string>> = {
  containers: "Containers",
  networks: "Networks",
  volumes: "Volumes",
  images: "Images",
  "build cache": "build cache objects",
};

/** In the order of the prune: what a container uses is free once the container is gone. @returns the exit code */
export async function previewPrune(
  client: ApiClient,
  kinds: readonly PrunedKind[],
  asked: Omit<Wish, "nowMs"> & { readonly allVolumes?: boolean },
): Promise<number> {
  const wish: Wish = { filters: asked.filters, all: asked.all, nowMs: Date.now() };
  const used = await diskUsage(client);
  const ended = kinds.includes("containers") ? prunableContainers(used, wish) : null;
  const kept = (used.Containers ?? []).filter(({ Id }) => ended?.ids.has(Id) !== true);
  let sizeBytes = 0;
  let isLeast = false;
  for (const kind of kinds) {
    const found = await findOf(kind);
    sizeBytes += found.sizeBytes;
    isLeast ||= found.isLeast === true;
    if (found.names.length > 0) {
      print(`Would delete ${TITLES[kind]}:\n${found.names.join("\n")}\n\n`);
    }
  }
  printTotal(sizeBytes, isLeast);
  return 0;

  async function findOf(kind: PrunedKind): Promise<Prunable> {
    switch (kind) {
      case "containers":
        return ended ?? prunableContainers(used, wish);
      case "networks":
        return prunableNetworks(await listNetworks(client, { dangling: ["true"] }), wish);
      case "volumes":
        return prunableVolumes(used, kept, { ...wish, all: asked.allVolumes ?? wish.all });
      case "images":
        return prunableImages(used, kept, wish);
      case "build cache":
        return prunableCache(used, wish);
    }
  }
}

/** What `rm` would take, a line each, and what they have written. @returns the exit code */
export async function previewRemoval(
  client: ApiClient,
  names: readonly string[],
  { force }: { readonly force: boolean },
): Promise<number> {
  let sizeBytes = 0;
  const look = async (name: string) => {
    const container = await inspectContainer(client, name, { size: true });
    if (container.State.Running && !force) {
      throw conflict(
        `cannot remove container ${JSON.stringify(container.Name)}: container is running: stop the container before removing or force remove`,
      );
    }
    sizeBytes += container.SizeRw ?? 0;
  };
  const code = await forEachArgument(names, look, (name) => printLine(`Would delete ${name}`));
  printTotal(sizeBytes, false);
  return code;
}

const printTotal = (sizeBytes: number, isLeast: boolean): void =>
  printLine(
    `Total space that would be reclaimed: ${isLeast ? "at least " : ""}${humanSize(sizeBytes, 4)}`,
  );
