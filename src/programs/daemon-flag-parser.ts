/** Reads `naru daemon`'s command line by the table of its flags, in the words of Docker's own parser. */
import { invalid } from "#base";

import { FIXED, type Flag, type FlagKind, flags } from "./daemon-flags.ts";

export type FlagValue = string | number | boolean | readonly string[] | Record<string, string>;
export type FlagValues = Map<string, FlagValue>;

/** Fixed options read as flags too: `--iptables=true` is as good as saying nothing. */
const fixedFlags: readonly Flag[] = Object.entries(FIXED).map(([key, { value }]) => ({
  // dockerd's flags of lists are singular, its keys plural.
  name: Array.isArray(value) ? key.replace(/s$/, "") : key,
  kind: fixedKind(value),
  key,
  help: "",
}));

function fixedKind(value: unknown): FlagKind {
  if (Array.isArray(value)) return "list";
  if (typeof value === "number") return "number";
  return typeof value === "boolean" ? "flag" : "text";
}

const all = [...flags, ...fixedFlags];
const byName = new Map(all.map((each) => [each.name, each]));
const byShort = new Map(all.flatMap((each) => (each.short ? [[each.short, each] as const] : [])));
const byKey = new Map(
  all.flatMap((each) => (each.key === null ? [] : [[each.key, each] as const])),
);

export const flagOfKey = (key: string): Flag | undefined => byKey.get(key);
export const keyOfFlag = (name: string): string => byName.get(name)?.key ?? name;

/** @throws EngineError "invalid" when an option asks for what this engine does not do */
export function refuseFixed(values: FlagValues): void {
  for (const { name, key } of fixedFlags) {
    const given = values.get(name);
    const fixed = FIXED[key ?? ""];
    if (given === undefined || fixed === undefined) continue;
    if (JSON.stringify(given) === JSON.stringify(fixed.value)) continue;
    throw invalid(`${key} cannot be ${JSON.stringify(given)} with this engine: ${fixed.why}`);
  }
}

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
      if (!/^-?\d{1,9}$/.test(text)) throw bad("number");
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
      if (typeof value !== "number" || !Number.isSafeInteger(value)) throw wrong;
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
