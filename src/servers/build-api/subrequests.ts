/**
 * Questions about a Dockerfile in a build's place: `--check`, `--call=outline`, `--call=targets`. The answers are
 * documents in the result's metadata, and buildx prints them. Source: moby/buildkit, frontend/subrequests.
 */
import { kindOf, sentenceOf } from "#base";
import type { AskedParameter, BuildEvent, DescribedDockerfile } from "#engine/build";

import type { BuildServices, SessionBuild } from "./builds.ts";
import { solveForSession, withRequest } from "./builds.ts";
import { unsupportedSubrequest } from "./failures.ts";
import { descriptionOfRule, urlOfRule } from "./rules.ts";

type Metadata = Record<string, Uint8Array>;
interface Lines {
  readonly startLine: number;
  readonly endLine: number;
}
type Ask = Omit<SessionBuild, "checkOnly" | "onEvent">;

const VERSION = "1.0.0";
const JSON_NAME = "result.json";
const TEXT_NAME = "result.txt";

const request = (name: string, description: string, more: object = {}) => ({
  Name: name,
  Version: VERSION,
  Type: "rpc",
  Description: description,
  Opts: null,
  Inputs: null,
  Metadata: [{ Name: JSON_NAME }],
  Refs: null,
  ...more,
});
const AVAILABLE = [
  request("frontend.outline", "List all parameters current build target supports", {
    Opts: [{ Name: "target", Description: "Target build stage" }],
  }),
  request("frontend.targets", "List all targets current build supports"),
  request("frontend.lint", "Lint a Dockerfile", {
    Metadata: [{ Name: JSON_NAME }, { Name: TEXT_NAME }, { Name: "result.statuscode" }],
  }),
  request("frontend.subrequests.describe", "List available subrequest types"),
];

/** @throws what the Dockerfile is, and GrpcFailure for a question that nobody knows */
export async function answerSubrequest(
  services: BuildServices,
  name: string,
  ask: Ask,
): Promise<Metadata> {
  switch (name) {
    case "frontend.subrequests.describe":
      return metadataOf(AVAILABLE, namesOf());
    case "frontend.lint":
      return await lint(services, ask);
    case "frontend.targets":
      return targets(await describe(services, ask));
    case "frontend.outline":
      return outline(await describe(services, ask));
    default:
      throw unsupportedSubrequest(name);
  }
}

function metadataOf(document: unknown, text: string, more: Record<string, string> = {}): Metadata {
  const json = JSON.stringify(document, null, 2);
  const all = { [JSON_NAME]: json, [TEXT_NAME]: text, version: VERSION, ...more };
  const encode = (value: string) => new TextEncoder().encode(value);
  return Object.fromEntries(Object.entries(all).map(([key, value]) => [key, encode(value)]));
}

const namesOf = (): string =>
  AVAILABLE.map((one) => `${one.Name.replace("frontend.", "")} ${one.Version} ${one.Description}\n`)
    .toSorted()
    .join("");

const describe = (services: BuildServices, ask: Ask): Promise<DescribedDockerfile> =>
  withRequest(
    services,
    { ...ask, checkOnly: true, onEvent: (event) => ask.progress.tell(event) },
    (asked) => services.builds.describe(asked),
  );

const placeOf = ({ startLine, endLine }: Lines) => ({
  ranges: [{ start: { line: startLine }, end: { line: endLine } }],
});
const sourceOf = (text: string): string => Buffer.from(text).toString("base64");

function targets({ text, targets: all }: DescribedDockerfile): Metadata {
  const listed = all.map(({ name, isDefault, description, base, platform, location }) => ({
    ...(name === "" ? {} : { name }),
    ...(isDefault ? { default: true } : {}),
    ...(description === "" ? {} : { description }),
    base,
    ...(platform === "" ? {} : { platform }),
    location: placeOf(location),
  }));
  const lines = all.map(({ name, description }) => `${name}\t${description}\n`).join("");
  return metadataOf({ targets: listed, sources: [sourceOf(text)] }, lines);
}

function outline({ text, outline: found }: DescribedDockerfile): Metadata {
  const { target, args, secrets, agents } = found;
  const named = ({ name, isRequired, location }: AskedParameter) => ({
    name,
    ...(isRequired ? { required: true } : {}),
    location: placeOf(location),
  });
  const document = {
    ...(target === null || target.name === "" ? {} : { name: target.name }),
    ...(target === null || target.description === "" ? {} : { description: target.description }),
    args: args.map(({ location, ...one }) => ({ ...one, location: placeOf(location) })),
    secrets: secrets.map(named),
    ssh: agents.map(named),
    sources: [sourceOf(text)],
  };
  const lines = args.map(({ name, value, description }) => `${name}\t${value}\t${description}\n`);
  return metadataOf(document, lines.join(""));
}

/** Of a directive that wants warnings to be errors: here they are warnings. */
const VIOLATION = /^lint violation found for rules: /;

async function lint(services: BuildServices, ask: Ask): Promise<Metadata> {
  const warnings: Extract<BuildEvent, { type: "warning" }>[] = [];
  let source = { name: "Dockerfile", text: "" };
  let at: Lines | null = null;
  let wrong: string | null = null;
  const onEvent = (event: BuildEvent) => {
    if (event.type === "warning") warnings.push(event);
    if (event.type === "source") source = event;
    if (event.type === "failed") at = event;
    return event.type === "warning" ? undefined : ask.progress.tell(event);
  };
  try {
    await solveForSession(services, { ...ask, checkOnly: true, onEvent });
  } catch (cause) {
    // What cannot be read at all is no finding about it.
    if (source.text === "" || kindOf(cause) !== "invalid") throw cause;
    if (!VIOLATION.test(sentenceOf(cause))) wrong = sentenceOf(cause);
  }
  const document = {
    warnings: warnings.map(({ rule, message, line, endLine }) => ({
      ruleName: rule,
      description: descriptionOfRule(rule),
      url: urlOfRule(rule),
      detail: message,
      location: placeOf({ startLine: line, endLine }),
    })),
    sources: [
      {
        fileName: source.name,
        language: "Dockerfile",
        definition: null,
        data: sourceOf(source.text),
      },
    ],
    ...(wrong === null
      ? {}
      : { buildError: { message: wrong, location: placeOf(at ?? { startLine: 1, endLine: 1 }) } }),
  };
  const text = warnings.map(({ rule, message, excerpt = "" }) => {
    return `\nWARNING: ${rule} - ${urlOfRule(rule)}\n${message}\n${excerpt}\n`;
  });
  const isFine = warnings.length === 0 && wrong === null;
  return metadataOf(document, text.join(""), { "result.statuscode": isFine ? "0" : "1" });
}
