/** The real buildx plugin on a private engine: what every current docker CLI builds with. */
import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import {
  type Engine,
  type EngineOptions,
  type Finished,
  type RunOptions,
  startEngine,
} from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";

const PLUGINS = join(import.meta.dir, "../../dist/buildx");

/** What the tests of one file share, from before the first until after the last. */
export interface BuildxLab {
  readonly engine: Engine;
  /** Of a lab with a registry. */
  readonly registry: Registry;
  /** A folder with these files. */
  readonly contextOf: (files: Record<string, string>) => string;
  /** What a program in an image prints. */
  readonly shown: (image: string, ...command: string[]) => Promise<string>;
}

/**
 * An engine whose docker CLI has the plugins, for the tests of one file; its answers agreed with the API's definition.
 * @param registry a registry beside it; null for none
 */
export function buildxLab(
  registry: Parameters<typeof startRegistry>[1] | null = null,
  options: EngineOptions & { readonly age?: "older" } = {},
): BuildxLab {
  let engine: Engine | null = null;
  let served: Registry | null = null;
  const there = <Thing>(thing: Thing | null): Thing => {
    if (thing === null) throw new Error("only tests have it");
    return thing;
  };
  beforeAll(async () => {
    engine = await startEngine(options);
    addBuildx(engine, options.age);
    if (registry !== null) served = await startRegistry(engine.root, registry);
  });
  afterAll(async () => {
    const violations = engine?.violations();
    await served?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
    expect(violations).toEqual([]);
  });
  return {
    get engine() {
      return there(engine);
    },
    get registry() {
      return there(served);
    },
    contextOf: (files) => writeContext(there(engine), files),
    shown: (image, ...command) =>
      there(engine).ok(["run", "--rm", "--network", "none", image, ...command]),
  };
}

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
): Promise<Finished> => engine.docker(["buildx", "build", "--progress=plain", ...args], options);

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

/** A build whose client gets a signal as soon as it has shown a line. @returns what it showed, and its exit code */
export async function leftAt(
  { root, socket }: Engine,
  args: readonly string[],
  leaving: { readonly line: string; readonly signal: "SIGINT" | "SIGKILL" },
): Promise<{ said: string; code: number }> {
  // Not through docker, which would get the signal in the plugin's stead.
  const plugin = join(root, "client/cli-plugins/docker-buildx");
  const child = Bun.spawn([plugin, "build", "--progress=plain", ...args], {
    env: { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_CONFIG: join(root, "client") },
    stderr: "pipe",
  });
  let said = "";
  const decoder = new TextDecoder();
  for await (const chunk of child.stderr) {
    said += decoder.decode(chunk);
    if (said.includes(` ${leaving.line}\n`)) break;
  }
  child.kill(leaving.signal);
  return { said, code: await child.exited };
}
