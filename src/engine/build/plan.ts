/**
 * Which stages a build needs, and in which order: the target and, from there, every stage it is built on or copies
 * from. Names of stages win over names of images; a circle is told before anything is built. Pure.
 */
import { EngineError, invalid, sentenceOf } from "#base";
import {
  type Dockerfile,
  expandWord,
  FaultyLine,
  type Instruction,
  type Stage,
  suggestion,
} from "#engine/build/dockerfile";
import { formatReference, parsePlatform, parseReference, withDefaultTag } from "#oci";

import { contextKey } from "./context-name.ts";
import type { PlannedStep } from "./events.ts";
import { located } from "./global-arguments.ts";
import { type FileSource, sourcesOf, triggerSources } from "./triggers.ts";

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
    /** What ONBUILD left in an image, as far as that is known. */
    triggersOf?: (image: string, platform: string) => readonly string[];
    /** Stages that others turned out to need. */
    wanted?: readonly WantedStage[];
  },
): BuildPlan {
  const { target, globals, contexts, triggersOf = () => [], wanted: late = [] } = options;
  const isContext = (name: string): boolean =>
    contexts !== undefined && contextKey(contexts, name) !== null;
  const planned = file.stages.map((stage, index): PlannedStage => {
    const { name, ...one } = planStage(file, stage, index, globals);
    return isContext(name) ? { ...one, base: { context: name } } : one;
  });
  const find = (name: string): number | null =>
    isContext(name) ? null : findStage(file.stages, name);
  const wanted = target === "" ? file.stages.length - 1 : findNamed(file.stages, target);
  if (wanted < 0) {
    const names = file.stages.flatMap(({ name }, at) => [name === "" ? `stage-${at}` : name]);
    const near = suggestion(target, names);
    throw invalid(`target stage ${JSON.stringify(target)} could not be found${near}`);
  }
  const lookup = { find, isContext, count: planned.length };
  const needs = planned.map((one) => [
    ...needsOf(one, lookup),
    ...triggerNeeds(one, { planned, triggersOf, lookup }),
    ...late.filter(({ by }) => by === one.index).map((need) => ({ ...need, at: one.stage })),
  ]);
  refuseCircles(planned, needs);
  const order: PlannedStage[] = [];
  const done = new Set<number>();
  const visit = (index: number): void => {
    const one = planned[index];
    if (one === undefined || done.has(index)) return;
    done.add(index);
    for (const need of needs[index] ?? []) {
      refuseLater(one, planned[need.stage], need);
      visit(need.stage);
    }
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

/** By name, the last of several; -1 for none. */
const findNamed = (stages: readonly Stage[], name: string): number =>
  stages.findLastIndex((stage) => stage.name !== "" && stage.name === name.toLowerCase());

/** By name, or by number where no name is meant. */
function findStage(stages: readonly Stage[], name: string): number | null {
  const named = findNamed(stages, name);
  if (named >= 0) return named;
  const index = /^\d{1,6}$/.test(name) ? Number(name) : -1;
  return index >= 0 && index < stages.length ? index : null;
}

/** What an image's trigger reads, found out when the image was there. */
export interface WantedStage {
  /** Who needs it. */
  readonly by: number;
  readonly stage: number;
  readonly from: string;
  readonly target: string | null;
}

/** A stage that nobody knew to be needed: the plan is made again with it. */
export class StageWanted extends EngineError {
  readonly wanted: WantedStage;

  constructor(wanted: WantedStage) {
    super("invalid", `stage ${wanted.from} could not be found`);
    this.wanted = wanted;
  }
}

/** What a stage needs of another one, and where it says so: at its FROM for what it stands on. */
interface Need {
  readonly stage: number;
  readonly at: Pick<Instruction, "location"> | null;
  /** As it is written. */
  readonly from: string;
  /** Of a mount. */
  readonly target: string | null;
}

/** Every stage is looked at, whether it is built or not. @throws FaultyLine */
function refuseCircles(
  planned: readonly PlannedStage[],
  needs: readonly (readonly Need[])[],
): void {
  const seen = new Set<number>();
  const path = new Set<number>();
  const visit = (index: number): Need | null => {
    if (seen.has(index)) return null;
    seen.add(index);
    path.add(index);
    for (const need of needs[index] ?? []) {
      const closing = path.has(need.stage) ? need : visit(need.stage);
      if (closing !== null) return closing;
    }
    path.delete(index);
    return null;
  };
  for (const { stage, index } of planned) {
    const closing = visit(index);
    if (closing === null) continue;
    const name = stage.name === "" ? `stage-${index}` : stage.name;
    const { location } = closing.at ?? stage;
    throw new FaultyLine(location, `circular dependency detected on stage: ${name}`);
  }
}

/** Stages are built in the order of the file. @throws FaultyLine */
function refuseLater(one: PlannedStage, other: PlannedStage | undefined, need: Need): void {
  const { at, from, target } = need;
  if (other === undefined || at === null || other.index < one.index) return;
  const name = one.stage.name === "" ? `stage-${one.index}` : one.stage.name;
  const why =
    target === null
      ? `cannot copy from stage ${JSON.stringify(from)}, it needs to be defined before current stage ${JSON.stringify(name)}`
      : `cannot mount from stage ${JSON.stringify(from)} to ${JSON.stringify(target)}, stage needs to be defined before current command`;
  throw new FaultyLine(at.location, why);
}

function planStage(
  file: Dockerfile,
  stage: Stage,
  index: number,
  globals: Readonly<Record<string, string>>,
): PlannedStage & { readonly name: string } {
  const { location } = stage;
  const expand = (text: string): string =>
    located(location, () => expandWord(text, globals, file.escape).text);
  const name = expand(stage.base);
  if (name === "") {
    throw new FaultyLine(location, `base name (${stage.base}) should not be blank`);
  }
  const before = file.stages.slice(0, index);
  const found = before.findLastIndex(
    (each) => each.name !== "" && each.name === name.toLowerCase(),
  );
  const platform = platformOf(stage, { globals, expand });
  return { stage, index, platform, name, base: found < 0 ? { image: name } : { stage: found } };
}

function platformOf(
  { platform: written, location }: Stage,
  { globals, expand }: { globals: object; expand: (text: string) => string },
): string {
  if (written === "") return "";
  const platform = expand(written);
  if (platform === "") {
    const [, name = ""] = /\$\{?(\w+)/.exec(written) ?? [];
    const near = suggestion(name, Object.keys(globals));
    throw new FaultyLine(location, `empty platform value from expression ${written}${near}`);
  }
  try {
    parsePlatform(platform);
  } catch (cause) {
    if (!(cause instanceof EngineError)) throw cause;
    const why = `failed to parse platform ${written}: ${sentenceOf(cause)}`;
    throw new FaultyLine(location, why);
  }
  return platform;
}

interface Lookup {
  readonly find: (name: string) => number | null;
  readonly isContext: (name: string) => boolean;
  readonly count: number;
}

/** @throws FaultyLine */
function needsOf({ stage, base }: PlannedStage, lookup: Lookup): Need[] {
  const needs: Need[] =
    "stage" in base ? [{ stage: base.stage, at: null, from: "", target: null }] : [];
  for (const instruction of stage.instructions) {
    needs.push(...needsAt(instruction, sourcesOf(instruction), lookup));
  }
  return needs;
}

function needsAt(
  at: Pick<Instruction, "location">,
  sources: readonly FileSource[],
  lookup: Lookup,
): Need[] {
  return sources.flatMap(({ from, target }) => {
    if (target === null) checkFrom(at, from, lookup);
    const index = from === "" ? null : lookup.find(from);
    return index === null ? [] : [{ stage: index, at, from, target }];
  });
}

/** What ONBUILD of the stage's base will read, by names of this file. */
function triggerNeeds(
  { stage, base, platform }: PlannedStage,
  known: {
    readonly planned: readonly PlannedStage[];
    readonly triggersOf: (image: string, platform: string) => readonly string[];
    readonly lookup: Lookup;
  },
): Need[] {
  if ("context" in base) return [];
  const triggers =
    "image" in base
      ? known.triggersOf(base.image, platform)
      : (known.planned[base.stage]?.stage.instructions ?? []).flatMap((each) =>
          each.kind === "onbuild" ? [each.trigger] : [],
        );
  return needsAt(stage, triggerSources(triggers), known.lookup);
}

/** `COPY --from`: no variables, and no number of a stage that is not there. */
function checkFrom(
  { location }: Pick<Instruction, "location">,
  from: string,
  { isContext, count }: Lookup,
): void {
  const value = located(location, () => expandWord(from, {}).text);
  if (value !== from) {
    const why =
      "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
    throw new FaultyLine(location, why);
  }
  if (/^\d+$/.test(from) && !isContext(from) && Number(from) >= count) {
    throw new FaultyLine(location, `invalid stage index ${from}`);
  }
}
