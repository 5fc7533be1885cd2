/** Writing a container down: criu stops its processes, reads them, and lets them go on or kills them. */
import { statSync } from "node:fs";
import { join } from "node:path";

import { type CheckpointRequest, RuntimeError } from "../driver.ts";
import { type Manifest, NETWORK_KEY, writeManifest } from "./manifest.ts";
import { outsideOf, refusalOf } from "./outside.ts";
import { criuEnvironment, criuError, findCriu } from "./program.ts";

const LOG = "dump.log";

/** @throws RuntimeError; the container runs on then */
export async function dump(request: CheckpointRequest): Promise<void> {
  const program = findCriu();
  const refused = refusalOf(request.spec);
  if (refused !== null) throw new RuntimeError("failed", `criu failed: ${refused}`);
  const { images, held, pid, signal } = request;
  const manifest = outsideOf(request);
  writeManifest(images, manifest);
  const network = manifest.network ? statSync(`/proc/${pid}/ns/net`).ino : null;
  const child = Bun.spawn([program, ...dumpArguments({ ...request, manifest, network })], {
    cwd: "/",
    env: Object.fromEntries(criuEnvironment().map((entry) => entry.split("=", 2))),
    signal,
    killSignal: "SIGKILL",
    // Held open by whoever writes, this process or not.
    stdio: ["ignore", "ignore", "ignore", held],
  });
  const exitCode = await child.exited;
  if (exitCode !== 0) throw criuError(join(images, LOG), exitCode);
}

/** Pure. @param request.network the inode of its network namespace; null: it has the host's */
export function dumpArguments(
  request: Pick<CheckpointRequest, "pid" | "images" | "leaveRunning"> & {
    readonly manifest: Manifest;
    readonly network: number | null;
  },
): string[] {
  const { manifest, network } = request;
  const outside = [
    ...manifest.mounts.map(({ key, target }) => `mnt[${target}]:${key}`),
    ...manifest.files.map(({ key }) => key),
    ...(network === null ? [] : [`net[${network}]:${NETWORK_KEY}`]),
  ];
  return [
    "dump",
    "--no-default-config",
    `--tree=${request.pid}`,
    `--images-dir=${request.images}`,
    `--log-file=${LOG}`,
    "-v2",
    // The engine makes cgroups and networks itself: nothing of them is in the images.
    "--manage-cgroups=ignore",
    "--network-lock=skip",
    "--file-locks",
    ...(request.leaveRunning ? ["--leave-running"] : []),
    ...outside.map((name) => `--external=${name}`),
  ];
}
