/**
 * `--change` of `docker import` and `commit`: Dockerfile instructions that only set an image's config.
 * Lines are read as the Dockerfile reader reads them; what needs a build (RUN, COPY, …) is refused.
 */
import { invalid } from "#base";
import { parseHealthCheck } from "#engine/build";
import { checkStopSignal } from "#engine/container";
import type { ImageRunConfig } from "#oci";

import { parsePort } from "./ports.ts";

type Draft = ImageRunConfig;
type Instruction = (draft: Draft, rest: string, line: string) => void;

const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  CMD: (draft, rest) => void (draft.Cmd = programOf(rest)),
  ENTRYPOINT: (draft, rest) => void (draft.Entrypoint = programOf(rest)),
  ENV(draft, rest, line) {
    const set = new Map((draft.Env ?? []).map((entry) => [nameOf(entry), entry]));
    for (const [name, value] of pairs(expand(rest, draft), line)) set.set(name, `${name}=${value}`);
    draft.Env = [...set.values()];
  },
  LABEL(draft, rest, line) {
    draft.Labels = { ...draft.Labels, ...Object.fromEntries(pairs(expand(rest, draft), line)) };
  },
  EXPOSE(draft, rest, line) {
    const ports = words(expand(rest, draft), line).flatMap(portRange);
    draft.ExposedPorts = {
      ...draft.ExposedPorts,
      ...Object.fromEntries(ports.map((port) => [port, {}])),
    };
  },
  VOLUME(draft, rest, line) {
    const paths = jsonWords(rest) ?? words(expand(rest, draft), line);
    draft.Volumes = { ...draft.Volumes, ...Object.fromEntries(paths.map((path) => [path, {}])) };
  },
  USER: (draft, rest) => void (draft.User = expand(rest, draft)),
  WORKDIR(draft, rest) {
    const path = expand(rest, draft);
    draft.WorkingDir = path.startsWith("/") ? path : `${draft.WorkingDir ?? ""}/${path}`;
  },
  STOPSIGNAL(draft, rest) {
    const signal = expand(rest, draft);
    checkStopSignal(signal);
    draft.StopSignal = signal;
  },
  ONBUILD(draft, rest) {
    checkTrigger(rest);
    draft.OnBuild = [...(draft.OnBuild ?? []), rest];
  },
  HEALTHCHECK: (draft, _, line) => void (draft.Healthcheck = parseHealthCheck(line)),
};

const ONE_ARGUMENT = new Set(["USER", "WORKDIR", "STOPSIGNAL"]);

function checkTrigger(text: string): void {
  const trigger = (text.split(/\s/, 1)[0] ?? "").toUpperCase();
  if (trigger === "ONBUILD") throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  if (trigger === "FROM" || trigger === "MAINTAINER") {
    throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
  }
}

/** @throws EngineError "invalid" in the words of Docker's Dockerfile reader */
export function decodeChanges(
  changes: readonly string[],
  base: ImageRunConfig = {},
): ImageRunConfig {
  const draft: Draft = { ...base };
  const lines = changes
    .join("\n")
    .replaceAll(/\\[ \t]*\n/g, "")
    .split("\n");
  for (const text of lines) {
    const line = text.trim();
    if (line === "" || line.startsWith("#")) continue;
    const [, name = "", rest = ""] = /^(\S+)\s*([^]*)$/.exec(line) ?? [];
    const instruction = INSTRUCTIONS[name.toUpperCase()];
    if (instruction === undefined) {
      throw invalid(`${name} is not a valid change command`);
    }
    if (rest === "") {
      const count = ONE_ARGUMENT.has(name.toUpperCase()) ? "exactly" : "at least";
      throw invalid(`${name.toUpperCase()} requires ${count} one argument`);
    }
    instruction(draft, rest, line);
  }
  return draft;
}

const nameOf = (entry: string): string => entry.split("=", 1)[0] ?? "";

/** `["a", "b"]`, or null when it is no JSON list of strings. */
function jsonWords(text: string): string[] | null {
  if (!text.startsWith("[")) return null;
  try {
    const parsed: unknown = JSON.parse(text);
    const isWords = Array.isArray(parsed) && parsed.every((word) => typeof word === "string");
    return isWords ? parsed : null;
  } catch {
    return null;
  }
}

const programOf = (text: string): string[] => jsonWords(text) ?? ["/bin/sh", "-c", text];

/** `$NAME` and `${NAME}` from the ENV before; `\$` stays. */
const expand = (text: string, { Env: environment = [] }: Draft): string =>
  text.replaceAll(/\\\$|\$(?:\{(\w+)\}|(\w+))/g, (whole, braced?: string, bare?: string) => {
    const name = braced ?? bare;
    if (name === undefined) return whole;
    const entry = environment.find((one) => nameOf(one) === name);
    return entry === undefined ? "" : entry.slice(name.length + 1);
  });

/** Words with quotes and backslashes taken off. @throws EngineError "invalid" */
function words(text: string, line: string): string[] {
  const found: string[] = [];
  const pattern = /\s*((?:[^\s"'\\]|\\[^]|"(?:[^"\\]|\\[^])*"|'[^']*')+)/gy;
  let end = 0;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    found.push(unquote(match[1] ?? ""));
    end = pattern.lastIndex;
  }
  if (text.slice(end).trim() !== "") {
    throw invalid(
      `failed to process ${JSON.stringify(line)}: unexpected end of statement while looking for matching quote`,
    );
  }
  return found;
}

const unquote = (word: string): string =>
  word.replaceAll(
    /\\([^])|"((?:[^"\\]|\\[^])*)"|'([^']*)'/g,
    (_, escaped?: string, double?: string, single?: string) =>
      escaped ?? single ?? (double ?? "").replaceAll(/\\(["$\\])/g, "$1"),
  );

/** `a=1 b="2 3"`, or the older `a one two three`. */
function pairs(text: string, line: string): [string, string][] {
  const all = words(text, line);
  const [first = ""] = all;
  if (!first.includes("=")) {
    const [, name = "", value = ""] = /^(\S+)\s+([^]*)$/.exec(text) ?? [];
    if (name === "") throw invalid(`${line.split(/\s/, 1)[0] ?? ""} must have two arguments`);
    return [[name, value]];
  }
  return all.map((word) => {
    const at = word.indexOf("=");
    if (at < 0)
      throw invalid(`Syntax error - can't find = in "${word}". Must be of the form: name=value`);
    if (at === 0) throw invalid(`${line.split(/\s/, 1)[0] ?? ""} names can not be blank`);
    return [word.slice(0, at), word.slice(at + 1)];
  });
}

/** `8000-8002/udp` is three ports. */
function portRange(text: string): string[] {
  const [, first = "", last = first, protocol = "tcp"] =
    /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(\w+))?$/.exec(text) ?? [];
  if (first === "") throw invalid(`Invalid containerPort: ${text}`);
  const start = parsePort(`${first}/${protocol}`).containerPort;
  const end = parsePort(`${last}/${protocol}`).containerPort;
  if (end < start) throw invalid(`invalid port range: "${text}"`);
  return Array.from({ length: end - start + 1 }, (_, index) => `${start + index}/${protocol}`);
}
