/**
 * `naru daemon`'s flags and the keys of its configuration file: dockerd's, as far as they mean something here. One
 * table says of each how it is written, where it goes and what the help says; what is not in it is refused.
 */
import { invalid } from "#base";

export type FlagKind = "text" | "number" | "flag" | "list" | "map";

export interface Flag {
  readonly name: string;
  readonly short?: string;
  readonly kind: FlagKind;
  /** The key in the configuration file; null: only a flag. */
  readonly key: string | null;
  readonly help: string;
}

const flag = (
  name: string,
  kind: FlagKind,
  help: string,
  more: { short?: string; key?: string | null } = {},
): Flag => ({
  name,
  kind,
  help,
  key: more.key === undefined ? name : more.key,
  ...(more.short === undefined ? {} : { short: more.short }),
});

/** In the order of the help. */
export const flags: readonly Flag[] = [
  flag("add-runtime", "list", "Register an OCI runtime: name=path", { key: null }),
  flag("bip", "text", "IPv4 address and prefix of the default bridge: 172.30.0.1/24"),
  flag("bridge", "text", "Name of the default bridge (default naru0)", { short: "b" }),
  flag("cgroup-parent", "text", "Parent cgroup of all containers"),
  flag("config-file", "text", "Configuration file (default /etc/naru/daemon.json)", { key: null }),
  flag("data-root", "text", "Where images and containers are kept (default /var/lib/naru)"),
  flag("debug", "flag", "Log what is of use to developers", { short: "D" }),
  flag("default-runtime", "text", "Runtime of containers that ask for none (default naru)"),
  flag(
    "default-shm-size",
    "text",
    "Size of /dev/shm of containers that ask for none (default 64M)",
  ),
  flag("default-ulimit", "list", "Ulimit of containers: nofile=1024:2048", { key: null }),
  flag("dns", "list", "DNS servers of containers"),
  flag("dns-opt", "list", "DNS options of containers", { key: "dns-opts" }),
  flag("dns-search", "list", "DNS search domains of containers"),
  flag("exec-root", "text", "Where sockets and runtime state are kept (default /run/naru)"),
  flag("group", "text", "Group of the socket (default naru, else docker, else root)", {
    short: "G",
  }),
  flag("host", "list", "Socket to listen on: unix:///path, or fd:// for systemd's", {
    short: "H",
    key: "hosts",
  }),
  flag("init", "flag", "Run an init in containers that do not say"),
  flag("init-path", "text", "The init program (default docker-init or tini)"),
  flag("insecure-registry", "list", "Registry that may be spoken to without TLS", {
    key: "insecure-registries",
  }),
  flag("label", "list", "Label of the engine: key=value", { key: "labels" }),
  flag(
    "live-restore",
    "flag",
    "Accepted for Docker's sake: containers always run on without the daemon",
  ),
  flag("log-driver", "text", "Log driver of containers (default json-file)"),
  flag("log-format", "text", "Form of the daemon's own log: text or json"),
  flag("log-level", "text", "Level of the daemon's own log: debug, info, warn, error", {
    short: "l",
  }),
  flag("log-opt", "map", "Log options of containers: max-size=10m", { key: "log-opts" }),
  flag("mtu", "number", "MTU of the default bridge"),
  flag("pidfile", "text", "File with the daemon's process number (default /run/naru/naru.pid)", {
    short: "p",
  }),
  flag("registry-mirror", "list", "Mirror that is asked before Docker Hub", {
    key: "registry-mirrors",
  }),
  flag("validate", "flag", "Check flags and configuration, and end", { key: null }),
  flag("help", "flag", "Print this help", { short: "h", key: null }),
  flag("version", "flag", "Print the version", { short: "v", key: null }),
];

/** Keys of the file that are no plain flag. */
export const FILE_ONLY_KEYS: ReadonlySet<string> = new Set(["runtimes", "default-ulimits"]);

export type FlagValue = string | number | boolean | readonly string[] | Record<string, string>;
export type FlagValues = Map<string, FlagValue>;

const byName = new Map(flags.map((each) => [each.name, each]));
const byShort = new Map(flags.flatMap((each) => (each.short ? [[each.short, each] as const] : [])));
const byKey = new Map(
  flags.flatMap((each) => (each.key === null ? [] : [[each.key, each] as const])),
);

export const flagOfKey = (key: string): Flag | undefined => byKey.get(key);

/** @throws EngineError "invalid" in the words of Docker's own parser */
export function parseFlags(args: readonly string[]): FlagValues {
  const values: FlagValues = new Map();
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (!word.startsWith("-") || word === "-") {
      throw invalid(`"naru daemon" accepts no arguments: ${word}`);
    }
    const long = word.startsWith("--");
    const at = word.indexOf("=");
    const name = word.slice(long ? 2 : 1, at < 0 ? undefined : at);
    const known = long ? byName.get(name) : byShort.get(name.slice(0, 1));
    if (known === undefined) {
      throw invalid(
        long ? `unknown flag: --${name}` : `unknown shorthand flag: '${name}' in ${word}`,
      );
    }
    let text: string | undefined = at < 0 ? undefined : word.slice(at + 1);
    if (!long && name.length > 1) {
      if (known.kind === "flag") rest.unshift(`-${word.slice(2)}`);
      else text = word.slice(2).replace(/^=/, "");
    }
    if (known.kind === "flag") text = text ?? "true";
    else text ??= rest.shift();
    if (text === undefined) throw invalid(`flag needs an argument: --${known.name}`);
    put(values, known, text);
  }
  return values;
}

function put(values: FlagValues, { name, kind }: Flag, text: string): void {
  const bad = (type: string) =>
    invalid(`invalid argument "${text}" for "--${name}" flag: it is no ${type}`);
  switch (kind) {
    case "text":
      values.set(name, text);
      return;
    case "number":
      if (!/^\d{1,9}$/.test(text)) throw bad("number");
      values.set(name, Number(text));
      return;
    case "flag":
      if (!/^(1|0|t|f|true|false)$/i.test(text)) throw bad("truth value");
      values.set(name, /^(1|t|true)$/i.test(text));
      return;
    case "list":
      values.set(name, [...((values.get(name) as string[] | undefined) ?? []), text]);
      return;
    case "map": {
      const at = text.indexOf("=");
      if (at < 1) throw bad("key=value");
      const map = (values.get(name) as Record<string, string> | undefined) ?? {};
      values.set(name, { ...map, [text.slice(0, at)]: text.slice(at + 1) });
    }
  }
}

/** A value of the configuration file, checked against its flag's kind. @throws EngineError "invalid" */
export function checkFileValue({ kind, key }: Flag, value: unknown): FlagValue {
  const strings = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((each) => typeof each === "string");
  const wrong = invalid(`the configuration's "${key}" is not of the form ${FORMS[kind]}`);
  switch (kind) {
    case "text":
      if (typeof value !== "string") throw wrong;
      return value;
    case "number":
      if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw wrong;
      return value;
    case "flag":
      if (typeof value !== "boolean") throw wrong;
      return value;
    case "list":
      if (!strings(value)) throw wrong;
      return value;
    case "map":
      if (typeof value !== "object" || value === null || !strings(Object.values(value)))
        throw wrong;
      return value as Record<string, string>;
  }
}

const FORMS: Readonly<Record<FlagKind, string>> = {
  text: '"text"',
  number: "1500",
  flag: "true",
  list: '["text"]',
  map: '{"key": "value"}',
};

export function helpText(): string {
  const rows = flags.map(({ name, short, kind, help }) => {
    const left = `  ${short === undefined ? "   " : `-${short},`} --${name}${kind === "flag" ? "" : ` ${kind}`}`;
    return `${left.padEnd(34)} ${help}`;
  });
  return [
    "Usage:  naru daemon [OPTIONS]",
    "",
    "Serves the Docker Engine API. Containers run on when it ends, and when it is killed.",
    "",
    "  naru daemon                              as the system's engine",
    "  naru daemon --data-root /tmp/n/data --exec-root /tmp/n/run -H unix:///tmp/n/naru.sock --bridge n0",
    "",
    "Options:",
    ...rows,
  ].join("\n");
}
