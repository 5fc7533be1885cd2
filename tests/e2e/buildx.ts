/** The real buildx plugin on a private engine: what every current docker CLI builds with. */
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import type { Engine, Finished, RunOptions } from "./engine.ts";

const PLUGINS = join(import.meta.dir, "../../dist/buildx");

/**
 * Gives the engine's docker CLI the plugins.
 * @param age the newest there are, or buildx 0.13 and compose 2.26
 * @throws when script/test could not get them
 */
export function addBuildx({ root }: Engine, age: "newest" | "older" = "newest"): void {
  const folder = join(root, "client/cli-plugins");
  mkdirSync(folder, { recursive: true });
  for (const name of ["docker-buildx", "docker-compose"]) {
    const plugin = join(PLUGINS, age === "older" ? "older" : "", name);
    if (!existsSync(plugin)) throw new Error(`no ${name}: script/test gets it from Debian`);
    symlinkSync(plugin, join(folder, name));
  }
}

/** `docker buildx build` with every line as it comes; what it says is in `stderr`. */
export const buildx = (
  engine: Engine,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> =>
  engine.docker(["buildx", "build", "--progress=plain", ...args], {
    timeoutMs: 90_000,
    ...options,
  });

/** The same, and the test fails when it does not end well. Answers what it said. */
export async function built(
  engine: Engine,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const finished = await buildx(engine, args, options);
  if (finished.code !== 0) {
    throw new Error(`${finished.stderr}\n${engine.daemonLog().slice(-3000)}`);
  }
  return finished.stderr;
}
