/** What containers could leave of themselves, on disk and in the kernel, once none of them is there. */
import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

import type { Engine } from "./engine.ts";
import { tracesOf } from "./traces.ts";
import { eventually } from "./until.ts";

const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** Published ports that are still led to an address. */
const publishedPorts = (engine: Engine): string[] =>
  ["publish_any", "publish_address"].flatMap((map) => {
    const words = ["nft", "-j", "list", "map", "inet", `naru_${engine.bridge}`, map];
    const listed = Bun.spawnSync(words, { stderr: "ignore" }).stdout.toString();
    return listed.includes('"elem"') ? [listed] : [];
  });

async function endpointsOf(engine: Engine): Promise<string[]> {
  const answer = await fetch("http://engine/v1.51/networks/bridge", { unix: engine.daemonSocket });
  const { Containers } = (await answer.json()) as { Containers: Record<string, unknown> | null };
  return Object.keys(Containers ?? {});
}

async function leftBy(engine: Engine): Promise<Record<string, string[]>> {
  const traces = tracesOf(engine.tag);
  return {
    processes: traces.processes.filter((line) => !/naru( |.*)(daemon|supervisor) /.test(line)),
    links: traces.links.filter((link) => link !== engine.bridge),
    cgroups: traces.cgroups.flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => join(folder, entry.name)),
    ),
    mounts: traces.mounts.filter((mount) =>
      ["/containers/", "/snapshots/", "/engine-"].some((part) => mount.includes(part)),
    ),
    snapshots: namesIn(join(engine.dataRoot, "snapshots")).filter((name) => !name.startsWith(".")),
    folders: namesIn(join(engine.dataRoot, "containers")),
    volumes: namesIn(join(engine.dataRoot, "volumes")),
    births: namesIn(join(engine.execRoot, "containers")),
    exits: namesIn(join(engine.execRoot, "exits")),
    arriving: namesIn(join(engine.dataRoot, "content/ingest")),
    arrivingLayers: namesIn(join(engine.dataRoot, "layers/ingest")),
    endpoints: await endpointsOf(engine),
    ports: publishedPorts(engine),
  };
}

/** Removes every container and volume, and waits until nothing of them is left. */
export async function expectNothingLeft(engine: Engine): Promise<void> {
  const ids = (await engine.ok(["ps", "-aq"])).split("\n").filter((id) => id !== "");
  if (ids.length > 0) await engine.ok(["rm", "-f", "-v", ...ids]);
  await eventually(async () => {
    const left = await leftBy(engine);
    expect(left).toEqual(Object.fromEntries(Object.keys(left).map((what) => [what, []])));
  });
}
