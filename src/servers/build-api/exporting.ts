/** What all exporters work with: the results, what is said about them, and the words of their options. */
import { invalid } from "#base";
import {
  type BuildService,
  type BuiltImage,
  type ImageAnnotation,
  readCompression,
  type SolvedBuild,
  type Statement,
} from "#engine/build";
import type { ImageService } from "#engine/image";
import { type Descriptor, type Digest, parsePlatform, formatPlatform } from "#oci";

import type { Progress } from "./progress.ts";
import type { Session } from "./session.ts";

/** One platform's result. */
export interface ExportedResult {
  readonly solved: SolvedBuild;
  /** About a manifest that has these names. */
  readonly statements: (subject: {
    readonly names: readonly string[];
    readonly digest: Digest;
  }) => readonly Statement[];
}

export interface Exporting {
  readonly results: readonly [ExportedResult, ...ExportedResult[]];
  /** The result is a list of platforms, even of one. */
  readonly isMany: boolean;
  /** What is said about it was asked for by name: then it goes into folders too. */
  readonly isAttested: boolean;
  readonly builds: Pick<BuildService, "keepImage" | "packImage">;
  readonly images: Pick<ImageService, "push">;
  readonly session: () => Promise<Session>;
  readonly progress: Progress;
  /** Told of each image that was made. */
  readonly onMade?: (target: Descriptor, documents: ReadonlyMap<Digest, Uint8Array>) => void;
  readonly signal: AbortSignal;
}

type Attributes = Readonly<Record<string, string>>;

export interface ImageOptions {
  readonly annotations: readonly ImageAnnotation[];
  readonly compression: ReturnType<typeof readCompression>;
  readonly isOci: boolean;
  readonly isPushed: boolean;
  readonly isArchive: boolean;
}

const isTrue = (text: string | undefined): boolean => /^(?:1|t|true)$/i.test(text ?? "");
const isFalse = (text: string | undefined): boolean => /^(?:0|f|false)$/i.test(text ?? "");
/** What decides about the image, read here; and what is so in any case, or says how it is stored, which is ours to decide. */
const READ = new Set(
  "compression compression-level force-compression oci-mediatypes push tar".split(" "),
);
const PASSED = new Set(
  (
    "name push-by-digest dest unpack store load context lazy use-merge registry.insecure name-canonical" +
    " dangling-name-prefix danglingname prefer-nondist-layers prefer-image-digest buildinfo" +
    " buildinfo-attrs inline-buildinfo rewrite-timestamp attestation-inline attestation-prefix nydus-fs-version"
  ).split(" "),
);
/** Of those that are passed over: what would ask for something else than is so in any case. */
const ASKS_OTHERWISE: Readonly<Record<string, (value: string) => boolean>> = {
  store: isFalse,
  "name-canonical": isTrue,
  "prefer-nondist-layers": isTrue,
  "dangling-name-prefix": (value) => value !== "",
  danglingname: (value) => value !== "",
  "registry.insecure": isTrue,
  "nydus-fs-version": (value) => value !== "",
};
const ANNOTATION =
  /^annotation(?:-(manifest|index|manifest-descriptor|index-descriptor))?(?:\[([^\]]+)\])?\.(.+)$/;
/** A registry takes no more in a manifest. */
const ANNOTATION_LIMIT = 200;

/** @throws EngineError "invalid" for what is not known, or makes no sense */
export function imageOptions(type: string, attributes: Attributes): ImageOptions {
  for (const [name, value] of Object.entries(attributes)) {
    if (ASKS_OTHERWISE[name]?.(value) === true) {
      throw invalid(`exporter option ${JSON.stringify(`${name}=${value}`)} is not supported here`);
    }
    if (READ.has(name) || PASSED.has(name) || ANNOTATION.test(name)) continue;
    throw invalid(`exporter option ${JSON.stringify(name)} is not supported here`);
  }
  if (isTrue(attributes["push-by-digest"])) {
    throw invalid("push-by-digest is currently not implemented for docker driver");
  }
  const compression = readCompression(attributes);
  const asked = attributes["oci-mediatypes"];
  const isOci = asked === undefined ? type !== "docker" : !isFalse(asked);
  const isZstd = compression?.type === "zstd";
  if (isZstd && !isOci) throw invalid("unsupported layer compression type: zstd");
  return {
    annotations: annotationsOf(attributes),
    compression,
    isOci,
    isPushed: isTrue(attributes["push"]),
    isArchive: !isFalse(attributes["tar"]),
  };
}

function annotationsOf(attributes: Attributes): ImageAnnotation[] {
  const found: ImageAnnotation[] = [];
  for (const [key, value] of Object.entries(attributes)) {
    const match = ANNOTATION.exec(key);
    if (match === null) continue;
    const [, on = "manifest", platform = "", name = ""] = match;
    if (!isPlace(on)) throw invalid(`invalid annotation ${key}`);
    const only = platform === "" ? "" : formatPlatform(parsePlatform(platform));
    found.push({ on, platform: only, name, value });
  }
  if (found.length > ANNOTATION_LIMIT) throw invalid("too many annotations");
  return found;
}

const isPlace = (text: string): text is ImageAnnotation["on"] =>
  ["manifest", "index", "manifest-descriptor", "index-descriptor"].includes(text);

/** The results as an image's platforms, with what is said about them. */
export const builtImages = (
  { results }: Exporting,
  names: readonly string[],
  isSaid = true,
): BuiltImage[] =>
  results.map(({ solved, statements }) => ({
    config: solved.config,
    platform: solved.platform,
    statements: (digest) => (isSaid ? statements({ names, digest }) : []),
  }));
