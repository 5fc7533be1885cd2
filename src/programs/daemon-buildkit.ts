/** BuildKit's side of the engine, loaded when the first client asks for it. */
import { join } from "node:path";

import type { BuildKit } from "#servers/docker-api";

import type { Engine } from "./daemon-engine.ts";
import type { DaemonOptions } from "./daemon-options.ts";

export function buildKitOf(
  { builds, images, network }: Pick<Engine, "builds" | "images" | "network">,
  { execRoot, buildHistory: historyLimits }: DaemonOptions,
): () => Promise<BuildKit> {
  let opened: Promise<BuildKit> | null = null;
  const open = async (): Promise<BuildKit> => {
    const { openBuildApi } = await import("#servers/build-api");
    const hostGateway = () => network.resolve("bridge").gateway;
    const runFolder = join(execRoot, "build");
    return openBuildApi({ builds, images, runFolder, hostGateway, historyLimits });
  };
  return () => (opened ??= open());
}
