/**
 * Which of the build cache's records are meant, in containerd's little language as BuildKit's clients and Docker's
 * `prune` speak it: `type==regular,private`, `id~=^abc`. Pure. Source: containerd, pkg/filters.
 */
import { invalid } from "#base";

import type { BuildCacheItem } from "./build-service.ts";

export type CacheFilter = (item: BuildCacheItem) => boolean;

type Test = (value: string | undefined) => boolean;

/**
 * Several texts are either, what commas part in one is all of them.
 * @returns null for every record there is
 * @throws EngineError "invalid" in containerd's words
 */
export function parseCacheFilter(texts: readonly string[]): CacheFilter | null {
  if (texts.length === 0 || texts.includes("")) return null;
  const filters = texts.map((text) => {
    try {
      return new Reader(text).selectors();
    } catch (cause) {
      if (!(cause instanceof Unreadable)) throw cause;
      const why = `filters: parse error: ${cause.message}: invalid argument`;
      throw invalid(`failed to parse prune filters [${texts.join(" ")}]: ${why}`, { cause });
    }
  });
  return (item) => filters.some((filter) => filter(item));
}

/** undefined for what the record does not have. What is only true or not has no value to compare. */
function fieldOf(item: BuildCacheItem, path: string): string | undefined {
  const isMutable = item.kind === "exec.cachemount";
  const fields: Readonly<Record<string, string | boolean | null>> = {
    id: item.id,
    // BuildKit knows only the second name; the API's definition promises the first.
    parent: item.parent,
    parents: item.parent,
    description: item.description,
    type: item.kind,
    inuse: item.isInUse,
    shared: item.isShared,
    private: !item.isShared,
    mutable: isMutable,
    immutable: !isMutable,
  };
  const value = Object.hasOwn(fields, path) ? fields[path] : null;
  if (typeof value === "boolean") return value ? "" : undefined;
  return value ?? undefined;
}

class Unreadable extends Error {}

const FIELD = /[A-Za-z0-9_]+/y;
const OPERATOR = /[=!~]+/y;
/** What is printed, but for what parts selectors. */
const VALUE = /[^\s,\p{C}]+/uy;
const QUOTED = /(["/|])((?:\\.|(?!\1)[^\\\n])*)\1/y;
const SPACE = /\s*/y;

class Reader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  selectors(): CacheFilter {
    const all = [this.#selector()];
    for (;;) {
      if (this.#at >= this.#text.length) break;
      if (this.#text[this.#at] !== ",") {
        throw this.#wrong(`unexpected input: ${this.#text[this.#at] ?? ""}`);
      }
      this.#at += 1;
      all.push(this.#selector());
    }
    return (item) => all.every((selector) => selector(item));
  }

  #selector(): CacheFilter {
    const names = [this.#field()];
    while (this.#text[this.#at] === ".") {
      this.#at += 1;
      names.push(this.#field());
    }
    // None of a record's fields has fields itself: what follows the first is ignored.
    const [path = ""] = names;
    const next = this.#text[this.#at];
    const test = next === undefined || next === "," ? isPresent : this.#comparison();
    return (item) => test(fieldOf(item, path));
  }

  #field(): string {
    this.#take(SPACE);
    const quoted = this.#quoted('"');
    if (quoted !== null) return quoted;
    return this.#take(FIELD) ?? this.#fail("expected field or quoted");
  }

  #comparison(): Test {
    this.#take(SPACE);
    const begin = this.#at;
    const operator = this.#take(OPERATOR) ?? this.#fail('expected an operator ("=="|"!="|"~=")');
    switch (operator) {
      case "==": {
        const wanted = this.#value('"');
        return (value) => value === wanted;
      }
      case "!=": {
        const wanted = this.#value('"');
        return (value) => (value ?? "") !== wanted;
      }
      case "~=":
        return matcherOf(this.#value('"/|'));
      default:
        this.#at = begin;
        return this.#fail(`unsupported operator ${JSON.stringify(operator)}`);
    }
  }

  #value(quotes: string): string {
    this.#take(SPACE);
    const quoted = this.#quoted(quotes);
    if (quoted !== null) return quoted;
    if (/[.,=!~]/.test(this.#text[this.#at] ?? "")) this.#fail("expected value or quoted");
    return this.#take(VALUE) ?? this.#fail("expected value or quoted");
  }

  /** null where no quote begins. */
  #quoted(quotes: string): string | null {
    const quote = this.#text[this.#at] ?? "";
    if (quote === "" || !'"/|'.includes(quote)) return null;
    const begin = this.#at;
    if (this.#take(QUOTED) === null) this.#fail("quoted literal not terminated");
    const end = this.#at;
    this.#at = begin;
    if (!quotes.includes(quote)) this.#fail("invalid quote encountered");
    this.#at = end;
    return unescaped(this.#text.slice(begin + 1, end - 1));
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const taken = pattern.exec(this.#text)?.[0] ?? null;
    this.#at += taken?.length ?? 0;
    return taken;
  }

  #fail(what: string): never {
    throw this.#wrong(what);
  }

  /** The text with the place marked, as containerd shows it. */
  #wrong(what: string): Unreadable {
    const [text, at] = [this.#text, this.#at];
    const shown =
      at < text.length ? `${text.slice(0, at)} >|${text[at] ?? ""}|< ${text.slice(at + 1)}` : text;
    return new Unreadable(`[${shown}]: ${what}`);
  }
}

const isPresent: Test = (value) => value !== undefined;

/** A pattern that is none matches nothing, and is no error. */
function matcherOf(pattern: string): Test {
  let wanted: RegExp;
  try {
    wanted = new RegExp(pattern);
  } catch {
    return () => false;
  }
  return (value) => wanted.test(value ?? "");
}

const CONTROLS: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

const unescaped = (text: string): string =>
  text.replace(
    /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))/gs,
    (_whole, x?: string, u?: string, big?: string, octal?: string, other?: string) => {
      const hex = x ?? u ?? big;
      if (hex !== undefined) return codePoint(Number.parseInt(hex, 16));
      if (octal !== undefined) return codePoint(Number.parseInt(octal, 8));
      return CONTROLS[other ?? ""] ?? other ?? "";
    },
  );

const codePoint = (code: number): string =>
  code > 0x10_ffff ? "\u{FFFD}" : String.fromCodePoint(code);
