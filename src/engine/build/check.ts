/** What is worth a word about a Dockerfile: told as warnings, or an error where somebody wants it so. */
import {
  type Dockerfile,
  FaultyLine,
  type ImageFacts,
  type LintFacts,
  lintDockerfile,
  readCheck,
} from "#engine/build/dockerfile";
import { formatPlatform, parsePlatform, parseReference, platformRank } from "#oci";

import type { Arrived } from "./arrival.ts";
import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { drawFault } from "./fault.ts";
import type { GlobalArguments } from "./global-arguments.ts";

interface Checked {
  readonly arrived: Arrived;
  readonly file: Dockerfile;
  readonly globals: GlobalArguments;
  /** What is built, by its place in the file; null: everything is looked at. */
  readonly stages: ReadonlySet<number> | null;
}

/** @throws EngineError "invalid" where warnings are to be errors */
export async function checkDockerfile(
  context: Context,
  request: BuildRequest,
  { arrived, file, globals, stages }: Checked,
): Promise<void> {
  const { onEvent, buildArgs } = request;
  const asked = buildArgs["BUILDKIT_DOCKERFILE_CHECK"] ?? "";
  const check = asked === "" ? file.check : readCheck(asked);
  const facts: LintFacts = {
    ...globals,
    buildArgs,
    stages,
    imageOf: (name, platform) => imageFacts(context, request, { name, platform }),
    isReference: (name) => attempt(() => parseReference(name)) !== null,
    platformOf: (text) => attempt(() => parsePlatform(text)),
    isIgnored: await ignoredIn(arrived, file),
  };
  const warnings = lintDockerfile(file, facts, check);
  const drawn = { file: arrived.name, lines: arrived.dockerfile.split(/\r?\n/) };
  for (const { rule, message, location } of warnings) {
    const excerpt = drawFault(drawn, location);
    const { startLine: line, endLine } = location;
    await onEvent({ type: "warning", rule, message, line, endLine, excerpt });
  }
  const [first] = warnings;
  if (!check.error || first === undefined) return;
  const rules = [...new Set(warnings.map(({ rule }) => rule))].join(", ");
  throw new FaultyLine(first.location, `lint violation found for rules: ${rules}`);
}

function attempt<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    // No name, or nothing of that name here: the build itself says what is wrong.
    return null;
  }
}

/** Of an image that is here; what would have to be pulled is not known yet. */
function imageFacts(
  { images }: Context,
  { checkOnly, platform: wanted }: BuildRequest,
  { name, platform }: { name: string; platform: string },
): ImageFacts | null {
  const asked = platform === "" ? wanted : attempt(() => parsePlatform(platform));
  const image = attempt(() => images.resolve(name, asked)) ?? attempt(() => images.resolve(name));
  if (image === null) return null;
  const { Env: entries, Shell: shell } = image.config.config ?? {};
  const environment: Record<string, string> = {};
  for (const entry of entries ?? []) {
    const at = entry.indexOf("=");
    environment[at < 0 ? entry : entry.slice(0, at)] = at < 0 ? "" : entry.slice(at + 1);
  }
  // A build says it when it has the image that it builds on, which may still have to come.
  const isOther = checkOnly && asked !== null && platformRank(asked, image.config) === null;
  const otherPlatform = isOther ? formatPlatform(image.config) : null;
  return { environment, hasShell: (shell ?? []).length > 0, otherPlatform };
}

/** Exceptions can bring back what a folder above excludes: then nothing is said. */
async function ignoredIn(
  arrived: Arrived,
  { stages }: Dockerfile,
): Promise<((path: string) => boolean) | null> {
  const readsContext = stages.some(({ instructions }) =>
    instructions.some((each) => each.kind === "add" || (each.kind === "copy" && each.from === "")),
  );
  const matcher = readsContext ? await arrived.ignored() : null;
  if (matcher === null || matcher.hasExceptions) return null;
  const isWhole = (path: string) => path === "." || path === "/";
  return (path) => (isWhole(path) ? matcher.leavesOutAll : matcher.matches(path));
}
