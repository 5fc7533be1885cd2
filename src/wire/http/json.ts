/**
 * JSON from strangers: bounded in size and depth before it is parsed, refused in Docker's words.
 * Docker itself answers 500 to some of what is 400 here: an empty and a deeply nested body.
 */
import type { IncomingMessage } from "node:http";

import { API_BODY_LIMIT_BYTES, invalid, JSON_DEPTH_LIMIT, sentenceOf } from "#base";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** @throws EngineError "invalid": `invalid JSON: …`, or that there is more than one value */
export function parseJson(text: string): unknown {
  const end = endOfFirst(text);
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (end < text.length && isJson(text.slice(0, end))) {
      throw invalid("unexpected content after JSON", { cause });
    }
    throw invalid(`invalid JSON: ${sentenceOf(cause).replace(/^JSON Parse error: /, "")}`, {
      cause,
    });
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * One pass over the text, before the parser recurses into it.
 * @returns where its first object or list is complete; the text's end when it is neither, or never is
 */
function endOfFirst(text: string): number {
  let depth = 0;
  let end = text.length;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      if (depth > JSON_DEPTH_LIMIT) {
        throw invalid(`invalid JSON: nested deeper than ${JSON_DEPTH_LIMIT} levels`);
      }
    } else if (code === 0x7d || code === 0x5d) {
      depth -= 1;
      if (depth === 0 && end === text.length) end = at + 1;
    }
  }
  return end;
}

/** Where the string that opens at `start` closes; the end of the text when it never does. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ;) {
    const quote = text.indexOf('"', at);
    if (quote < 0) return text.length;
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote;
    at = quote + 1;
  }
}

/**
 * A request's JSON, or undefined when there is no body, which Docker lets pass for most requests.
 * @param read its bytes, where somebody has read them already
 */
export async function readJsonBody(
  request: IncomingMessage,
  read: Buffer | null = null,
): Promise<unknown> {
  const { headers } = request;
  const empty =
    headers["transfer-encoding"] === undefined &&
    (headers["content-length"] === undefined || headers["content-length"] === "0");
  requireJsonType(headers["content-type"], empty);
  if (empty) return undefined;
  const bytes = read ?? (await readBody(request, API_BODY_LIMIT_BYTES));
  const text = bytes.toString("utf8");
  return text.trim() === "" ? undefined : parseJson(text);
}

/** The same where a body must be: creating something from nothing is a mistake. */
export async function requireJsonBody(
  request: IncomingMessage,
  read: Buffer | null = null,
): Promise<unknown> {
  const body = await readJsonBody(request, read);
  if (body === undefined) throw invalid("invalid JSON: got EOF while reading request body");
  return body;
}

function requireJsonType(type: string | undefined, empty: boolean): void {
  if (empty && type === undefined) return;
  const [mediaType = ""] = (type ?? "").split(";", 1);
  if (mediaType.trim().toLowerCase() === "application/json") return;
  if (empty && mediaType.trim().toLowerCase() === "text/plain") return; // docker 1.2x sends this with nothing
  throw invalid(
    type === undefined || type.trim() === ""
      ? "malformed Content-Type header (): mime: no media type"
      : `unsupported Content-Type header (${type}): must be 'application/json'`,
  );
}

/** @throws EngineError "invalid" at the first byte beyond `limitBytes`; what follows is not read */
export function readBody(request: IncomingMessage, limitBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const tooLarge = () => invalid(`request body is too large: the limit is ${limitBytes} bytes`);
    if (Number(request.headers["content-length"] ?? 0) > limitBytes) {
      reject(tooLarge());
      return;
    }
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > limitBytes) {
        request.pause();
        chunks.length = 0;
        reject(tooLarge());
      } else chunks.push(chunk);
    });
    request.once("end", () => resolve(chunks.length === 1 ? head(chunks) : Buffer.concat(chunks)));
    request.once("error", reject);
    request.once("aborted", () =>
      reject(invalid("the client went away while sending its request")),
    );
  });
}

const head = (chunks: readonly Buffer[]): Buffer => chunks[0] ?? Buffer.alloc(0);
