/**
 * What is allowed and still worth a word: BuildKit's lint rules, by their names, with its sentences. Here those of
 * the text itself; those that ask what a word's value is: lint-values.ts.
 * Source: docs.docker.com/reference/build-checks.
 */
import type { Environment } from "./expand.ts";
import type { CheckDirective, Dockerfile, Instruction, Location, Stage } from "./instruction.ts";
import { lintValues } from "./lint-values.ts";
import { readCheckComment } from "./lines.ts";

export interface LintWarning {
  readonly rule: string;
  readonly message: string;
  readonly location: Location;
}

export type Report = (rule: string, message: string, location: Location) => void;

/** What a base image brings. */
export interface ImageFacts {
  readonly environment: Environment;
  readonly hasShell: boolean;
  /** As `linux/amd64`, where it is not the one that was asked for. */
  readonly otherPlatform: string | null;
}

/** What is known beside the text. */
export interface LintFacts {
  /** What every build knows of its platforms. */
  readonly automatic: Environment;
  /** The same, and what ARG before the first FROM has set. */
  readonly globals: Environment;
  readonly buildArgs: Readonly<Record<string, string | null>>;
  /** null where it is not known: then nothing is said of variables. */
  readonly imageOf: (
    base: string,
    platform: string,
    /** Of the FROM; null of a stage that is not built. */
    location: Location | null,
  ) => ImageFacts | null;
  readonly isReference: (name: string) => boolean;
  readonly platformOf: (text: string) => { os: string; architecture: string } | null;
  /** Whether the ignore file leaves a path of the context out; null where nothing can be said. */
  readonly isIgnored: ((path: string) => boolean) | null;
  /** The stages that are built, by their place in the file; null: every one. */
  readonly stages: ReadonlySet<number> | null;
}

/** Only for who asks for them. */
const EXPERIMENTAL = new Set(["InvalidDefinitionDescription"]);

/** Every warning that `check` does not skip, in the order of lines. */
export function lintDockerfile(
  file: Dockerfile,
  facts: LintFacts,
  check: CheckDirective = file.check,
): LintWarning[] {
  const found: LintWarning[] = [];
  const reporter =
    (own: CheckDirective | null): Report =>
    (rule, message, location) => {
      const isOn = EXPERIMENTAL.has(rule)
        ? asksFor(check, rule) || (own !== null && asksFor(own, rule))
        : !skips(check, rule) && (own === null || !skips(own, rule));
      if (isOn) found.push({ rule, message, location });
    };
  const report = reporter(null);
  /** What a comment right above it says holds for one instruction alone. */
  const reportOf = ({ comments }: { comments: readonly string[] }): Report =>
    reporter(comments.map(readCheckComment).find((each) => each !== null) ?? null);
  for (const location of file.emptyContinuations) {
    report("NoEmptyContinuation", "Empty continuation line", location);
  }
  for (const argument of file.globalArguments) lintDefinition(argument, reportOf(argument));
  for (const stage of file.stages) {
    lintFrom(stage, reportOf(stage));
    for (const each of stage.instructions) lintDefinition(each, reportOf(each));
  }
  lintNames(file, report);
  lintCasing(file, report);
  lintValues(file, facts, { report, reportOf });
  return found.toSorted((a, b) => a.location.startLine - b.location.startLine);
}

const skips = ({ skip, skipAll }: CheckDirective, rule: string): boolean =>
  skipAll || skip.includes(rule);
const asksFor = ({ experimental }: CheckDirective, rule: string): boolean =>
  experimental.includes("all") || experimental.includes(rule);

function lintFrom(stage: Stage, report: Report): void {
  const { name, asWritten, keyword, asKeyword, location } = stage;
  if (asWritten !== name) {
    report("StageNameCasing", `Stage name '${asWritten}' should be lowercase`, location);
  }
  const isLower = keyword === keyword.toLowerCase();
  const isUpper = keyword === keyword.toUpperCase();
  const wanted = isLower ? asKeyword.toLowerCase() : asKeyword.toUpperCase();
  if ((isLower || isUpper) && asKeyword !== wanted) {
    const message = `'${asKeyword}' and '${keyword}' keywords' casing do not match`;
    report("FromAsCasing", message, location);
  }
  if (name !== "") lintDescription("FROM", [name], stage, report);
}

function lintDefinition(instruction: Instruction, report: Report): void {
  if (instruction.kind === "maintainer") {
    const message = "Maintainer instruction is deprecated in favor of using label";
    report("MaintainerDeprecated", message, instruction.location);
  }
  if (instruction.kind !== "arg") return;
  const names = instruction.arguments.map(({ name }) => name);
  lintDescription("ARG", names, instruction, report);
}

/** A comment right above a stage or an ARG is taken for its description, which begins with its name. */
function lintDescription(
  kind: string,
  names: readonly string[],
  { comments, location }: { comments: readonly string[]; location: Location },
  report: Report,
): void {
  const [first, ...others] = names;
  const word = comments.at(-1)?.split(" ", 1)[0];
  if (first === undefined || word === undefined || names.includes(word)) return;
  const example = others.length > 0 ? "<arg_key>" : first;
  const message = `Comment for ${kind} should follow the format: \`# ${example} <description>\``;
  report("InvalidDefinitionDescription", message, location);
}

const RESERVED = new Set(["context", "scratch"]);

function lintNames({ stages }: Dockerfile, report: Report): void {
  const names = new Set<string>();
  for (const { name, location } of stages) {
    if (name === "") continue;
    if (RESERVED.has(name)) {
      const message = `Stage name should not use the same name as reserved stage "${name}"`;
      report("ReservedStageName", message, location);
    }
    if (names.has(name)) {
      const message = `Duplicate stage name "${name}", stage names should be unique`;
      report("DuplicateStageName", message, location);
    }
    names.add(name);
  }
}

function lintCasing({ stages }: Dockerfile, report: Report): void {
  const all = stages.flatMap((stage) => [stage, ...stage.instructions]);
  const lower = all.filter(({ keyword }) => keyword === keyword.toLowerCase()).length;
  const upper = all.filter(({ keyword }) => keyword === keyword.toUpperCase()).length;
  const wanted = lower > upper ? "lowercase" : "uppercase";
  for (const { keyword, location } of all) {
    const right = wanted === "uppercase" ? keyword.toUpperCase() : keyword.toLowerCase();
    if (keyword === right) continue;
    const message = `Command '${keyword}' should match the case of the command majority (${wanted})`;
    report("ConsistentInstructionCasing", message, location);
  }
}
