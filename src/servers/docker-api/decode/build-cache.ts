/** `--cache-from` and `--cache-to`: names of images, as the docker CLI sends them, or `{Type, Attrs}` as BuildKit's clients have them. */
import { invalid, notImplemented } from "#base";
import { CACHE_OPTIONS, type CacheSource, type CacheTarget, readCacheOptions } from "#engine/build";
import { parseReference } from "#oci";
import { parseJson } from "#wire/http";

/** A cache in the query, by its place in it. */
type Entry = { readonly type: string; readonly attributes: ReadonlyMap<string, string> };

/** What the client's own folders are reached by. */
export interface ClientCaches {
  source(index: number): Omit<Extract<CacheSource, { kind: "given" }>, "kind" | "name">;
  target(index: number): Pick<Extract<CacheTarget, { kind: "given" }>, "write">;
}

const CACHES_LIMIT = 32;

/** @param client null where the client cannot be asked. @throws EngineError "invalid" or "notImplemented" */
export function decodeCacheSources(text: string, client: ClientCaches | null): CacheSource[] {
  return entriesIn(text, "cachefrom").map(({ type, attributes }, index) => {
    switch (type) {
      case "registry": {
        const { ref: reference } = only(attributes, type, ["ref"]);
        if (!reference) throw invalid("registry cache importer requires ref");
        parseReference(reference);
        return { kind: "registry", reference };
      }
      case "local": {
        const { src } = only(attributes, type, ["src"]);
        if (!src) throw invalid("local cache importer requires src");
        return { kind: "given", name: src, ...needed(client).source(index) };
      }
      default:
        throw unknownType(type, "importer");
    }
  });
}

/** @throws EngineError "invalid" or "notImplemented" */
export function decodeCacheTargets(text: string, client: ClientCaches | null): CacheTarget[] {
  return entriesIn(text, "cacheto").map(({ type, attributes }, index) => {
    switch (type) {
      case "inline":
        only(attributes, type, []);
        return { kind: "inline" };
      case "registry": {
        const options = only(attributes, type, ["ref", ...CACHE_OPTIONS]);
        const { ref: reference } = options;
        if (!reference) throw invalid("registry cache exporter requires ref");
        if (parseReference(reference).digest !== null) {
          throw invalid("a cache cannot be pushed to a digest");
        }
        return { kind: "registry", reference, ...readCacheOptions(options) };
      }
      case "local": {
        const options = only(attributes, type, ["dest", ...CACHE_OPTIONS]);
        const { dest } = options;
        if (!dest) throw invalid("local cache exporter requires dest");
        return {
          kind: "given",
          name: dest,
          ...readCacheOptions(options),
          ...needed(client).target(index),
        };
      }
      default:
        throw unknownType(type, "exporter");
    }
  });
}

const unknownType = (type: string, what: "importer" | "exporter"): Error =>
  type === "gha"
    ? notImplemented(`not implemented yet: the cache ${what} ${type}`)
    : invalid(`unknown cache ${what}: ${JSON.stringify(type)}`);

function needed(client: ClientCaches | null): ClientCaches {
  if (client === null) throw invalid("a local cache needs a client that can send it");
  return client;
}

function only(
  attributes: ReadonlyMap<string, string>,
  type: string,
  known: readonly string[],
): Readonly<Record<string, string | undefined>> {
  for (const name of attributes.keys()) {
    if (!known.includes(name)) {
      throw notImplemented(`not implemented yet: the option ${name} of a ${type} cache`);
    }
  }
  return Object.fromEntries(attributes);
}

function entriesIn(text: string, name: string): Entry[] {
  const parsed = text === "" ? [] : (parseJson(text) ?? []);
  if (!Array.isArray(parsed) || parsed.length > CACHES_LIMIT) throw invalid(`invalid ${name}`);
  return parsed.map((item: unknown) => {
    if (typeof item === "string") {
      return { type: "registry", attributes: new Map([["ref", item]]) };
    }
    const { Type: type, Attrs: attributes } = (item ?? {}) as { Type?: unknown; Attrs?: object };
    const pairs: [string, unknown][] = Object.entries(attributes ?? {});
    const isGood =
      typeof type === "string" &&
      pairs.every((pair): pair is [string, string] => typeof pair[1] === "string");
    if (!isGood) throw invalid(`invalid ${name}`);
    return { type, attributes: new Map(pairs) };
  });
}
