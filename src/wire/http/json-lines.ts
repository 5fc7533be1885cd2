/** JSON objects one after another, as events and progress arrive: a line each, or back to back. */
import { invalid } from "#base";

import { parseJson } from "./json.ts";

/** One object must fit: progress and events are far smaller. */
const LINE_LIMIT_CHARACTERS = 16 * 1024 * 1024;

/** Every JSON line of a stream cut anywhere; empty lines are skipped. @throws EngineError "invalid" */
export async function* jsonLines(stream: ReadableStream<Uint8Array>): AsyncGenerator {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "") yield parseJson(line);
    if (rest.length > LINE_LIMIT_CHARACTERS) throw invalid("a JSON line is too long");
  }
  rest += decoder.decode();
  if (rest.trim() !== "") yield parseJson(rest);
}
