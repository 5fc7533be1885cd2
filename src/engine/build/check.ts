/** What is worth a word about a Dockerfile: told as warnings, or an error where somebody wants it so. */
import {
  type Dockerfile,
  expandWord,
  FaultyLine,
  lintDockerfile,
  readCheck,
} from "#engine/build/dockerfile";

import { type Arrived, ignoreMatcherOf } from "./arrival.ts";
import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { drawFault } from "./fault.ts";

interface Checked {
  readonly arrived: Arrived;
  readonly file: Dockerfile;
  readonly globals: Readonly<Record<string, string>>;
}

/** @throws EngineError "invalid" where warnings are to be errors */
export async function checkDockerfile(
  context: Context,
  { onEvent, buildArgs }: BuildRequest,
  { arrived, file, globals }: Checked,
): Promise<void> {
  const asked = buildArgs["BUILDKIT_DOCKERFILE_CHECK"] ?? "";
  const check = asked === "" ? file.check : readCheck(asked);
  const variablesOf = (base: string) => variablesOfImage(context, file, { base, globals });
  const isIgnored = check.experimental.length === 0 ? null : await ignoredIn(arrived);
  const warnings = lintDockerfile(file, { variablesOf, isIgnored }, check);
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

/** Of an image that is here; what would have to be pulled is not known yet. */
function variablesOfImage(
  { images }: Context,
  { escape }: Dockerfile,
  { base, globals }: { base: string; globals: Checked["globals"] },
): readonly string[] | null {
  try {
    const { config } = images.resolve(expandWord(base, globals, escape).text).config;
    return (config?.Env ?? []).map((entry) => entry.split("=", 1)[0] ?? "");
  } catch {
    // Not here, or no name: the build itself says what is wrong.
    return null;
  }
}

/** Exceptions can bring back what a folder above excludes: then nothing is said. */
async function ignoredIn(arrived: Arrived): Promise<((path: string) => boolean) | null> {
  const matcher = await ignoreMatcherOf(await arrived.tree(), arrived.name);
  return matcher === null || matcher.hasExceptions ? null : (path) => matcher.matches(path);
}
