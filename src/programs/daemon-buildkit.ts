/** BuildKit's side of the engine, loaded when the first client asks for it. */
import { join } from "node:path";

import type { BuildKit } from "#servers/docker-api";

import type { Engine } from "./daemon-engine.ts";
import type { DaemonOptions } from "./daemon-options.ts";

export function buildKitOf(
  { builds, images, network }: Pick<Engine, "builds" | "images" | "network">,
  { execRoot }: DaemonOptions,
): () => Promise<BuildKit> {
  let opened: Promise<BuildKit> | null = null;
  const open = async (): Promise<BuildKit> => {
    const { openBuildApi } = await import("#servers/build-api");
    const hostGateway = () => network.resolve("bridge").gateway;
    return openBuildApi({ builds, images, runFolder: join(execRoot, "build"), hostGateway });
  };
  return () => (opened ??= open());
}
