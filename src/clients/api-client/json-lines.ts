/** Streams of JSON objects, one after another: progress and events. Split at line ends, whatever the chunks. */
import { EngineError, joinBytes } from "#base";

import type { ApiResponse } from "./client.ts";
import { LINE_LIMIT_BYTES } from "./limits.ts";

/** Every object of a stream. Leaving the loop early closes the connection. */
export async function* jsonLines<T>(response: ApiResponse): AsyncGenerator<T> {
  try {
    for await (const line of linesOf(response)) yield JSON.parse(line) as T;
  } finally {
    response.close();
  }
}

/** Every line with something on it, without its end. */
export async function* linesOf(response: Pick<ApiResponse, "read">): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest: Uint8Array = new Uint8Array(0);
  for (let chunk = await response.read(); chunk !== undefined; chunk = await response.read()) {
    let bytes = rest.length === 0 ? chunk : joinBytes([rest, chunk]);
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10)) {
      const line = decoder.decode(bytes.subarray(0, end)).trim();
      bytes = bytes.subarray(end + 1);
      if (line !== "") yield line;
    }
    rest = bytes;
    if (rest.length > LINE_LIMIT_BYTES) {
      throw new EngineError(
        "internal",
        `a line of the stream is longer than ${LINE_LIMIT_BYTES} bytes`,
      );
    }
  }
  const last = decoder.decode(rest).trim();
  if (last !== "") yield last;
}
