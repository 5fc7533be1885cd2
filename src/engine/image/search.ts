/** `docker search`: which registry is meant, and what it answers. */
import { invalid } from "#base";

import type { ImageContext } from "./context.ts";
import type { ImageSearchResult, ImageService } from "./image-service.ts";

const HUB = "docker.io";
const LIMIT = 100;

export async function searchImages(
  { registry }: ImageContext,
  { term, limit, credentials, signal }: Parameters<ImageService["search"]>[0],
): Promise<ImageSearchResult[]> {
  if (/^https?:\/\//.test(term)) {
    throw invalid(`invalid repository name (ex: "registry.domain.tld/myrepos")`);
  }
  if (limit < 1 || limit > LIMIT) throw invalid(`limit ${limit} is outside the range of [1, 100]`);
  const { domain, rest } = placeOf(term);
  return await registry.search({
    domain,
    term: rest,
    limit,
    ...(credentials === undefined ? {} : { credentials }),
    signal,
  });
}

/** The part before the first slash is a registry when it could not be a user's name. */
function placeOf(term: string): { domain: string; rest: string } {
  const slash = term.indexOf("/");
  const first = term.slice(0, Math.max(0, slash));
  const isHost = /[.:]/.test(first) || first === "localhost";
  if (!isHost || first === HUB || first === "index.docker.io") {
    const name = isHost ? term.slice(slash + 1) : term;
    return { domain: HUB, rest: name.replace(/^library\//, "") };
  }
  return { domain: first, rest: term.slice(slash + 1) };
}
