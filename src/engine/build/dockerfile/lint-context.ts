/** Lint: what depends on more than one instruction, or on the context. */
import type { Dockerfile, Location, Stage } from "./instruction.ts";
import type { Report } from "./lint.ts";
import { lineageOf } from "./lint-variables.ts";

/** The first WORKDIR of a stage and of those it is built on: the others stand on it. */
export function lintWorkingDirectory({ stages }: Dockerfile, stage: Stage, report: Report): void {
  const isSet = lineageOf(stages, stage)
    .slice(0, -1)
    .some(({ instructions }) => instructions.some(({ kind }) => kind === "workdir"));
  const first = stage.instructions.find(({ kind }) => kind === "workdir");
  if (isSet || first?.kind !== "workdir" || /^["']?[/$]/.test(first.path)) return;
  const path = JSON.stringify(first.path);
  const message = `Relative workdir ${path} can have unexpected results if the base image changes`;
  report("WorkdirRelativePath", message, first.location);
}

/** COPY and ADD of files of the context that never arrive. */
export function lintSources(
  { instructions }: Stage,
  isIgnored: (path: string) => boolean,
  report: Report,
): void {
  for (const instruction of instructions) {
    if (instruction.kind !== "copy" && instruction.kind !== "add") continue;
    if (instruction.kind === "copy" && instruction.from !== "") continue;
    const verb = instruction.kind === "copy" ? "Copy" : "Add";
    for (const source of instruction.sources) {
      if (source.includes("$") || source.includes("://")) continue;
      const path = source.replace(/^(?:\.?\/)+/, "").replace(/\/+$/, "");
      if (path === "" || path === "." || !isIgnored(path)) continue;
      const message = `Attempting to ${verb} file ${JSON.stringify(path)} that is excluded by .dockerignore`;
      report("CopyIgnoredFile", message, instruction.location);
    }
  }
}

/** A comment right above a stage or an ARG is taken for its description, which begins with its name. */
export function lintDefinitions({ globalArguments, stages }: Dockerfile, report: Report): void {
  const check = (
    kind: string,
    names: readonly string[],
    { comments, location }: { comments: readonly string[]; location: Location },
  ): void => {
    const [first, ...others] = names;
    const word = comments.at(-1)?.split(" ", 1)[0];
    if (first === undefined || word === undefined || names.includes(word)) return;
    const example = others.length > 0 ? "<arg_key>" : first;
    const message = `Comment for ${kind} should follow the format: \`# ${example} <description>\``;
    report("InvalidDefinitionDescription", message, location);
  };
  const all = [...globalArguments, ...stages.flatMap(({ instructions }) => instructions)];
  for (const instruction of all) {
    if (instruction.kind !== "arg") continue;
    check(
      "ARG",
      instruction.arguments.map(({ name }) => name),
      instruction,
    );
  }
  for (const stage of stages) check("FROM", stage.name === "" ? [] : [stage.asWritten], stage);
}
