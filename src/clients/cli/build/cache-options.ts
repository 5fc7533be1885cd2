/** `--cache-from` and `--cache-to`: `type=registry,ref=…`, or a name alone for that. */
import { resolve } from "node:path";

import { invalid } from "#base";

import { csvFields, keyValue } from "../options/csv.ts";

export interface CacheEntry {
  readonly type: string;
  readonly attributes: Readonly<Record<string, string>>;
}

/** @throws EngineError "invalid" */
export function parseCacheEntry(text: string): CacheEntry {
  const fields = csvFields(text);
  if (fields.length === 1 && !text.includes("=")) {
    return { type: "registry", attributes: { ref: text } };
  }
  let type = "";
  const attributes: Record<string, string> = {};
  for (const field of fields) {
    const [key, value] = keyValue(field);
    if (value === undefined) throw invalid(`invalid value ${field}`);
    if (key === "type") type = value;
    else attributes[key.toLowerCase()] = FOLDERS.has(key) ? resolve(value) : value;
  }
  if (type === "") throw invalid(`type required form> ${JSON.stringify(text)}`);
  return { type, attributes };
}

const FOLDERS = new Set(["src", "dest"]);

/** As BuildKit's clients write them. */
export const encodeCacheEntries = (entries: readonly CacheEntry[]): string =>
  entries.length === 0
    ? ""
    : JSON.stringify(
        entries.map(({ type, attributes }) => ({ Type: type, Attrs: { ...attributes } })),
      );
