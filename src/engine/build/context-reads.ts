/**
 * What a build reads of its context, as far as the Dockerfile's text says it: a client is asked for no more. What a
 * base image left to be done is seen only later, and then the whole context comes.
 */
import { posix } from "node:path";

import { type Instruction, parseDockerfile, parseMount } from "#engine/build/dockerfile";
import { hostPlatform } from "#oci";

import type { BuildRequest } from "./build-service.ts";
import { globalArguments } from "./global-arguments.ts";
import { planBuild } from "./plan.ts";

/** Paths below the context, without a slash in front; null for all of it. */
export type ContextReads = readonly string[] | null;

/** What has variables or quotes in it is known when its step is built. */
const OPEN = /[$"'\\`]/;
/** A list that is longer is not worth a request of its own. */
const PATHS_LIMIT = 200;

/** Of the target's stages only. */
export function contextReads(text: string, request: BuildRequest): ContextReads {
  const paths = new Set<string>();
  for (const source of sourcesIn(text, request)) {
    const path = pathIn(source);
    if (path === null) return null;
    paths.add(path);
  }
  return paths.size > PATHS_LIMIT ? null : [...paths].toSorted();
}

/** @returns null for the context itself, or what leads out of it, or what is not known yet */
function pathIn(source: string): string | null {
  if (OPEN.test(source)) return null;
  const path = posix.normalize(`/${source}`).slice(1).replace(/\/+$/, "");
  return path === "" ? null : path;
}

/** Whether all sources are known to be among what came. */
export function areRead(sources: readonly string[], reads: readonly string[]): boolean {
  return sources.every((source) => {
    const path = pathIn(source);
    return path !== null && reads.includes(path);
  });
}

function sourcesIn(text: string, request: BuildRequest): string[] {
  try {
    const file = parseDockerfile(text);
    const { globals } = globalArguments(file, request, request.platform ?? hostPlatform());
    const { target, contexts } = request;
    const { stages } = planBuild(file, { target, globals, contexts });
    return stages.flatMap(({ stage }) => stage.instructions.flatMap(sourcesOf));
  } catch {
    // What is wrong with it is told where it is built.
    return [];
  }
}

function sourcesOf(instruction: Instruction): readonly string[] {
  const { kind } = instruction;
  if (kind === "copy") return instruction.from === "" ? instruction.sources : [];
  if (kind === "add") return instruction.sources.filter((source) => !source.includes("://"));
  return kind === "run" ? instruction.mounts.flatMap(sourceOfMount) : [];
}

function sourceOfMount(text: string): string[] {
  if (OPEN.test(text)) return [""];
  const { type, from, source } = parseMount(text);
  return type === "bind" && from === "" ? [source] : [];
}
