/**
 * A birth alone, in a process as small as the supervisor: prints the milliseconds of each, from "here is the spec" to
 * "its program runs", with cgroup, overlay, namespaces, users, capabilities and seccomp, without a network of its own.
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
import { closeFd } from "../src/linux/path/index.ts";
import { setSubreaper, waitPid } from "../src/linux/process/index.ts";

async function births(rounds: number): Promise<number[]> {
  using folder = temporaryFolder("birth");
  const lower = join(folder.path, "lower");
  await makeBusyboxRoot(lower);
  setSubreaper(true);
  const cgroups = openCgroupHost();
  using driver = openNativeDriver({ scratchRoot: join(folder.path, "native"), cgroups });
  const nothing = openSync("/dev/null", "r+");
  const defaults = runtimeDefaults();
  const times: number[] = [];

  for (let round = 0; round <= rounds; round += 1) {
    const id = testId();
    const spec = defaultSpec(id, ["true"]);
    const capabilities = spec.process.capabilities?.bounding ?? [];
    spec.linux.seccomp = defaults.seccomp(capabilities);
    spec.linux.maskedPaths = [...defaults.maskedPaths];
    spec.linux.readonlyPaths = [...defaults.readonlyPaths];
    const [upper, work] = [join(folder.path, id, "upper"), join(folder.path, id, "work")];
    const scratch = join(folder.path, id, "scratch");
    for (const path of [upper, work, scratch]) mkdirSync(path, { recursive: true });
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
      prepare: () => undefined,
    });
    // The first compiles the seccomp filter and lays out the plan.
    if (round > 0) times.push(performance.now() - started);
    waitPid(born.pid);
    closeFd(born.pidfd);
    await cgroups.at(spec.linux.cgroupsPath).remove({ timeoutMs: 2000 });
  }
  cgroups.at("/naru-test-runtime").tryRemove();
  return times;
}

console.log(JSON.stringify(await births(Number(process.argv[2] ?? 21))));
process.exit();
