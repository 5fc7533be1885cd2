/**
 * A Dockerfile's text as stages of instructions. Nothing is expanded and nothing is looked up: what is wrong with
 * the text is said here, with the line, in BuildKit's sentences.
 */
import { EngineError, invalid, parseDuration, sentenceOf } from "#base";

import { Flags, type FlagType } from "./flags.ts";
import type {
  CommandLine,
  Dockerfile,
  FileSources,
  HealthCheck,
  Heredoc,
  Instruction,
  InstructionBody,
  Pair,
  Stage,
} from "./instruction.ts";
import { type LogicalLine, openedBy, readLines } from "./lines.ts";
import { parseDevice } from "./device.ts";
import { FaultyLine, parseError } from "./faulty-line.ts";
import { checkMountText } from "./mount.ts";
import { suggestion } from "./suggest.ts";
import { jsonWords, splitQuoted } from "./words.ts";

/** @throws FaultyLine: `dockerfile parse error on line 3: unknown instruction: FRMO (did you mean FROM?)` */
export function parseDockerfile(text: string): Dockerfile {
  const { escape, syntax, check, logical, emptyContinuations, physical } = readLines(text);
  if (text === "") throw invalid("the Dockerfile cannot be empty");
  if (logical.length === 0) {
    const last = physical.findLastIndex((line) => line !== "") + 1;
    throw new FaultyLine({ startLine: last, endLine: last }, "file with no instructions");
  }
  const globalArguments: Extract<Instruction, { kind: "arg" }>[] = [];
  const stages: (Stage & { instructions: Instruction[] })[] = [];
  for (const line of logical) {
    const stage = stages.at(-1);
    if (line.keyword.toUpperCase() === "FROM") {
      stages.push(onLine(line, () => parseFrom(line)));
      continue;
    }
    const instruction = onLine(line, () => parseInstruction(line, escape));
    if (stage !== undefined) stage.instructions.push(instruction);
    else if (instruction.kind === "arg") globalArguments.push(instruction);
    else throw new FaultyLine(line.location, "no build stage in current context");
  }
  if (stages.length === 0) throw invalid("dockerfile contains no stages to build");
  return { escape, syntax, check, globalArguments, stages, emptyContinuations, lines: physical };
}

/** What ONBUILD left in an image, as one instruction of the stage that is built from it. @throws EngineError "invalid" */
export function parseTrigger(text: string): Instruction {
  const { logical, escape } = readLines(text);
  const [line] = logical;
  if (line === undefined || logical.length !== 1) throw invalid("invalid ONBUILD trigger");
  const name = line.keyword.toUpperCase();
  if (name === "FROM" || name === "MAINTAINER" || name === "ONBUILD") {
    throw invalid(`${name} isn't allowed as an ONBUILD trigger`);
  }
  return parseInstruction(line, escape);
}

function onLine<T>(line: LogicalLine, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    // What is wrong with a line's form is said as it is.
    if (!(cause instanceof EngineError) || cause instanceof FaultyLine) throw cause;
    throw parseError(line.location, sentenceOf(cause));
  }
}

const malformed = ({ location }: Pick<Line, "location">, why: string): FaultyLine =>
  new FaultyLine(location, why);

const STAGE_NAME = /^[a-z][a-z0-9-_.]*$/;

function parseFrom(line: LogicalLine): Stage & { instructions: Instruction[] } {
  const words = line.rest.split(/\s+/).filter((word) => word !== "");
  const [base = "", as = "", written = ""] = words;
  const named = words.length === 3 && as.toLowerCase() === "as";
  if (!named && words.length !== 1) throw invalid("FROM requires either one or three arguments");
  const name = written.toLowerCase();
  if (named && !STAGE_NAME.test(name)) {
    throw invalid(
      `invalid name for build stage: ${JSON.stringify(written)}, name can't start with a number or contain symbols`,
    );
  }
  const flags = new Flags(line.flags, { platform: "text" });
  const { original, keyword, location, comments } = line;
  const common = { original, keyword, location, comments };
  const platform = flags.text("platform");
  return { ...common, base, name, platform, asKeyword: as, asWritten: written, instructions: [] };
}

function parseInstruction(line: LogicalLine, escape: string): Instruction {
  const parse = PARSERS[line.keyword.toUpperCase()];
  if (parse === undefined) {
    const names = ["FROM", ...Object.keys(PARSERS)];
    throw invalid(
      `unknown instruction: ${line.keyword}${suggestion(line.keyword.toUpperCase(), names)}`,
    );
  }
  const { original, location, keyword, comments } = line;
  return { original, location, keyword, comments, ...parse({ ...line, escape }) };
}

type Line = LogicalLine & { readonly escape: string };
type Parser = (line: Line) => InstructionBody;

const PARSERS: Readonly<Record<string, Parser>> = {
  ADD: (line) => parseAdd(line),
  ARG: (line) => parseArg(line),
  CMD: (line) => ({ kind: "cmd", command: commandOf(flagless(line)) }),
  COPY: (line) => parseCopy(line),
  ENTRYPOINT: (line) => ({ kind: "entrypoint", command: commandOf(flagless(line)) }),
  ENV: (line) => ({ kind: "env", ...parsePairs(flagless(line), "ENV") }),
  EXPOSE: (line) => ({ kind: "expose", ports: atLeastOne(flagless(line), "EXPOSE") }),
  HEALTHCHECK: (line) => ({ kind: "healthcheck", check: parseHealthCheck(line) }),
  LABEL: (line) => ({ kind: "label", ...parsePairs(flagless(line), "LABEL") }),
  MAINTAINER: (line) => ({ kind: "maintainer", name: exactlyOne(line, "MAINTAINER") }),
  ONBUILD: (line) => parseOnBuild(line),
  RUN: (line) => parseRun(line),
  SHELL: (line) => parseShell(flagless(line)),
  // Its flags, and those of ARG, nobody reads.
  STOPSIGNAL: (line) => ({ kind: "stopsignal", signal: argument(line, "STOPSIGNAL") }),
  USER: (line) => ({ kind: "user", user: exactlyOne(line, "USER") }),
  VOLUME: (line) => parseVolume(flagless(line)),
  WORKDIR: (line) => ({ kind: "workdir", path: exactlyOne(line, "WORKDIR") }),
};

function flagless(line: Line): Line {
  void new Flags(line.flags, {});
  return line;
}

function argument({ rest }: Line, name: string): string {
  if (rest === "") throw invalid(`${name} requires exactly one argument`);
  return rest;
}

const exactlyOne = (line: Line, name: string): string => argument(flagless(line), name);

function atLeastOne({ rest }: Line, name: string): string[] {
  const words = rest.split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) throw invalid(`${name} requires at least one argument`);
  return words;
}

const NOT_STRINGS = "when using JSON array syntax, arrays must be comprised of strings only";

function commandOf(line: Pick<Line, "rest" | "location">): CommandLine {
  const { rest } = line;
  const json = jsonWords(rest);
  switch (json.kind) {
    case "words":
      return { form: "exec", words: json.words };
    case "notStrings":
      throw malformed(line, NOT_STRINGS);
    case "notJson":
      return { form: "shell", words: rest === "" ? [] : [rest] };
  }
}

/** Words of COPY, ADD and VOLUME: a JSON list, or words with their quotes. */
function listOf(line: Pick<Line, "rest" | "location">): string[] {
  const json = jsonWords(line.rest);
  if (json.kind === "words") return json.words;
  if (json.kind === "notStrings") throw malformed(line, NOT_STRINGS);
  return line.rest.split(/\s+/).filter((word) => word !== "");
}

function parsePairs(line: Line, name: "ENV" | "LABEL"): { pairs: Pair[]; legacy: boolean } {
  const { rest, escape } = line;
  if (rest === "") throw invalid(`${name} requires at least one argument`);
  const words = splitQuoted(rest, escape);
  const [first = ""] = words;
  if (!first.includes("=")) {
    const [, key = "", value = ""] = /^(\S+)\s+([^]+)$/.exec(rest) ?? [];
    if (key === "") throw malformed(line, `${name} must have two arguments`);
    return { pairs: [{ name: key, value }], legacy: true };
  }
  const strange = words.find((word) => !word.includes("="));
  if (strange !== undefined) {
    const word = JSON.stringify(strange);
    throw malformed(
      line,
      `Syntax error - can't find = in ${word}. Must be of the form: name=value`,
    );
  }
  return { pairs: words.map((word) => pairOf(word, name)), legacy: false };
}

function pairOf(word: string, name: string): Pair {
  const at = word.indexOf("=");
  if (at === 0) throw invalid(`${name} names can not be blank`);
  return { name: word.slice(0, at), value: word.slice(at + 1) };
}

function parseArg(line: Line): InstructionBody {
  const words = splitQuoted(line.rest, line.escape);
  if (words.length === 0) throw invalid("ARG requires at least one argument");
  return {
    kind: "arg",
    arguments: words.map((word) =>
      word.includes("=") ? pairOf(word, "ARG") : { name: word, value: null },
    ),
  };
}

function parseShell(line: Line): InstructionBody {
  const json = jsonWords(line.rest);
  if (json.kind !== "words") throw invalid(`SHELL requires the arguments to be in JSON form`);
  if (json.words.length === 0) throw invalid("SHELL requires at least one argument");
  return { kind: "shell", words: json.words };
}

function parseVolume(line: Line): InstructionBody {
  const paths = listOf(line);
  if (paths.length === 0) throw invalid("VOLUME requires at least one argument");
  if (paths.some((path) => path.trim() === "")) {
    throw invalid("VOLUME specified can not be an empty string");
  }
  return { kind: "volume", paths };
}

function parseOnBuild(line: Line): InstructionBody {
  if (flagless(line).rest === "") throw invalid("ONBUILD requires at least one argument");
  const trigger = (line.rest.split(/\s/, 1)[0] ?? "").toUpperCase();
  if (trigger === "ONBUILD") {
    throw invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  }
  if (trigger === "MAINTAINER" || trigger === "FROM") {
    throw invalid(`${trigger} isn't allowed as an ONBUILD trigger`);
  }
  const files = line.heredocs.map(({ name, content }) => `\n${content}${name}`).join("");
  const text = `${line.rest}${files}`;
  for (const inner of readLines(text).logical) checkForm(inner, line);
  return { kind: "onbuild", trigger: text };
}

/** What ONBUILD leaves is only looked at as a line: whether anybody can build it is said where it is built. */
function checkForm(inner: LogicalLine, { location, escape }: Line): void {
  try {
    parseInstruction({ ...inner, location }, escape);
  } catch (cause) {
    if (cause instanceof FaultyLine || !(cause instanceof EngineError)) throw cause;
  }
}

const RUN_FLAGS: Readonly<Record<string, FlagType>> = {
  mount: "texts",
  device: "texts",
  network: "text",
  security: "text",
};

function parseRun(line: Line): InstructionBody {
  const flags = new Flags(line.flags, RUN_FLAGS);
  const network = flags.has("network") ? flags.text("network") : "default";
  if (network !== "default" && network !== "none" && network !== "host") {
    throw invalid(`invalid network mode ${JSON.stringify(network)}`);
  }
  const security = flags.has("security") ? flags.text("security") : "sandbox";
  if (security !== "sandbox" && security !== "insecure") {
    throw invalid(`security ${JSON.stringify(security)} is not valid`);
  }
  const [mounts, devices] = [flags.texts("mount"), flags.texts("device").map(parseDevice)];
  for (const mount of mounts) checkMountText(mount);
  const { heredocs } = line;
  return { kind: "run", command: commandOf(line), heredocs, mounts, devices, network, security };
}

const FILE_FLAGS: Readonly<Record<string, FlagType>> = {
  chown: "text",
  chmod: "text",
  link: "boolean",
  exclude: "texts",
};

function parseCopy(line: Line): InstructionBody {
  const flags = new Flags(line.flags, { ...FILE_FLAGS, from: "text", parents: "boolean" });
  const files = fileSources(line, flags, "COPY");
  return { kind: "copy", ...files, from: flags.text("from"), parents: flags.is("parents") };
}

function parseAdd(line: Line): InstructionBody {
  const flags = new Flags(line.flags, {
    ...FILE_FLAGS,
    checksum: "text",
    "keep-git-dir": "boolean",
    unpack: "boolean",
  });
  return {
    kind: "add",
    ...fileSources(line, flags, "ADD"),
    checksum: flags.text("checksum"),
    keepGitDirectory: flags.is("keep-git-dir"),
    unpack: flags.has("unpack") ? flags.is("unpack") : null,
  };
}

function fileSources(line: Line, flags: Flags, name: string): FileSources {
  const words = listOf(line);
  const destination = words.at(-1);
  if (words.length < 2 || destination === undefined) {
    throw invalid(
      `${name} requires at least two arguments, but only one was provided. Destination could not be determined`,
    );
  }
  if (opening(destination) !== null) {
    throw invalid(`${name} cannot accept a heredoc as a destination`);
  }
  const sources: string[] = [];
  const heredocs: Heredoc[] = [];
  for (const word of words.slice(0, -1)) {
    const opened = opening(word);
    // Of several with one name the last one counts.
    const heredoc = line.heredocs.findLast(({ name: known }) => known === opened?.name);
    if (opened === null) sources.push(word);
    else heredocs.push({ ...opened, content: heredoc?.content ?? "" });
  }
  return {
    sources,
    heredocs,
    destination,
    chown: flags.text("chown"),
    chmod: flags.text("chmod"),
    link: flags.is("link"),
    exclude: flags.texts("exclude"),
  };
}

/** What opens a heredoc; anything odd is a name. */
function opening(word: string): ReturnType<typeof openedBy> {
  try {
    return openedBy(word);
  } catch {
    return null;
  }
}

const HEALTH_FLAGS: Readonly<Record<string, FlagType>> = {
  interval: "text",
  timeout: "text",
  "start-period": "text",
  "start-interval": "text",
  retries: "text",
};
const MINIMUM_NANOSECONDS = 1_000_000;

function parseHealthCheck(line: Line): HealthCheck {
  const [, word = "", rest = ""] = /^(\S+)\s*([^]*)$/.exec(line.rest) ?? [];
  const type = word.toUpperCase();
  if (type === "") throw invalid("HEALTHCHECK requires at least one argument");
  if (type === "NONE") {
    if (rest !== "") throw invalid("HEALTHCHECK NONE takes no arguments");
    return { test: ["NONE"], ...timesOf(new Flags([], {})) };
  }
  const flags = new Flags(line.flags, HEALTH_FLAGS);
  if (type !== "CMD") throw invalid(`Unknown type "${type}" in HEALTHCHECK (try CMD)`);
  const command = commandOf({ rest, location: line.location });
  if (command.words.length === 0) throw invalid("Missing command after HEALTHCHECK CMD");
  const kind = command.form === "exec" ? "CMD" : "CMD-SHELL";
  return { test: [kind, ...command.words], ...timesOf(flags) };
}

function timesOf(flags: Flags): Omit<HealthCheck, "test"> {
  const time = (name: string): number => {
    const text = flags.text(name);
    const value = text === "" ? 0 : parseDuration(text);
    if (value !== 0 && value < MINIMUM_NANOSECONDS) {
      throw invalid(`Interval "${name}" cannot be less than 1ms`);
    }
    return value;
  };
  const retries = flags.text("retries");
  if (retries !== "" && !/^-?\d{1,9}$/.test(retries)) {
    throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(retries)}: invalid syntax`);
  }
  if (Number(retries) < 0) throw invalid(`--retries cannot be negative (${retries})`);
  return {
    intervalNanoseconds: time("interval"),
    timeoutNanoseconds: time("timeout"),
    startPeriodNanoseconds: time("start-period"),
    startIntervalNanoseconds: time("start-interval"),
    retries: Number(retries),
  };
}
