/**
 * What a stage is so far: its layers and the config of the image that would end here. Pure: each instruction that
 * only changes the config is a function from one state to the next.
 */
import { invalid } from "#base";
import type { Instruction } from "#engine/build/dockerfile";
import { checkStopSignal } from "#engine/container";
import type { Digest, HistoryEntry, ImageConfig, ImageRunConfig, Platform } from "#oci";

import { exposedPorts } from "./exposed-ports.ts";
import { healthText, imageHealthOf } from "./health-check.ts";

export interface StageState {
  readonly layers: readonly Digest[];
  readonly config: ImageRunConfig;
  readonly history: readonly HistoryEntry[];
  readonly author: string;
  readonly created: string;
  readonly platform: Platform;
  /** Declared ARGs with their values; null: declared, and nobody gave one. */
  readonly args: ReadonlyMap<string, string | null>;
  /** Names that an ENV has set after their ARG: of the two, the last one counts. */
  readonly hidden: ReadonlySet<string>;
  /** CMD was given in this stage, and not by its base. */
  readonly hasOwnCommand: boolean;
  /** Over everything that led here. */
  readonly key: string;
}

export const DEFAULT_SHELL = ["/bin/sh", "-c"];
const DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const COMMENT = "buildkit.dockerfile.v0";

/** A time as Go writes it: no zeros at the end of a fraction. */
export const timeText = (milliseconds: number): string =>
  new Date(milliseconds).toISOString().replace(/\.?0+Z$/, "Z");

/** `FROM scratch`. */
export const emptyState = (platform: Platform, created: string): StageState => ({
  layers: [],
  config: { Env: [DEFAULT_PATH], WorkingDir: "/" },
  history: [],
  author: "",
  created,
  platform,
  args: new Map(),
  hidden: new Set(),
  hasOwnCommand: false,
  key: "scratch",
});

/** A stage on an image. What ONBUILD left in it is the caller's to run. */
export const stateOf = (id: Digest, image: ImageConfig): StageState => {
  const { OnBuild: _, ...config } = image.config ?? {};
  return {
    layers: image.rootfs.diff_ids,
    config: { ...config, Env: withPath(config.Env ?? []) },
    history: image.history ?? [],
    author: image.author ?? "",
    created: image.created ?? new Date(0).toISOString(),
    platform: {
      os: image.os || "linux",
      architecture: image.architecture,
      ...(image.variant === undefined ? {} : { variant: image.variant }),
    },
    args: new Map(),
    hidden: new Set(),
    hasOwnCommand: false,
    key: id,
  };
};

/** A stage has a PATH, whatever its image has. */
const withPath = (environment: readonly string[]): string[] =>
  environment.some((entry) => nameOf(entry) === "PATH")
    ? [...environment]
    : [...environment, DEFAULT_PATH];

/** The document of the image that ends here. */
export function imageConfigOf(
  state: StageState,
  labels: Readonly<Record<string, string>>,
): ImageConfig {
  const { config, author, created, platform, layers, history } = state;
  const all = Object.entries({ ...config.Labels, ...labels });
  const withLabels = all.length === 0 ? config : { ...config, Labels: sorted(all) };
  return {
    architecture: platform.architecture,
    ...(author === "" ? {} : { author }),
    config: withLabels,
    created,
    history: [...history],
    os: platform.os,
    rootfs: { type: "layers", diff_ids: [...layers] },
    ...(platform.variant === undefined ? {} : { variant: platform.variant }),
  };
}

/**
 * In Go's order of maps: clients send `--label` in another order every time, and the image they build again is the
 * same one. Compose, which labels what it builds, makes a container anew when its image has become another.
 */
const sorted = (labels: [string, string][]): Record<string, string> =>
  Object.fromEntries(labels.toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** One more line of history, with its layer or without. */
export function committed(
  state: StageState,
  made: { createdBy: string | null; created: string; layer: Digest | null; key: string },
): StageState {
  const { createdBy, created, layer, key } = made;
  const history = createdBy === null ? [] : [entryOf({ ...made, createdBy })];
  return {
    ...state,
    created,
    key,
    layers: layer === null ? state.layers : [...state.layers, layer],
    history: [...state.history, ...history],
  };
}

function entryOf({
  createdBy,
  created,
  layer,
}: {
  createdBy: string;
  created: string;
  layer: Digest | null;
}): HistoryEntry {
  return {
    created,
    created_by: createdBy,
    comment: COMMENT,
    ...(layer === null ? { empty_layer: true } : {}),
  };
}

const nameOf = (entry: string): string => entry.split("=", 1)[0] ?? "";

/** Sets variables where they stand, adds new ones behind. */
export function withEnvironment(
  environment: readonly string[],
  pairs: readonly { name: string; value: string }[],
): string[] {
  const all = new Map(environment.map((entry) => [nameOf(entry), entry]));
  for (const { name, value } of pairs) all.set(name, `${name}=${value}`);
  return [...all.values()];
}

/** What variables are in words; a name that was declared as ARG after ENV has the ARG's value. */
export function environmentOf(state: StageState): Record<string, string> {
  const all: Record<string, string> = {};
  for (const entry of state.config.Env ?? []) {
    const name = nameOf(entry);
    all[name] = entry.slice(name.length + 1);
  }
  for (const { name, value } of visibleArguments(state)) all[name] = value;
  return all;
}

/** Every ARG that has a value and that no ENV hides. */
export const visibleArguments = ({ args, hidden }: StageState): { name: string; value: string }[] =>
  [...args].flatMap(([name, value]) =>
    value === null || hidden.has(name) ? [] : [{ name, value }],
  );

export const shellOf = ({ config }: StageState): readonly string[] => config.Shell ?? DEFAULT_SHELL;

/** Instructions whose words need no expansion beyond what was done, and that make no layer. */
export type ConfigInstruction = Extract<
  Instruction,
  {
    kind:
      | "env"
      | "label"
      | "cmd"
      | "entrypoint"
      | "shell"
      | "user"
      | "expose"
      | "volume"
      | "stopsignal"
      | "healthcheck"
      | "onbuild"
      | "maintainer";
  }
>;

export interface Configured {
  readonly config: ImageRunConfig;
  readonly author: string;
  readonly hasOwnCommand: boolean;
  readonly hidden: ReadonlySet<string>;
  /** For the history. */
  readonly createdBy: string;
}

/** @param expand gives variables their values. @throws EngineError "invalid" */
export function configure(
  state: StageState,
  instruction: ConfigInstruction,
  expand: { one: (text: string) => string; many: (text: string) => string[] },
): Configured {
  const { config, author, hasOwnCommand, hidden } = state;
  const same = { author, hasOwnCommand, hidden };
  const set = (change: ImageRunConfig, createdBy: string): Configured => ({
    ...same,
    config: { ...config, ...change },
    createdBy,
  });
  switch (instruction.kind) {
    case "env": {
      const pairs = expandedPairs(instruction.pairs, expand.one);
      const made = set({ Env: withEnvironment(config.Env ?? [], pairs) }, `ENV ${pairText(pairs)}`);
      return { ...made, hidden: new Set([...hidden, ...pairs.map(({ name }) => name)]) };
    }
    case "label": {
      const pairs = expandedPairs(instruction.pairs, expand.one);
      const labels = Object.fromEntries(pairs.map(({ name, value }) => [name, value]));
      return set({ Labels: { ...config.Labels, ...labels } }, `LABEL ${pairText(pairs)}`);
    }
    case "cmd": {
      const words = programOf(state, instruction.command);
      const made = set({ Cmd: words, ArgsEscaped: true }, `CMD ${listText(words)}`);
      return { ...made, hasOwnCommand: true };
    }
    case "entrypoint":
      return withEntrypoint(state, programOf(state, instruction.command));
    case "shell":
      return set({ Shell: [...instruction.words] }, `SHELL [${instruction.words.join(" ")}]`);
    case "user": {
      const user = expand.one(instruction.user);
      return set({ User: user }, `USER ${user}`);
    }
    case "expose":
      return withPorts(set, config, exposedPorts(instruction.ports, expand.many));
    case "volume": {
      const paths = instruction.paths.map(expand.one);
      if (paths.some((path) => path === ""))
        throw invalid("VOLUME specified can not be an empty string");
      const all = Object.fromEntries(paths.map((path) => [path, {}]));
      return set({ Volumes: { ...config.Volumes, ...all } }, `VOLUME [${paths.join(" ")}]`);
    }
    case "stopsignal": {
      const signal = expand.one(instruction.signal);
      checkStopSignal(signal);
      return set({ StopSignal: signal }, `STOPSIGNAL ${signal}`);
    }
    case "healthcheck":
      return set({ Healthcheck: imageHealthOf(instruction.check) }, healthText(instruction.check));
    case "onbuild":
      return set(
        { OnBuild: [...(config.OnBuild ?? []), instruction.trigger] },
        `ONBUILD ${instruction.trigger}`,
      );
    case "maintainer":
      return {
        ...same,
        author: instruction.name,
        config,
        createdBy: `MAINTAINER ${instruction.name}`,
      };
  }
}

function withPorts(
  set: (change: ImageRunConfig, createdBy: string) => Configured,
  { ExposedPorts: before }: ImageRunConfig,
  ports: readonly string[],
): Configured {
  const all = Object.fromEntries(ports.map((port) => [port, {}]));
  return set({ ExposedPorts: { ...before, ...all } }, `EXPOSE [${ports.join(" ")}]`);
}

/** An inherited CMD was meant for the program that it stood behind. */
function withEntrypoint(state: StageState, words: string[]): Configured {
  const { author, hasOwnCommand, hidden } = state;
  const { Cmd: command, ...config } = state.config;
  const kept = hasOwnCommand && command !== undefined ? { Cmd: command } : {};
  const createdBy = `ENTRYPOINT ${listText(words)}`;
  return {
    author,
    hasOwnCommand,
    hidden,
    config: { ...config, ...kept, Entrypoint: words },
    createdBy,
  };
}

function expandedPairs(
  pairs: readonly { name: string; value: string }[],
  expand: (text: string) => string,
): { name: string; value: string }[] {
  return pairs.map(({ name, value }) => ({ name: expand(name), value: expand(value) }));
}

const pairText = (pairs: readonly { name: string; value: string }[]): string =>
  pairs.map(({ name, value }) => `${name}=${value}`).join(" ");
const listText = (words: readonly string[]): string =>
  `[${words.map((word) => JSON.stringify(word)).join(" ")}]`;

/** The words of a program; a shell's text goes behind the stage's shell. */
export function programOf(
  state: StageState,
  command: { readonly form: "exec" | "shell"; readonly words: readonly string[] },
): string[] {
  if (command.form === "exec") return [...command.words];
  return [...shellOf(state), command.words.join(" ")];
}
