/** Lint that follows the values of words through the stages, as the build will. */
import { expandHeredoc, expandWord, expandWords, type Expansion } from "./expand.ts";
import type { Dockerfile, Instruction, Location, Stage } from "./instruction.ts";
import type { LintFacts, Report } from "./lint.ts";
import { parseMount } from "./mount.ts";
import { suggestion } from "./suggest.ts";

interface Reporters {
  readonly report: Report;
  readonly reportOf: (instruction: { comments: readonly string[] }) => Report;
}

/** A stage so far. */
interface StageFacts {
  environment: Record<string, string>;
  /** Every ARG that was declared, with a value or without. */
  readonly args: Set<string>;
  hasShell: boolean;
  hasDirectory: boolean;
  /** What its base brings is known. */
  readonly isKnown: boolean;
}

const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

export function lintValues(file: Dockerfile, facts: LintFacts, reporters: Reporters): void {
  lintDefaultBases(file, facts, reporters.report);
  const done = new Map<string, StageFacts>();
  for (const [index, stage] of file.stages.entries()) {
    const base = lintBase(file, stage, { facts, report: reporters.reportOf(stage) });
    // What is wrong with it is an error of the build.
    if (base === null) return;
    const isBuilt = facts.stages === null || facts.stages.has(index);
    const state = stateOn(base, { done, facts, stage, report: isBuilt ? reporters.report : null });
    if (isBuilt) new StageLint(file, state, facts).run(stage, reporters);
    if (stage.name !== "") done.set(stage.name, state);
  }
}

function attempt<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}

/** Images that would have no name if nobody gave an argument. */
function lintDefaultBases(file: Dockerfile, facts: LintFacts, report: Report): void {
  const values: Record<string, string> = { ...facts.automatic };
  const expand = (text: string) => attempt(() => expandWord(text, values, file.escape).text);
  for (const instruction of file.globalArguments) {
    for (const { name, value } of instruction.arguments) {
      const text = value === null ? null : expand(value);
      if (value !== null && text === null) return;
      if (text !== null) values[name] = text;
    }
  }
  for (const { base, location } of file.stages) {
    const name = expand(base);
    if (name === null) return;
    if (facts.isReference(name)) continue;
    const message = `Default value for ARG ${base} results in empty or invalid base image name`;
    report("InvalidDefaultArgInFrom", message, location);
  }
}

interface Base {
  readonly name: string;
  readonly platform: string;
}

function lintBase(
  file: Dockerfile,
  { base, platform, name, location }: Stage,
  { facts, report }: { facts: LintFacts; report: Report },
): Base | null {
  const declared = file.globalArguments.flatMap((each) => each.arguments.map((one) => one.name));
  const names = [...declared, ...Object.keys(facts.globals)];
  const expand = (text: string): Expansion | null => {
    const expansion = attempt(() => expandWord(text, facts.globals, file.escape));
    for (const missing of expansion?.undefined ?? []) {
      if (names.includes(missing)) continue;
      const near = suggestion(missing, names);
      report("UndefinedArgInFrom", `FROM argument '${missing}' is not declared${near}`, location);
    }
    return expansion;
  };
  const image = expand(base);
  if (image === null || image.text === "") return null;
  if (platform === "") return { name: image.text, platform: "" };
  const asked = expand(platform);
  if (asked === null) return null;
  lintPlatform({ written: platform, asked, name, location }, facts, report);
  return { name: image.text, platform: asked.text };
}

function lintPlatform(
  stage: { written: string; asked: Expansion; name: string; location: Location },
  { globals, platformOf }: LintFacts,
  report: Report,
): void {
  const { written, asked, name, location } = stage;
  if (asked.undefined.length > 0) return;
  const [only, ...others] = asked.defined;
  if (only === "TARGETPLATFORM" && others.length === 0 && asked.text === globals[only]) {
    const message = `Setting platform to predefined ${written} in FROM is redundant as this is the default behavior`;
    report("RedundantTargetPlatform", message, location);
  }
  if (only !== undefined) return;
  const platform = platformOf(asked.text);
  // A stage that is called after its platform means it.
  if (platform === null || name.includes(platform.os) || name.includes(platform.architecture)) {
    return;
  }
  const message = `FROM --platform flag should not use constant value ${JSON.stringify(asked.text)}`;
  report("FromPlatformFlagConstDisallowed", message, location);
}

function stateOn(
  { name, platform }: Base,
  at: {
    done: ReadonlyMap<string, StageFacts>;
    facts: LintFacts;
    stage: Stage;
    report: Report | null;
  },
): StageFacts {
  const { done, facts, stage, report } = at;
  const below = done.get(name.toLowerCase());
  if (below !== undefined) {
    return { ...below, environment: { ...below.environment }, args: new Set(below.args) };
  }
  const location = report === null ? null : stage.location;
  const image = name === "scratch" ? null : facts.imageOf(name, platform, location);
  if (image !== null && image.otherPlatform !== null && report !== null) {
    const expected = platform === "" ? facts.globals["TARGETPLATFORM"] : platform;
    const message = `Base image ${name} was pulled with platform "${image.otherPlatform}", expected "${expected}" for current build`;
    report("InvalidBaseImagePlatform", message, stage.location);
  }
  return {
    environment: { PATH: DEFAULT_PATH, ...image?.environment },
    args: new Set(),
    hasShell: image?.hasShell ?? false,
    hasDirectory: false,
    isKnown: name === "scratch" || image !== null,
  };
}

const SINGLE: readonly string[] = ["cmd", "entrypoint", "healthcheck"];
const SECRET_WORDS =
  /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const HARMLESS_WORDS = /(?:_|^)(?:public|file|version)(?:_|$)/i;

class StageLint {
  readonly #file: Dockerfile;
  readonly #state: StageFacts;
  readonly #facts: LintFacts;
  readonly #last = new Map<string, Location>();

  constructor(file: Dockerfile, state: StageFacts, facts: LintFacts) {
    this.#file = file;
    this.#state = state;
    this.#facts = facts;
  }

  run({ instructions }: Stage, { reportOf }: Reporters): void {
    for (const instruction of instructions) {
      const report = reportOf(instruction);
      // What has no value is an error of the build.
      attempt(() => this.#instruction(instruction, report));
      if (SINGLE.includes(instruction.kind)) this.#once(instruction, report);
    }
  }

  #once({ kind, keyword, location }: Instruction, report: Report): void {
    const before = this.#last.get(kind);
    if (before !== undefined) {
      const message = `Multiple ${keyword} instructions should not be used in the same stage because only the last one will be used`;
      report("MultipleInstructionsDisallowed", message, before);
    }
    this.#last.set(kind, location);
  }

  #instruction(instruction: Instruction, report: Report): void {
    const expand = this.#expander(instruction, report);
    switch (instruction.kind) {
      case "arg":
        return this.#arg(instruction, expand, report);
      case "env":
      case "label":
        return this.#pairs(instruction, expand, report);
      case "copy":
      case "add":
        return this.#files(instruction, expand, report);
      case "run":
        for (const mount of instruction.mounts) parseMount(mount, expand);
        return;
      case "workdir":
        return this.#directory(expand(instruction.path), instruction, report);
      case "user":
        return void expand(instruction.user);
      case "volume":
        return void instruction.paths.map(expand);
      case "stopsignal":
        return void expand(instruction.signal);
      case "shell":
        this.#state.hasShell = true;
        return;
      case "cmd":
      case "entrypoint":
        return this.#program(instruction, report);
      case "expose":
        return this.#ports(instruction, report);
      case "healthcheck":
      case "onbuild":
      case "maintainer":
        return;
    }
  }

  #expander({ location }: Instruction, report: Report): (text: string) => string {
    const { environment } = this.#state;
    return (text) => {
      const { text: value, undefined: missing } = expandWord(text, environment, this.#file.escape);
      this.#missing(missing, location, report);
      return value;
    };
  }

  #missing(names: readonly string[], location: Location, report: Report): void {
    const { environment, args, isKnown } = this.#state;
    if (!isKnown) return;
    for (const name of names) {
      if (args.has(name)) continue;
      const known = Object.keys(environment).map((each) => `$${each}`);
      const near = suggestion(`$${name}`, known);
      report("UndefinedVar", `Usage of undefined variable '$${name}'${near}`, location);
    }
  }

  #arg(
    instruction: Extract<Instruction, { kind: "arg" }>,
    expand: (text: string) => string,
    report: Report,
  ): void {
    const { environment, args } = this.#state;
    const { globals, buildArgs } = this.#facts;
    for (const { name, value } of instruction.arguments) {
      this.#secret("ARG", name, instruction.location, report);
      const given = buildArgs[name];
      const inherited = value === null ? globals[name] : expand(value);
      const set = typeof given === "string" ? given : inherited;
      if (set !== undefined) environment[name] = set;
      args.add(name);
    }
  }

  #pairs(
    instruction: Extract<Instruction, { kind: "env" | "label" }>,
    expand: (text: string) => string,
    report: Report,
  ): void {
    const { kind, keyword, location, pairs, legacy } = instruction;
    const values = pairs.map(({ name, value }) => ({ name: expand(name), value: expand(value) }));
    if (legacy) {
      const message = `"${keyword} key=value" should be used instead of legacy "${keyword} key value" format`;
      report("LegacyKeyValueFormat", message, location);
    }
    if (kind === "label") return;
    for (const { name, value } of values) {
      this.#secret("ENV", name, location, report);
      this.#state.environment[name] = value;
    }
  }

  #secret(kind: string, name: string, location: Location, report: Report): void {
    if (!SECRET_WORDS.test(name) || HARMLESS_WORDS.test(name)) return;
    const message = `Do not use ARG or ENV instructions for sensitive data (${kind} ${JSON.stringify(name)})`;
    report("SecretsUsedInArgOrEnv", message, location);
  }

  #files(
    instruction: Extract<Instruction, { kind: "copy" | "add" }>,
    expand: (text: string) => string,
    report: Report,
  ): void {
    const { kind, chown, chmod, location } = instruction;
    for (const text of [chown, chmod]) expand(text);
    if (kind === "add") expand(instruction.checksum);
    const sources = instruction.sources.map(expand);
    expand(instruction.destination);
    for (const heredoc of instruction.heredocs.filter((each) => each.expand)) {
      const { undefined: missing } = expandHeredoc(heredoc.content, this.#state.environment);
      this.#missing(missing, location, report);
    }
    const { isIgnored } = this.#facts;
    if (isIgnored === null || (kind === "copy" && instruction.from !== "")) return;
    const verb = kind === "copy" ? "Copy" : "Add";
    for (const source of sources) {
      const path = cleanPath(source);
      if (/^(?:https?|ssh|git):\/\/|^git@/.test(source) || !isIgnored(path)) continue;
      const message = `Attempting to ${verb} file ${JSON.stringify(path)} that is excluded by .dockerignore`;
      report("CopyIgnoredFile", message, location);
    }
  }

  /** The first WORKDIR of a stage and of those it is built on: the others stand on it. */
  #directory(path: string, { location }: Instruction, report: Report): void {
    if (!this.#state.hasDirectory && !path.startsWith("/")) {
      const message = `Relative workdir ${JSON.stringify(path)} can have unexpected results if the base image changes`;
      report("WorkdirRelativePath", message, location);
    }
    this.#state.hasDirectory = true;
  }

  #program(
    { command, keyword, location }: Extract<Instruction, { kind: "cmd" | "entrypoint" }>,
    report: Report,
  ): void {
    if (command.form === "exec" || this.#state.hasShell) return;
    const message = `JSON arguments recommended for ${keyword} to prevent unintended behavior related to OS signals`;
    report("JSONArgsRecommended", message, location);
  }

  #ports({ ports, location }: Extract<Instruction, { kind: "expose" }>, report: Report): void {
    const { environment } = this.#state;
    for (const port of ports.flatMap((p) => expandWords(p, environment, this.#file.escape))) {
      const protocol = port.slice(port.lastIndexOf(":") + 1).split("/")[1] ?? "";
      if (protocol !== protocol.toLowerCase()) {
        const message = `Defined protocol '${port}' in EXPOSE instruction should be lowercase`;
        report("ExposeProtoCasing", message, location);
      }
      if (!/:[^:]+:|^[^:]+:/.test(port)) continue;
      const message = `EXPOSE instruction should not define an IP address or host-port mapping, found '${port}'`;
      report("ExposeInvalidFormat", message, location);
    }
  }
}

/** As Go cleans a path. */
function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else if (part === ".." && path.startsWith("/")) continue;
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return (path.startsWith("/") ? "/" : "") + parts.join("/") || ".";
}
