/**
 * A birth alone, in a process as small as the supervisor: prints the milliseconds of each, from "here is the spec" to
 * "its program runs", with overlay, namespaces, users, capabilities and seccomp. `ready`: as a container on a bridge is
 * born, its cgroup announced and a network namespace waiting for it, as the supervisor has them; `alone`: with those
 * made meanwhile too.
 *
 *   bun bench/birth.ts ROUNDS
 */
import { mkdirSync, openSync } from "node:fs";
import { join } from "node:path";

import {
  defaultSpec,
  makeBusyboxRoot,
  temporaryFolder,
  testId,
} from "../src/engine/runtime/test-container.ts";
import { openNativeDriver, runtimeDefaults } from "../src/engine/runtime/index.ts";
import { openCgroupHost } from "../src/linux/cgroup/index.ts";
import { newNetworkNamespace } from "../src/linux/namespace/index.ts";
import { closeFd } from "../src/linux/path/index.ts";
import { setSubreaper, waitPid } from "../src/linux/process/index.ts";

interface Births {
  readonly ready: number[];
  readonly alone: number[];
}

async function births(rounds: number): Promise<Births> {
  using folder = temporaryFolder("birth");
  const lower = join(folder.path, "lower");
  await makeBusyboxRoot(lower);
  setSubreaper(true);
  const cgroups = openCgroupHost();
  using driver = openNativeDriver({ scratchRoot: join(folder.path, "native"), cgroups });
  const nothing = openSync("/dev/null", "r+");
  const defaults = runtimeDefaults();
  const times: Births = { ready: [], alone: [] };

  for (let round = 0; round < 2 * (rounds + 1); round += 1) {
    const isReady = round % 2 === 0;
    const id = testId();
    const spec = defaultSpec(id, ["true"]);
    const capabilities = spec.process.capabilities?.bounding ?? [];
    spec.linux.seccomp = defaults.seccomp(capabilities);
    spec.linux.maskedPaths = [...defaults.maskedPaths];
    spec.linux.readonlyPaths = [...defaults.readonlyPaths];
    const [upper, work] = [join(folder.path, id, "upper"), join(folder.path, id, "work")];
    const scratch = join(folder.path, id, "scratch");
    for (const path of [upper, work, scratch]) mkdirSync(path, { recursive: true });
    const { cgroupsPath, resources } = spec.linux;
    if (isReady) driver.expect?.({ id, cgroupsPath, resources });
    const networkNamespace = isReady ? newNetworkNamespace() : null;
    await Bun.sleep(100);
    const started = performance.now();
    const born = await driver.birth({
      id,
      spec,
      root: { type: "overlay", lowers: [lower], upper, work },
      identity: { user: "", groups: [] },
      stdio: { type: "pipes", stdin: nothing, stdout: nothing, stderr: nothing },
      scratch,
      init: null,
      networkNamespace,
      prepare: () => undefined,
    });
    // The first compiles the seccomp filter and lays out the plan.
    if (round > 1) times[isReady ? "ready" : "alone"].push(performance.now() - started);
    waitPid(born.pid);
    closeFd(born.pidfd);
    if (born.mountNamespace !== null) closeFd(born.mountNamespace);
    if (networkNamespace !== null) closeFd(networkNamespace);
    await cgroups.at(cgroupsPath).remove({ timeoutMs: 2000 });
  }
  cgroups.at("/naru-test-runtime").tryRemove();
  return times;
}

console.log(JSON.stringify(await births(Number(process.argv[2] ?? 21))));
process.exit();
