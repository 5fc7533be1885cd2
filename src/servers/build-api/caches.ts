/** Caches of elsewhere: `--cache-to` and `--cache-from`, at registries and in a client's folders. */
import { invalid } from "#base";
import type { CacheSource, CacheTarget } from "#engine/build";
import { digestOf, isDigest, MEDIA_TYPE } from "#oci";
import type { SolveRequest } from "#wire/grpc";

import { ClientStore } from "./content-store.ts";
import type { Session } from "./session.ts";

type Attributes = Readonly<Record<string, string>>;

/** What clients call a cache's folder in their sessions. */
const storeOf = (attributes: Attributes, name: "dest" | "src"): string =>
  `local:${attributes["store"] ?? attributes[name] ?? ""}`;
const isTrue = (text: string | undefined): boolean => /^(?:1|t|true)$/i.test(text ?? "");

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
    const mode = modeOf(attrs["mode"]);
    const options = { mode, ignoreError: isTrue(attrs["ignore-error"]) } as const;
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
          write: async ({ manifest, config, blobs, signal }) => {
            const store = new ClientStore(await session(), storeOf(attrs, "dest"));
            for (const [descriptor, open] of blobs) await store.write(descriptor, open(), signal);
            for (const bytes of [config, manifest]) {
              const known = { digest: digestOf(bytes), size: bytes.length };
              await store.write(known, new Blob([bytes]).stream(), signal);
            }
            const size = manifest.length;
            const mediaType = MEDIA_TYPE.ociManifest;
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

function modeOf(text: string | undefined): "min" | "max" {
  if (text === undefined || text === "" || text === "min") return "min";
  if (text === "max") return "max";
  throw invalid(`unknown cache mode: ${text}`);
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
