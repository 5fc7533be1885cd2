/** Caches of elsewhere: `--cache-to` and `--cache-from`, at registries and in a client's folders. */
import { invalid } from "#base";
import { CACHE_OPTIONS, type CacheSource, type CacheTarget, readCacheOptions } from "#engine/build";
import { digestOf, isDigest } from "#oci";
import type { SolveRequest } from "#wire/grpc";

import { ClientStore } from "./content-store.ts";
import type { Session } from "./session.ts";

type Attributes = Readonly<Record<string, string>>;

/** What clients call a cache's folder in their sessions. */
const storeOf = (attributes: Attributes, name: "dest" | "src"): string =>
  `local:${attributes["store"] ?? attributes[name] ?? ""}`;

/**
 * Where a build's cache goes. `response`: what a client wants to know when it is there.
 * @throws EngineError "invalid" in BuildKit's words
 */
export function cacheTargetsOf(
  { cache }: SolveRequest,
  session: () => Promise<Session>,
): { targets: CacheTarget[]; response(): Record<string, string> } {
  let written: string | null = null;
  const targets = (cache?.exports ?? []).map(({ type, attrs }): CacheTarget => {
    checkKnown(type, attrs);
    const options = readCacheOptions(attrs);
    switch (type) {
      case "inline":
        return { kind: "inline" };
      case "registry": {
        const { ref = "" } = attrs;
        if (ref === "") throw invalid("ref is required for registry cache export");
        return { kind: "registry", reference: ref, ...options };
      }
      case "local":
        return {
          kind: "given",
          name: "client directory",
          ...options,
          write: async ({ manifest, mediaType, config, blobs, signal }) => {
            const store = new ClientStore(await session(), storeOf(attrs, "dest"));
            for (const [descriptor, open] of blobs) await store.write(descriptor, open(), signal);
            for (const bytes of [config, manifest]) {
              const known = { digest: digestOf(bytes), size: bytes.length };
              await store.write(known, new Blob([bytes]).stream(), signal);
            }
            const size = manifest.length;
            written = JSON.stringify({ mediaType, digest: digestOf(manifest), size });
          },
        };
      default:
        throw invalid(`unknown cache exporter: ${JSON.stringify(type)}`);
    }
  });
  return {
    targets,
    response: () => (written === null ? {} : { "cache.manifest": written }),
  };
}

/** Beside what all kinds have; the places of local ones are the client's own business. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  inline: [],
  registry: ["ref"],
  local: ["dest", "store", "tag"],
};

/** @throws EngineError "invalid" for what would be passed over */
function checkKnown(type: string, attributes: Attributes): void {
  const known = KNOWN[type];
  if (known === undefined) throw invalid(`unknown cache exporter: ${JSON.stringify(type)}`);
  for (const [name, value] of Object.entries(attributes)) {
    if (known.includes(name) || CACHE_OPTIONS.includes(name)) continue;
    // What is so in any case.
    if (/^registry\.insecure$/.test(name) && /^(?:0|f|false)$/i.test(value)) continue;
    throw invalid(`cache option ${JSON.stringify(name)} is not supported here`);
  }
}

/** @throws EngineError "invalid" in BuildKit's words */
export function cacheSourceOf(
  { type, attributes }: { readonly type: unknown; readonly attributes: Attributes },
  session: () => Promise<Session>,
): CacheSource {
  if (type === "registry" && attributes["ref"] !== undefined) {
    return { kind: "registry", reference: attributes["ref"] };
  }
  if (type !== "local") throw invalid(`unknown cache importer: ${JSON.stringify(type)}`);
  const { digest = "" } = attributes;
  if (!isDigest(digest)) throw invalid("local cache importer requires explicit digest");
  const store = async () => new ClientStore(await session(), storeOf(attributes, "src"));
  return {
    kind: "given",
    name: "client directory",
    manifest: async (signal) => (await store()).read(digest, signal),
    blob: async (blob, signal) => (await store()).read(blob, signal),
  };
}
