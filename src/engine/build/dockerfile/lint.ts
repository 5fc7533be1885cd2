/**
 * What is allowed and still worth a word: BuildKit's lint rules, by their names, with its sentences.
 * Source: docs.docker.com/reference/build-checks.
 */
import { lintDefinitions, lintSources, lintWorkingDirectory } from "./lint-context.ts";
import { AUTOMATIC_NAMES, isAutomatic, lintVariables, variablesIn } from "./lint-variables.ts";
import type { CheckDirective, Dockerfile, Instruction, Location, Stage } from "./instruction.ts";
import { suggestion } from "./suggest.ts";

export interface LintWarning {
  readonly rule: string;
  readonly message: string;
  readonly location: Location;
}

export type Report = (rule: string, message: string, location: Location) => void;

/** What is known beside the text. */
export interface LintFacts {
  /** Names of the variables that a base image brings; null where that is not known. */
  readonly variablesOf: (base: string) => readonly string[] | null;
  /** Whether the ignore file names a path of the context; null where nothing can be said. */
  readonly isIgnored: ((path: string) => boolean) | null;
}

const NO_FACTS: LintFacts = { variablesOf: () => null, isIgnored: null };
/** Only for who asks for them. */
const EXPERIMENTAL = new Set(["CopyIgnoredFile", "InvalidDefinitionDescription"]);

/** Every warning that `check` does not skip, in the order of lines. */
export function lintDockerfile(
  file: Dockerfile,
  facts: LintFacts = NO_FACTS,
  check: CheckDirective = file.check,
): LintWarning[] {
  const found: LintWarning[] = [];
  const { skip, skipAll, experimental } = check;
  const skipped = new Set(skip.map((rule) => rule.toLowerCase()));
  const wanted = new Set(experimental.map((rule) => rule.toLowerCase()));
  if (skipAll) return found;
  const report: Report = (rule, message, location) => {
    const name = rule.toLowerCase();
    const isOff = EXPERIMENTAL.has(rule) && !wanted.has("all") && !wanted.has(name);
    if (!isOff && !skipped.has(name)) found.push({ rule, message, location });
  };
  for (const location of file.emptyContinuations) {
    report("NoEmptyContinuation", "Empty continuation line", location);
  }
  lintStages(file, report);
  lintCasing(file, report);
  lintGlobalArguments(file, report);
  for (const stage of file.stages) {
    lintStage(stage, report);
    for (const instruction of stage.instructions) lintInstruction(instruction, report);
    lintVariables(file, stage, { report, variablesOf: facts.variablesOf });
    lintWorkingDirectory(file, stage, report);
    if (facts.isIgnored !== null) lintSources(stage, facts.isIgnored, report);
  }
  lintDefinitions(file, report);
  return found.toSorted((a, b) => a.location.startLine - b.location.startLine);
}

const RESERVED = new Set(["context", "scratch"]);

function lintStages({ stages }: Dockerfile, report: Report): void {
  const names = new Set<string>();
  for (const { name, asWritten, keyword, asKeyword, location, platform, base } of stages) {
    if (asWritten !== name) {
      report("StageNameCasing", `Stage name '${asWritten}' should be lowercase`, location);
    }
    if (asKeyword !== "" && isUpper(asKeyword) !== isUpper(keyword)) {
      report(
        "FromAsCasing",
        `'${asKeyword}' and '${keyword}' keywords' casing do not match`,
        location,
      );
    }
    if (name !== "" && names.has(name)) {
      report(
        "DuplicateStageName",
        `Duplicate stage name "${name}", stage names should be unique`,
        location,
      );
    }
    if (RESERVED.has(name)) {
      report(
        "ReservedStageName",
        `Stage name should not use the same name as reserved stage "${name}"`,
        location,
      );
    }
    names.add(name);
    lintPlatform({ platform, base, names }, location, report);
  }
}

function lintPlatform(
  { platform, base, names }: { platform: string; base: string; names: ReadonlySet<string> },
  location: Location,
  report: Report,
): void {
  if (platform === "" || names.has(base)) return;
  if (/^\$\{?TARGETPLATFORM\}?$/.test(platform)) {
    report(
      "RedundantTargetPlatform",
      `Setting platform to predefined ${platform} in FROM is redundant as this is the default behavior`,
      location,
    );
  } else if (!platform.includes("$")) {
    report(
      "FromPlatformFlagConstDisallowed",
      `FROM --platform flag should not use constant value "${platform}"`,
      location,
    );
  }
}

const isUpper = (word: string): boolean => word === word.toUpperCase();

function lintCasing({ stages, globalArguments }: Dockerfile, report: Report): void {
  const all = [...globalArguments, ...stages.flatMap((stage) => [stage, ...stage.instructions])];
  const upper = all.filter(({ keyword }) => isUpper(keyword)).length;
  const lower = all.filter(({ keyword }) => keyword === keyword.toLowerCase()).length;
  if (upper === all.length || lower === all.length) return;
  const wanted = upper >= lower ? "uppercase" : "lowercase";
  for (const { keyword, location } of all) {
    const right = wanted === "uppercase" ? keyword.toUpperCase() : keyword.toLowerCase();
    if (keyword === right) continue;
    report(
      "ConsistentInstructionCasing",
      `Command '${keyword}' should match the case of the command majority (${wanted})`,
      location,
    );
  }
}

function lintGlobalArguments({ stages, globalArguments }: Dockerfile, report: Report): void {
  const declared = new Map(
    globalArguments.flatMap((each) => each.arguments).map(({ name, value }) => [name, value]),
  );
  for (const { base, platform, location } of stages) {
    for (const name of [...variablesIn(base), ...variablesIn(platform)]) {
      if (declared.has(name) || isAutomatic(name)) continue;
      const near = suggestion(name, [...declared.keys(), ...AUTOMATIC_NAMES]);
      report("UndefinedArgInFrom", `FROM argument '${name}' is not declared${near}`, location);
    }
    const resolved = base.replaceAll(
      /\$\{?(\w+)\}?/g,
      (_, name: string) => declared.get(name) ?? "",
    );
    if (base.includes("$") && !base.includes(":-") && !/^[a-z0-9]/i.test(resolved)) {
      report(
        "InvalidDefaultArgInFrom",
        `Default value for ARG ${base} results in empty or invalid base image name`,
        location,
      );
    }
  }
}

const SINGLE = ["cmd", "entrypoint", "healthcheck"] as const;

function lintStage({ instructions }: Stage, report: Report): void {
  for (const kind of SINGLE) {
    const all = instructions.filter((instruction) => instruction.kind === kind);
    for (const { location } of all.slice(0, -1)) {
      report(
        "MultipleInstructionsDisallowed",
        `Multiple ${kind.toUpperCase()} instructions should not be used in the same stage because only the last one will be used`,
        location,
      );
    }
  }
  const shellSet = instructions.some(({ kind }) => kind === "shell");
  if (shellSet) return;
  for (const instruction of instructions) {
    if (instruction.kind !== "cmd" && instruction.kind !== "entrypoint") continue;
    if (instruction.command.form === "exec" || instruction.command.words.length === 0) continue;
    const name = instruction.kind.toUpperCase();
    report(
      "JSONArgsRecommended",
      `JSON arguments recommended for ${name} to prevent unintended behavior related to OS signals`,
      instruction.location,
    );
  }
}

const SECRET_WORDS =
  /(?:^|_)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const PUBLIC_WORDS = /public/i;

function lintInstruction(instruction: Instruction, report: Report): void {
  const { location, kind } = instruction;
  if (kind === "maintainer") {
    const message = "Maintainer instruction is deprecated in favor of using label";
    report("MaintainerDeprecated", message, location);
  } else if (kind === "env" || kind === "label") {
    const name = kind.toUpperCase();
    if (instruction.legacy) {
      report(
        "LegacyKeyValueFormat",
        `"${name} key=value" should be used instead of legacy "${name} key value" format`,
        location,
      );
    }
    if (kind === "env") {
      for (const pair of instruction.pairs) lintSecret("ENV", pair.name, location, report);
    }
  } else if (kind === "arg") {
    for (const { name } of instruction.arguments) lintSecret("ARG", name, location, report);
  } else if (kind === "expose") {
    for (const port of instruction.ports) lintPort(port, location, report);
  }
}

function lintSecret(kind: string, name: string, location: Location, report: Report): void {
  if (!SECRET_WORDS.test(name) || PUBLIC_WORDS.test(name)) return;
  report(
    "SecretsUsedInArgOrEnv",
    `Do not use ARG or ENV instructions for sensitive data (${kind} "${name}")`,
    location,
  );
}

function lintPort(port: string, location: Location, report: Report): void {
  const [, protocol = ""] = port.split("/");
  if (protocol !== protocol.toLowerCase() && !protocol.includes("$")) {
    report(
      "ExposeProtoCasing",
      `Defined protocol '${protocol}' in EXPOSE instruction should be lowercase`,
      location,
    );
  }
  if (port.includes(":") && !port.includes("$")) {
    report(
      "ExposeInvalidFormat",
      `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`,
      location,
    );
  }
}
