/** The words of an instruction: split at white space, with quotes and escapes respected and kept. */

/** Words as they are written; null when a quote is never closed. */
export function splitQuoted(text: string, escape: string): string[] | null {
  const words: string[] = [];
  let word: string | null = null;
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? "";
    if (char === escape && quote !== "'" && at + 1 < text.length) {
      word = (word ?? "") + char + (text[at + 1] ?? "");
      at += 1;
    } else if (quote !== "") {
      word = (word ?? "") + char;
      if (char === quote) quote = "";
    } else if (/\s/.test(char)) {
      if (word !== null) words.push(word);
      word = null;
    } else {
      if (char === '"' || char === "'") quote = char;
      word = (word ?? "") + char;
    }
  }
  if (word !== null) words.push(word);
  return quote === "" ? words : null;
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
