/**
 * `naru daemon --uninstall`: takes off the host what an engine leaves in its kernel when it ends, so that the next one finds
 * it: processes of containers, their cgroups, bridges, rules. Files stay: they are the package's to remove, and people's.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { isId, sentenceOf, unavailable } from "#base";
import { openNetworkService, type PortHolder } from "#engine/network";
import { openStore } from "#engine/store";
import { openCgroupHost } from "#linux/cgroup";

import { migrations } from "./daemon-engine.ts";
import { lockFolder } from "./daemon-host.ts";
import type { DaemonOptions } from "./daemon-options.ts";

const KILL_LIMIT_MS = 20_000;

/** May run twice; ends with 1 while a daemon uses the same folders. */
export async function uninstall(options: DaemonOptions): Promise<void> {
  try {
    await removeFromKernel(options);
  } catch (cause) {
    console.error(`failed to uninstall: ${sentenceOf(cause)}`);
    process.exit(1);
  }
}

async function removeFromKernel(options: DaemonOptions): Promise<void> {
  const { dataRoot, execRoot } = options;
  const database = join(dataRoot, "naru.db");
  if (!existsSync(database)) return;
  await lockFolder(dataRoot, "data root");
  await lockFolder(execRoot, "exec root");
  await removeCgroups(options.engine.cgroupParent, join(dataRoot, "containers"));
  using store = openStore({ path: database, migrations });
  using network = openNetworkService({
    store,
    portHolder: nobody,
    options: options.network,
    events: { publish: () => undefined },
    warn: (message) => console.error(message),
  });
  network.uninstall();
}

/** Kills who is in them; a parent that a person named may hold strangers as well. */
async function removeCgroups(parent: string, containers: string): Promise<void> {
  const wait = { timeoutMs: KILL_LIMIT_MS };
  const host = openCgroupHost();
  for (const id of host.list(parent).filter(isId)) {
    const cgroup = host.at(join(parent, id));
    if (!existsSync(join(containers, id)) && !cgroup.isEmpty()) continue;
    await cgroup.killAll(wait);
    await cgroup.remove(wait);
  }
  if (host.list(parent).length === 0) await host.at(parent).remove(wait);
}

/** Ports are not held any more. */
const nobody: PortHolder = {
  reserve: () => Promise.reject(unavailable("the engine is being uninstalled")),
  release: () => Promise.resolve(),
};
