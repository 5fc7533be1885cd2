/** What an image says and what a person asks, joined as Docker joins them. Pure. */
import { invalid } from "#base";
import { healthOfNano, mergeHealth } from "#engine/health";
import type { ImageRunConfig } from "#oci";

import type { ContainerConfig } from "./config.ts";

/**
 * The asked config with the image's defaults filled in: what inspect shows under Config.
 * @throws EngineError "invalid": `no command specified`, or a value that cannot be used
 */
export function mergeImageConfig(asked: ContainerConfig, image: ImageRunConfig): ContainerConfig {
  const program = mergeProgram(asked, image);
  const merged: ContainerConfig = {
    ...asked,
    ...program,
    environment: mergeEnvironment(asked.environment, image.Env ?? []),
    user: asked.user === "" ? (image.User ?? "") : asked.user,
    workingDirectory: cleanWorkingDirectory(
      asked.workingDirectory === "" ? (image.WorkingDir ?? "") : asked.workingDirectory,
    ),
    labels: { ...image.Labels, ...asked.labels },
    exposedPorts: union(
      asked.exposedPorts,
      Object.keys(image.ExposedPorts ?? {}).map(withProtocol),
    ),
    volumes: union(asked.volumes, Object.keys(image.Volumes ?? {})),
    healthcheck: mergeHealth(
      asked.healthcheck ?? null,
      image.Healthcheck === undefined ? null : healthOfNano(image.Healthcheck),
    ),
    stopSignal: asked.stopSignal ?? image.StopSignal ?? null,
  };
  if ((program.entrypoint?.length ?? 0) === 0 && (program.command?.length ?? 0) === 0) {
    throw invalid("no command specified");
  }
  return merged;
}

/** Entrypoint and command as one program with its arguments. */
export function programOf(config: Pick<ContainerConfig, "entrypoint" | "command">): {
  path: string;
  args: string[];
} {
  const [path = "", ...args] = [...(config.entrypoint ?? []), ...(config.command ?? [])];
  return { path, args };
}

/**
 * An asked entrypoint hides the image's command: `--entrypoint sh` runs sh alone. `[""]` (and the decoded `[]`)
 * is "no entrypoint", and hides the image's command as well.
 */
function mergeProgram(
  asked: ContainerConfig,
  image: ImageRunConfig,
): Pick<ContainerConfig, "entrypoint" | "command"> {
  const { entrypoint, command } = asked;
  const given = command !== null && command.length > 0 ? command : null;
  if (entrypoint === null) {
    return { entrypoint: image.Entrypoint ?? null, command: given ?? image.Cmd ?? null };
  }
  const none = entrypoint.length === 0 || (entrypoint.length === 1 && entrypoint[0] === "");
  return { entrypoint: none ? null : entrypoint, command: given };
}

const variableName = (entry: string): string => entry.split("=", 1)[0] ?? entry;

/** Docker's order: what was asked, then the image's variables that were not asked for. */
function mergeEnvironment(asked: readonly string[], image: readonly string[]): string[] {
  for (const entry of asked) {
    if (variableName(entry) === "") throw invalid(`invalid environment variable: ${entry}`);
  }
  const names = new Set(asked.map(variableName));
  return [...asked, ...image.filter((entry) => !names.has(variableName(entry)))];
}

function cleanWorkingDirectory(path: string): string {
  if (path === "") return "";
  if (!path.startsWith("/")) {
    throw invalid(`the working directory '${path}' is invalid, it needs to be an absolute path`);
  }
  return cleanPath(path);
}

/** An absolute path without `.`, `..`, doubled or trailing slashes: a text, no file is looked at. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

const union = (first: readonly string[], second: readonly string[]): string[] => [
  ...new Set([...first, ...second]),
];

const withProtocol = (port: string): string => (port.includes("/") ? port : `${port}/tcp`);
