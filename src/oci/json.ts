/** JSON from strangers: size and depth are checked before the parser sees it. */
import { invalid, JSON_DEPTH_LIMIT } from "#base";

const decoder = new TextDecoder("utf-8", { fatal: true });

const OPEN = new Set(["{", "["].map((text) => text.charCodeAt(0)));
const CLOSE = new Set(["}", "]"].map((text) => text.charCodeAt(0)));
const QUOTE = '"'.charCodeAt(0);
const BACKSLASH = "\\".charCodeAt(0);

/** An object or array whose members are not looked at yet. */
export type Json = Readonly<Record<string, unknown>>;

/**
 * A JSON object.
 * @param what names the document in the error's sentence: "manifest"
 * @throws EngineError "invalid"
 */
export function parseJsonObject(bytes: Uint8Array, what: string): Json {
  if (depthOf(bytes) > JSON_DEPTH_LIMIT)
    throw invalid(`invalid ${what}: JSON is nested too deeply`);
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw invalid(`invalid ${what}: not a JSON document`, { cause });
  }
  if (!isObject(value)) throw invalid(`invalid ${what}: not a JSON object`);
  return value;
}

export const isObject = (value: unknown): value is Json =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isStringArray = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");

export const isStringRecord = (value: unknown): value is Record<string, string> =>
  isObject(value) && Object.values(value).every((item) => typeof item === "string");

/** The deepest nesting outside of strings. */
function depthOf(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index] ?? 0;
    if (inString) {
      if (byte === BACKSLASH) index += 1;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (OPEN.has(byte)) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (CLOSE.has(byte)) depth -= 1;
  }
  return deepest;
}
