/** What clients say of how layers are packed and caches are written, in BuildKit's words. Pure. */
import { invalid } from "#base";
import type { LayerCompression } from "#engine/layer";

import type { CacheTargetOptions } from "./build-service.ts";

type Attributes = Readonly<Record<string, string | undefined>>;

const HIGHEST_LEVEL = { gzip: 9, zstd: 22, uncompressed: 99 } as const;

/** `compression`, `compression-level`, `force-compression`; null where nothing is asked. @throws EngineError "invalid" */
export function readCompression(
  attributes: Attributes,
): (LayerCompression & { readonly isForced: boolean }) | null {
  const { compression: type = "" } = attributes;
  const isForced = isTrue(attributes, "force-compression", false);
  if (type === "") return isForced ? { type: "gzip", level: null, isForced } : null;
  // Of estargz there is no writer here; who asks for it wants more than a smaller layer.
  if (type !== "gzip" && type !== "zstd" && type !== "uncompressed") {
    throw invalid(`unsupported layer compression type: ${type}`);
  }
  const text = attributes["compression-level"] ?? "";
  if (text !== "" && (!/^\d{1,2}$/.test(text) || Number(text) > HIGHEST_LEVEL[type])) {
    throw invalid(`non-int value ${text} specified for compression-level`);
  }
  return { type, level: text === "" ? null : Number(text), isForced };
}

/** Attributes of `--cache-to` that all kinds have. */
export const CACHE_OPTIONS: readonly string[] = [
  "mode",
  "ignore-error",
  "image-manifest",
  "oci-mediatypes",
  "compression",
  "compression-level",
  "force-compression",
];

/** @throws EngineError "invalid" in BuildKit's words */
export function readCacheOptions(attributes: Attributes): CacheTargetOptions {
  const isOci = isTrue(attributes, "oci-mediatypes", true);
  const isIndex = !isTrue(attributes, "image-manifest", isOci);
  if (!isIndex && !isOci) {
    throw invalid(
      "invalid configuration for remote cache: OCI mediatypes are required for image-manifest cache format",
    );
  }
  const compression = readCompression(attributes);
  if (compression?.type === "zstd" && !isOci) {
    throw invalid("unsupported layer compression type: zstd");
  }
  return {
    mode: modeOf(attributes["mode"] ?? ""),
    ignoreError: isTrue(attributes, "ignore-error", false),
    compression,
    form: { isIndex, isOci },
  };
}

function modeOf(text: string): "min" | "max" {
  if (text === "" || text === "min") return "min";
  if (text === "max") return "max";
  throw invalid(`invalid cache mode ${JSON.stringify(text)}`);
}

/** Go's words for it. */
function isTrue(attributes: Attributes, name: string, otherwise: boolean): boolean {
  const text = attributes[name];
  if (text === undefined || text === "") return otherwise;
  if (/^(?:1|t|true)$/i.test(text)) return true;
  if (/^(?:0|f|false)$/i.test(text)) return false;
  throw invalid(`failed to parse ${name}: ${JSON.stringify(text)} is neither true nor false`);
}
