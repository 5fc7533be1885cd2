/** An instruction's flags: `--chown=1:2 --link`. Sentences are BuildKit's. */
import { invalid } from "#base";

import { suggestion } from "./suggest.ts";

export type FlagType = "text" | "texts" | "boolean";

export class Flags {
  readonly #values = new Map<string, string[]>();

  /** @throws EngineError "invalid": `unknown flag: --x` */
  constructor(given: readonly string[], known: Readonly<Record<string, FlagType>>) {
    for (const text of given) {
      const [, name = "", equals, value = ""] = /^--([^=]*)(=?)([^]*)$/.exec(text) ?? [];
      const type = Object.hasOwn(known, name) ? known[name] : undefined;
      if (type === undefined) {
        throw invalid(`unknown flag: --${name}${suggestion(name, Object.keys(known))}`);
      }
      const before = this.#values.get(name);
      if (before !== undefined && type !== "texts") {
        throw invalid(`duplicate flag specified: --${name}`);
      }
      const hasValue = equals === "=";
      if ((type !== "boolean" && !hasValue) || (hasValue && value === "" && type === "boolean")) {
        throw invalid(`missing a value on flag: --${name}`);
      }
      const stored = type === "boolean" ? truth(name, hasValue ? value : "true") : value;
      this.#values.set(name, [...(before ?? []), stored]);
    }
  }

  text(name: string): string {
    return this.#values.get(name)?.[0] ?? "";
  }

  texts(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  is(name: string): boolean {
    return this.text(name) === "true";
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }
}

function truth(name: string, value: string): string {
  const lower = value.toLowerCase();
  if (lower === "true" || lower === "false") return lower;
  throw invalid(`expecting boolean value for flag --${name}, not: ${value}`);
}
