/** Lint: variables that are used and that nobody has given a value. */
import type { Dockerfile, Instruction, Stage } from "./instruction.ts";
import type { LintFacts, Report } from "./lint.ts";
import { suggestion } from "./suggest.ts";

const AUTOMATIC =
  /^(?:(?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE|BUILDKIT_\w+|SOURCE_DATE_EPOCH)$/;
/** The ones worth a suggestion. */
export const AUTOMATIC_NAMES = ["TARGET", "BUILD"].flatMap((prefix) =>
  ["PLATFORM", "OS", "ARCH", "VARIANT"].map((name) => prefix + name),
);
const PROXY = /^(?:http|https|ftp|no|all)_proxy$/i;
export const isAutomatic = (name: string): boolean => AUTOMATIC.test(name);

/** Names of variables that have no default of their own. */
export function* variablesIn(text: string): Generator<string> {
  for (const [whole, bare, braced] of text.matchAll(
    /(?<!\\)\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:[^}]*)\})/g,
  )) {
    if (/^\$\{\w+:?[-+?]/.test(whole)) continue;
    yield bare ?? braced ?? "";
  }
}

/** Words of the instructions in which variables have values. */
function textsOf(instruction: Instruction): readonly string[] {
  switch (instruction.kind) {
    case "env":
    case "label":
      return instruction.pairs.map(({ value }) => value);
    case "copy":
    case "add":
      return [...instruction.sources, instruction.destination, instruction.chown];
    case "workdir":
      return [instruction.path];
    case "user":
      return [instruction.user];
    case "expose":
      return instruction.ports;
    case "volume":
      return instruction.paths;
    case "stopsignal":
      return [instruction.signal];
    case "arg":
      return instruction.arguments.map(({ value }) => value ?? "");
    case "run":
    case "cmd":
    case "entrypoint":
    case "shell":
    case "healthcheck":
    case "onbuild":
    case "maintainer":
      return [];
  }
}

export function lintVariables(
  { stages }: Dockerfile,
  stage: Stage,
  { report, variablesOf }: Pick<LintFacts, "variablesOf"> & { report: Report },
): void {
  const lineage = lineageOf(stages, stage);
  const base = lineage[0]?.base ?? "";
  // What a base image brings may not be known: then nothing is said.
  const brought = base.toLowerCase() === "scratch" ? [] : variablesOf(base);
  if (brought === null) return;
  const known = new Set(["PATH", "HOME", "HOSTNAME", "TERM", ...brought]);
  for (const each of lineage) {
    for (const instruction of each.instructions) {
      if (each === stage) warnOfMissing(instruction, known, report);
      if (instruction.kind === "arg" && each === stage) {
        for (const { name } of instruction.arguments) known.add(name);
      }
      if (instruction.kind === "env") for (const { name } of instruction.pairs) known.add(name);
    }
  }
}

/** The stages a stage is built on, lowest first. */
export function lineageOf(stages: readonly Stage[], stage: Stage): Stage[] {
  const lineage = [stage];
  for (;;) {
    const lowest = lineage[0] ?? stage;
    const base = lowest.base.toLowerCase();
    const below = stages
      .slice(0, stages.indexOf(lowest))
      .findLast(({ name }) => name !== "" && name === base);
    if (below === undefined) return lineage;
    lineage.unshift(below);
  }
}

function warnOfMissing(instruction: Instruction, known: ReadonlySet<string>, report: Report): void {
  for (const text of textsOf(instruction)) {
    for (const name of variablesIn(text)) {
      if (known.has(name) || isAutomatic(name) || PROXY.test(name)) continue;
      const near = suggestion(
        `$${name}`,
        [...known].map((each) => `$${each}`),
      );
      const message = `Usage of undefined variable '$${name}'${near}`;
      report("UndefinedVar", message, instruction.location);
    }
  }
}
