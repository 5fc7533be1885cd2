/**
 * Which stages a build needs, and in which order: the target and, from there, every stage it is built on or copies
 * from. Names of stages win over names of images; a circle is told before anything is built. Pure.
 */
import { invalid } from "#base";
import {
  type Dockerfile,
  expandWord,
  FaultyLine,
  type Instruction,
  parseMount,
  type Stage,
} from "#engine/build/dockerfile";
import { formatReference, parseReference, withDefaultTag } from "#oci";

import type { PlannedStep } from "./events.ts";

export interface PlannedStage {
  readonly stage: Stage;
  /** Its place in the file, from 0: `--from=0`. */
  readonly index: number;
  /** What FROM says, expanded: a stage before, or an image. */
  readonly base:
    | { readonly stage: number }
    | { readonly image: string }
    | { readonly context: string };
  readonly platform: string;
}

export interface BuildPlan {
  /** What comes first needs nothing that comes later. The last is the target. */
  readonly stages: readonly PlannedStage[];
  /** Instructions of all stages, FROM and global ARG included. */
  readonly total: number;
  readonly find: (name: string) => number | null;
}

/** @throws EngineError "invalid" */
export function planBuild(
  file: Dockerfile,
  options: {
    target: string;
    globals: Readonly<Record<string, string>>;
    /** Names of `--build-context`: they go before stages and images. */
    contexts?: { has(name: string): boolean };
  },
): BuildPlan {
  const { target, globals, contexts } = options;
  const isContext = (name: string): boolean => contexts?.has(name) === true;
  const planned = file.stages.map((stage, index): PlannedStage => {
    const { name, ...one } = planStage(file, stage, index, globals);
    return isContext(name) ? { ...one, base: { context: name } } : one;
  });
  const find = (name: string): number | null =>
    isContext(name) ? null : findStage(file.stages, name);
  const wanted = target === "" ? file.stages.length - 1 : findStage(file.stages, target);
  if (wanted === null) throw invalid(`target stage "${target}" could not be found`);
  const order: PlannedStage[] = [];
  const state = new Map<number, "open" | "done">();
  const visit = (index: number): void => {
    const one = planned[index];
    if (one === undefined || state.get(index) === "done") return;
    if (state.get(index) === "open") {
      const name = one.stage.name === "" ? String(index) : one.stage.name;
      throw new FaultyLine(one.stage.location, `circular dependency detected on stage: ${name}`);
    }
    state.set(index, "open");
    for (const needed of needsOf(one, find)) visit(needed);
    state.set(index, "done");
    order.push(one);
  };
  visit(wanted);
  const total = order.reduce((sum, { stage }) => sum + 1 + stage.instructions.length, 0);
  return { stages: order, total: total + file.globalArguments.length, find };
}

/** `busybox` as `docker.io/library/busybox:latest`; what is no name of an image is told where it is looked up. */
function wholeName(name: string): string {
  try {
    return formatReference(withDefaultTag(parseReference(name)));
  } catch {
    return name;
  }
}

/** Every step in the order of their numbers. */
export function stepsOf({ stages }: BuildPlan, file: Dockerfile): PlannedStep[] {
  const planned = stages.flatMap(({ stage, index, base }) => {
    const name = stage.asWritten === "" ? index : stage.asWritten;
    const isLink = "stage" in base || ("image" in base && base.image === "scratch");
    const text = "image" in base ? `FROM ${wholeName(base.image)}` : stage.original;
    const first = { kind: "from" as const, text, location: stage.location, stage: name, isLink };
    const rest = stage.instructions.map(({ kind, original, location }) => {
      return { kind, text: original, location, stage: name, isLink: false };
    });
    return [first, ...rest];
  });
  const before = file.globalArguments.length;
  return planned.map((one, at) => ({ ...one, step: before + at + 1 }));
}

/** By name, the last of several; by number where no name is meant. */
function findStage(stages: readonly Stage[], name: string): number | null {
  const wanted = name.toLowerCase();
  const named = stages.findLastIndex((stage) => stage.name !== "" && stage.name === wanted);
  if (named >= 0) return named;
  const index = /^\d{1,6}$/.test(name) ? Number(name) : -1;
  return index >= 0 && index < stages.length ? index : null;
}

function planStage(
  file: Dockerfile,
  stage: Stage,
  index: number,
  globals: Readonly<Record<string, string>>,
): PlannedStage & { readonly name: string } {
  const { location } = stage;
  const expand = (text: string): string => {
    try {
      return expandWord(text, globals, file.escape).text;
    } catch (cause) {
      throw new FaultyLine(
        location,
        `dockerfile parse error on line ${location.startLine}: failed to process ${JSON.stringify(text)}: ${(cause as Error).message}`,
      );
    }
  };
  const name = expand(stage.base);
  if (name === "") {
    throw new FaultyLine(location, `base name (${stage.base}) should not be blank`);
  }
  const before = file.stages.slice(0, index);
  const found = before.findLastIndex(
    (each) => each.name !== "" && each.name === name.toLowerCase(),
  );
  const platform = expand(stage.platform);
  return { stage, index, platform, name, base: found < 0 ? { image: name } : { stage: found } };
}

function needsOf({ stage, base }: PlannedStage, find: (name: string) => number | null): number[] {
  const needed = "stage" in base ? [base.stage] : [];
  for (const instruction of stage.instructions) {
    for (const from of sourcesOf(instruction)) {
      const index = from === "" ? null : find(from);
      if (index !== null) needed.push(index);
    }
  }
  return needed;
}

/** The stages or images that an instruction reads. */
function sourcesOf(instruction: Instruction): string[] {
  if (instruction.kind === "copy") return [instruction.from];
  if (instruction.kind !== "run") return [];
  return instruction.mounts.flatMap((text) => {
    try {
      return [parseMount(text).from];
    } catch {
      // Told when the step is built: its variables may make sense of it.
      return [];
    }
  });
}
