/** The words of an instruction: split at white space, with quotes and escapes respected and kept. */
import { invalid } from "#base";

/** Words as they are written. A quote that is never closed goes on to the end: expansion says what is wrong. */
export function splitQuoted(text: string, escape: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? "";
    if (char === escape && quote !== "'") {
      const next = text[at + 1];
      // At the end of the line there is nothing to escape.
      if (next !== undefined) word += char + next;
      at += 1;
    } else if (quote !== "") {
      word += char;
      if (char === quote) quote = "";
    } else if (/\s/.test(char)) {
      if (word !== "") words.push(word);
      word = "";
    } else {
      if (char === '"' || char === "'") quote = char;
      word += char;
    }
  }
  if (word !== "") words.push(word);
  return words;
}

/** A line of CSV. @throws EngineError "invalid" */
export function csvFields(text: string, what: string): string[] {
  const fields: string[] = [];
  const pattern = /(?:"((?:[^"]|"")*)"|([^,]*))(,|$)/gy;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    fields.push(match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
    if (match[3] === "") return fields;
  }
  throw invalid(`failed to parse csv ${what}`);
}

export type JsonWords =
  | { readonly kind: "words"; readonly words: string[] }
  /** A JSON array of other things than strings. */
  | { readonly kind: "notStrings" }
  | { readonly kind: "notJson" };

/** `["a", "b"]`. */
export function jsonWords(text: string): JsonWords {
  if (!text.trimStart().startsWith("[")) return { kind: "notJson" };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { kind: "notJson" };
  }
  if (!Array.isArray(parsed)) return { kind: "notJson" };
  const strings = parsed.filter((item) => typeof item === "string");
  return strings.length === parsed.length
    ? { kind: "words", words: strings }
    : { kind: "notStrings" };
}
