/** What a Dockerfile offers to whoever builds it: its targets, and the arguments, secrets and agents of one of them. Pure. */
import {
  type Dockerfile,
  expandWord,
  type Instruction,
  type Location,
  parseMount,
} from "#engine/build/dockerfile";

import type { BuildPlan, PlannedStage } from "./plan.ts";

export interface DockerfileTarget {
  /** "" for a stage without a name. */
  readonly name: string;
  readonly isDefault: boolean;
  readonly description: string;
  /** As FROM has them, variables not expanded. */
  readonly base: string;
  readonly platform: string;
  readonly location: Location;
}

export interface BuildParameter {
  readonly name: string;
  readonly description: string;
  readonly value: string;
  readonly location: Location;
}

/** A secret or an agent that steps ask for. */
export interface AskedParameter {
  readonly name: string;
  readonly isRequired: boolean;
  readonly location: Location;
}

export interface DockerfileOutline {
  readonly target: DockerfileTarget | null;
  readonly args: readonly BuildParameter[];
  readonly secrets: readonly AskedParameter[];
  readonly agents: readonly AskedParameter[];
}

/** `# name what it is for`, right above what has the name. */
function describedBy(comments: readonly string[], name: string): string {
  const found = name === "" ? undefined : comments.find((line) => line.startsWith(`${name} `));
  return found?.slice(name.length + 1) ?? "";
}

export const targetsOf = ({ stages }: Dockerfile): DockerfileTarget[] =>
  stages.map(({ name, asWritten, base, platform, location, comments }, index) => ({
    name,
    isDefault: index === stages.length - 1,
    description: describedBy(comments, asWritten),
    base,
    platform,
    location,
  }));

interface Given {
  readonly globals: Readonly<Record<string, string>>;
  readonly buildArgs: Readonly<Record<string, string | null>>;
}

/** Of the plan's target and of every stage that it needs, in the order of lines. */
export function outlineOf(file: Dockerfile, plan: BuildPlan, given: Given): DockerfileOutline {
  const args = new Map<string, BuildParameter>();
  const secrets = new Map<string, AskedParameter>();
  const agents = new Map<string, AskedParameter>();
  const last = plan.stages.at(-1)?.index ?? -1;
  for (const planned of plan.stages) {
    for (const name of namesInFrom(planned)) addGlobal(file, name, { args, given });
    for (const instruction of planned.stage.instructions) {
      if (instruction.kind === "arg") addArguments(file, instruction, { args, given });
      if (instruction.kind === "run") addMounts(instruction, { secrets, agents });
    }
  }
  return {
    target: targetsOf(file)[last] ?? null,
    args: inOrder(args),
    secrets: inOrder(secrets),
    agents: inOrder(agents),
  };
}

const inOrder = <T extends { readonly location: Location }>(all: ReadonlyMap<string, T>): T[] =>
  [...all.values()].toSorted((a, b) => a.location.startLine - b.location.startLine);

const namesInFrom = ({ stage }: PlannedStage): string[] =>
  [...`${stage.base} ${stage.platform}`.matchAll(/\$\{?(\w+)/g)].map(([, name = ""]) => name);

interface Adding {
  readonly args: Map<string, BuildParameter>;
  readonly given: Given;
}

/** @returns false when the file says nothing of it before its first FROM */
function addGlobal(
  { globalArguments }: Dockerfile,
  name: string,
  { args, given }: Adding,
): boolean {
  const found = globalArguments.findLast((each) => each.arguments.some((one) => one.name === name));
  if (found === undefined) return false;
  const { location, comments } = found;
  const value = given.globals[name] ?? "";
  if (!args.has(name)) {
    args.set(name, { name, value, location, description: describedBy(comments, name) });
  }
  return true;
}

function addArguments(
  file: Dockerfile,
  { arguments: all, comments, location }: Extract<Instruction, { kind: "arg" }>,
  adding: Adding,
): void {
  const { args, given } = adding;
  for (const { name, value } of all) {
    if (value === null && addGlobal(file, name, adding)) continue;
    if (args.has(name)) continue;
    const known = Object.fromEntries([...args.values()].map((one) => [one.name, one.value]));
    const own = expandedOr(
      value ?? given.globals[name] ?? "",
      { ...given.globals, ...known },
      file,
    );
    const description = describedBy(comments, name);
    args.set(name, { name, value: given.buildArgs[name] ?? own, location, description });
  }
}

/** What cannot be expanded is told where it is built. */
function expandedOr(
  text: string,
  values: Readonly<Record<string, string>>,
  { escape }: Dockerfile,
): string {
  try {
    return expandWord(text, values, escape).text;
  } catch {
    return text;
  }
}

function addMounts(
  { mounts, location }: Extract<Instruction, { kind: "run" }>,
  found: { secrets: Map<string, AskedParameter>; agents: Map<string, AskedParameter> },
): void {
  for (const text of mounts) {
    const mount = mountIn(text);
    if (mount === null) continue;
    const { type, id, target, required } = mount;
    const isSecret = type === "secret";
    if (!isSecret && type !== "ssh") continue;
    const name = id !== "" ? id : isSecret ? (target.split("/").at(-1) ?? "") : "default";
    const all = isSecret ? found.secrets : found.agents;
    const isRequired = required || all.get(name)?.isRequired === true;
    all.set(name, { name, isRequired, location: all.get(name)?.location ?? location });
  }
}

function mountIn(text: string): ReturnType<typeof parseMount> | null {
  try {
    return parseMount(text);
  } catch {
    // Variables may make sense of it when it is built.
    return null;
  }
}
