/** A request's query, read as Docker's daemon reads it. */
import { invalid } from "#base";

import { parseJson } from "./json.ts";

/** What Docker takes for false; everything else that is given is true. */
const FALSE = new Set(["", "0", "no", "false", "none"]);

export class Query {
  readonly #fields: URLSearchParams;

  constructor(text: string) {
    this.#fields = new URLSearchParams(text);
  }

  /** "" when it is not given. */
  text(name: string): string {
    return this.#fields.get(name) ?? "";
  }

  has(name: string): boolean {
    return this.#fields.has(name);
  }

  all(name: string): string[] {
    return this.#fields.getAll(name);
  }

  bool(name: string, byDefault = false): boolean {
    const value = this.#fields.get(name);
    return value === null ? byDefault : !FALSE.has(value.trim().toLowerCase());
  }

  /** null when it is not given. @throws EngineError "invalid" in the words of Go's strconv */
  integer(name: string): number | null {
    const value = this.#fields.get(name);
    if (value === null || value === "") return null;
    return parseInteger(value);
  }

  /** `filters`: names, each with its values. @throws EngineError "invalid" */
  filters(name = "filters"): Filters {
    const value = this.#fields.get(name);
    return value === null || value === "" ? NO_FILTERS : parseFilters(value);
  }
}

export type Filters = Readonly<Record<string, readonly string[]>>;
const NO_FILTERS: Filters = {};

/** A decimal whole number that a double holds exactly. @throws EngineError "invalid" */
export function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text)) {
    throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  }
  if (!Number.isSafeInteger(value)) {
    throw invalid(`strconv.ParseInt: parsing ${JSON.stringify(text)}: value out of range`);
  }
  return value;
}

/** `{"status":{"running":true}}`, and the older `{"status":["running"]}`. @throws EngineError "invalid" */
function parseFilters(text: string): Filters {
  const refused = () => invalid("invalid filter");
  let parsed: unknown;
  try {
    parsed = parseJson(text);
  } catch {
    throw refused();
  }
  if (parsed === null) return NO_FILTERS;
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw refused();
  return Object.fromEntries(
    Object.entries(parsed).map(([name, values]: [string, unknown]) => {
      if (Array.isArray(values) && values.every((value) => typeof value === "string")) {
        return [name, values];
      }
      if (typeof values !== "object" || values === null || Array.isArray(values)) throw refused();
      if (!Object.values(values).every((value) => typeof value === "boolean")) throw refused();
      return [name, Object.keys(values)];
    }),
  );
}

/** @throws EngineError "invalid" when a filter is none of `known`: `invalid filter 'colour'` */
export function requireFilters(filters: Filters, known: ReadonlySet<string>): Filters {
  for (const name of Object.keys(filters)) {
    if (!known.has(name)) throw invalid(`invalid filter '${name}'`);
  }
  return filters;
}
