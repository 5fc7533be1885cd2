/**
 * What is allowed and still worth a word: BuildKit's lint rules, by their names, with its sentences.
 * Source: docs.docker.com/reference/build-checks.
 */
import type { Dockerfile, Instruction, Location, Stage } from "./instruction.ts";

export interface LintWarning {
  readonly rule: string;
  readonly message: string;
  readonly location: Location;
}

type Report = (rule: string, message: string, location: Location) => void;

/** Every warning the `# check` directive does not skip, in the order of lines. */
export function lintDockerfile(file: Dockerfile): LintWarning[] {
  const found: LintWarning[] = [];
  const { skip, skipAll } = file.check;
  const skipped = new Set(skip.map((rule) => rule.toLowerCase()));
  if (skipAll) return found;
  const report: Report = (rule, message, location) => {
    if (!skipped.has(rule.toLowerCase())) found.push({ rule, message, location });
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
    lintVariables(file, stage, report);
  }
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
      report("UndefinedArgInFrom", `FROM argument '${name}' is not declared`, location);
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

const AUTOMATIC =
  /^(?:(?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE|BUILDKIT_\w+|SOURCE_DATE_EPOCH)$/;
const PROXY = /^(?:http|https|ftp|no|all)_proxy$/i;
const isAutomatic = (name: string): boolean => AUTOMATIC.test(name);

/** Names of variables that have no default of their own. */
function* variablesIn(text: string): Generator<string> {
  for (const [whole, bare, braced] of text.matchAll(
    /(?<!\\)\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:[^}]*)\})/g,
  )) {
    if (/^\$\{\w+:?[-+?]/.test(whole)) continue;
    yield bare ?? braced ?? "";
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

function lintVariables({ stages }: Dockerfile, stage: Stage, report: Report): void {
  const known = new Set(["PATH", "HOME", "HOSTNAME", "TERM"]);
  // What a base image brings is not known here: only a stage from scratch, or from one, can be judged.
  const lineage = lineageOf(stages, stage);
  if (lineage === null) return;
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

/** The stages a stage is built on, lowest first; null when an image lies below. */
function lineageOf(stages: readonly Stage[], stage: Stage): Stage[] | null {
  const lineage = [stage];
  for (let base = stage.base.toLowerCase(); base !== "scratch";) {
    const lowest = lineage[0] ?? stage;
    const below = stages
      .slice(0, stages.indexOf(lowest))
      .findLast(({ name }) => name !== "" && name === base);
    if (below === undefined) return null;
    lineage.unshift(below);
    base = below.base.toLowerCase();
  }
  return lineage;
}

function warnOfMissing(instruction: Instruction, known: ReadonlySet<string>, report: Report): void {
  for (const text of textsOf(instruction)) {
    for (const name of variablesIn(text)) {
      if (known.has(name) || isAutomatic(name) || PROXY.test(name)) continue;
      report("UndefinedVar", `Usage of undefined variable '$${name}'`, instruction.location);
    }
  }
}
