/**
 * `GET /v1/search`: the one page of the first registry API that is still asked. Docker Hub has it; a registry of the
 * second API answers 404, which is told as Docker tells it.
 */
import { internal, notFound, readAll, sentenceOf } from "#base";

import type { Credentials } from "./authorization.ts";
import type { Transport } from "./transport.ts";

export interface SearchRequest {
  readonly domain: string;
  readonly term: string;
  readonly limit: number;
  readonly credentials?: Credentials;
  readonly signal: AbortSignal;
}

export interface SearchResult {
  readonly name: string;
  readonly description: string;
  readonly isOfficial: boolean;
  readonly stars: number;
}

const ANSWER_LIMIT_BYTES = 4 * 1024 * 1024;

/** @throws EngineError "notFound" where there is no search, "internal" for an answer that is none */
export async function searchAt(
  transport: Transport,
  origin: URL,
  { term, limit, credentials, signal }: SearchRequest,
): Promise<SearchResult[]> {
  const url = new URL("/v1/search", origin);
  url.searchParams.set("q", term);
  url.searchParams.set("n", String(limit));
  const { username, password } = credentials ?? {};
  const authorization =
    username === undefined || username === ""
      ? null
      : `Basic ${Buffer.from(`${username}:${password ?? ""}`).toString("base64")}`;
  const { response } = await transport.send({ method: "GET", url, authorization, signal });
  if (response.status !== 200 || response.body === null) {
    await response.body?.cancel();
    const sentence = `Unexpected status code ${response.status}`;
    throw response.status === 404 ? notFound(sentence) : internal(sentence);
  }
  const tooLarge = () => internal("error decoding search results: the answer is too large");
  const bytes = await readAll(response.body, { limitBytes: ANSWER_LIMIT_BYTES, tooLarge });
  return resultsIn(new TextDecoder().decode(bytes)).slice(0, limit);
}

function resultsIn(text: string): SearchResult[] {
  let answer: { readonly results?: unknown } | null;
  try {
    answer = JSON.parse(text) as typeof answer;
  } catch (cause) {
    throw internal(`error decoding search results: ${sentenceOf(cause)}`, { cause });
  }
  const results: unknown = answer?.results;
  if (!Array.isArray(results)) return [];
  return results.flatMap((one: unknown) => {
    const { name, description, is_official, star_count } = (one ?? {}) as Record<string, unknown>;
    if (typeof name !== "string") return [];
    return [
      {
        name,
        description: typeof description === "string" ? description : "",
        isOfficial: is_official === true,
        stars: typeof star_count === "number" ? star_count : 0,
      },
    ];
  });
}
