/** What is worth a word about a Dockerfile: told as warnings, or an error where somebody wants it so. */
import { sentenceOf } from "#base";
import {
  type Dockerfile,
  FaultyLine,
  type ImageFacts,
  type LintFacts,
  type Location,
  lintDockerfile,
  readCheck,
} from "#engine/build/dockerfile";
import {
  formatPlatform,
  formatReference,
  type ImageConfig,
  parseImageConfig,
  parsePlatform,
  parseReference,
  type Platform,
  platformRank,
  withDefaultTag,
} from "#oci";

import type { Arrived } from "./arrival.ts";
import type { BuildRequest } from "./build-service.ts";
import type { Context } from "./context.ts";
import { contextKey } from "./context-name.ts";
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
  const images = new BaseImages(context, request);
  const facts: LintFacts = {
    ...globals,
    buildArgs,
    stages,
    imageOf: (name, platform, location) => images.factsOf(name, { platform, location }),
    isReference: (name) => attempt(() => parseReference(name)) !== null,
    platformOf: (text) => attempt(() => parsePlatform(text)),
    isIgnored: await ignoredIn(arrived, file),
  };
  if (request.checkOnly) {
    lintDockerfile(file, facts, check);
    await images.fetchMissing();
  }
  const warnings = lintDockerfile(file, facts, check);
  const drawn = { file: arrived.name, lines: arrived.dockerfile.split(/\r?\n/) };
  for (const { rule, message, location } of warnings) {
    const excerpt = drawFault(drawn, location);
    const { startLine: line, endLine } = location;
    await onEvent({ type: "warning", rule, message, line, endLine, excerpt });
  }
  images.throwFailure();
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

/**
 * What is known of base images: of those that are here, and for who only wants a check also of those that a registry
 * has: their configs are asked for, and nothing of them is stored. A build has them soon enough.
 */
class BaseImages {
  readonly #context: Context;
  readonly #request: BuildRequest;
  readonly #missing = new Map<string, { name: string; platform: string; location: Location }>();
  readonly #fetched = new Map<string, ImageConfig>();
  #failure: FaultyLine | null = null;

  constructor(context: Context, request: BuildRequest) {
    this.#context = context;
    this.#request = request;
  }

  factsOf(
    name: string,
    { platform, location }: { readonly platform: string; readonly location: Location | null },
  ): ImageFacts | null {
    const { checkOnly, contexts } = this.#request;
    if (contextKey(contexts, name) !== null) return null;
    const asked = this.#platform(platform);
    const { images } = this.#context;
    const image = attempt(() => images.resolve(name, asked)) ?? attempt(() => images.resolve(name));
    const config = image?.config ?? this.#fetched.get(`${name} ${platform}`);
    if (config === undefined) {
      if (location !== null) {
        this.#missing.set(`${name} ${platform}`, { name, platform, location });
      }
      return null;
    }
    // A build says it when it has the image that it builds on, which may still have to come.
    const isOther = checkOnly && asked !== null && platformRank(asked, config) === null;
    return imageFacts(config, isOther);
  }

  async fetchMissing(): Promise<void> {
    const missing = [...this.#missing];
    await Promise.all(missing.map(([key, wanted]) => this.#fetch(key, wanted)));
  }

  /** @throws FaultyLine for an image that could not be looked at */
  throwFailure(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  #platform(text: string): Platform | null {
    return text === "" ? this.#request.platform : attempt(() => parsePlatform(text));
  }

  async #fetch(
    key: string,
    { name, platform: text, location }: { name: string; platform: string; location: Location },
  ): Promise<void> {
    const { credentials: credentialsOf, signal } = this.#request;
    const parsed = attempt(() => withDefaultTag(parseReference(name)));
    // The build itself says what is wrong with the name.
    if (parsed === null) return;
    const reference = formatReference(parsed);
    const platform = this.#platform(text);
    try {
      const credentials = await credentialsOf(parsed.domain);
      const { config } = await this.#context.images.fetchDocuments({
        reference,
        ...(platform === null ? {} : { platform }),
        ...(credentials === undefined ? {} : { credentials }),
        signal,
      });
      this.#fetched.set(key, parseImageConfig(config));
    } catch (cause) {
      signal.throwIfAborted();
      const why = `failed to resolve source metadata for ${reference}: ${sentenceOf(cause)}`;
      this.#failure ??= new FaultyLine(location, `${name}: ${why}`);
    }
  }
}

function imageFacts(config: ImageConfig, isOther: boolean): ImageFacts {
  const { Env: entries, Shell: shell } = config.config ?? {};
  const environment: Record<string, string> = {};
  for (const entry of entries ?? []) {
    const at = entry.indexOf("=");
    environment[at < 0 ? entry : entry.slice(0, at)] = at < 0 ? "" : entry.slice(at + 1);
  }
  const otherPlatform = isOther ? formatPlatform(config) : null;
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
