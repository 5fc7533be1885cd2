/**
 * The image documents, read from bytes of a stranger into types that cannot be wrong.
 * A document that could be read as two things (a manifest that also lists manifests) is refused: CVE-2021-41190.
 */
import { IMAGE_LAYER_LIMIT, invalid } from "#base";

import { isDigest, parseDigest } from "./digest.ts";
import type { Descriptor, ImageConfig, Index, Manifest, Platform } from "./image-spec.ts";
import { isObject, isStringArray, isStringRecord, type Json, parseJsonObject } from "./json.ts";
import { isIndexType, isManifestType, MEDIA_TYPE } from "./media-types.ts";

/** What a manifest request or a descriptor led to. */
export type ManifestDocument =
  | { readonly kind: "manifest"; readonly mediaType: string; readonly manifest: Manifest }
  | { readonly kind: "index"; readonly mediaType: string; readonly index: Index }
  /** Docker's first format: known, and refused by whoever asked. */
  | { readonly kind: "schema1" };

/**
 * A manifest or an index, told apart by the declared media type, its own `mediaType` or its members.
 * @param declaredType a Content-Type or a descriptor's media type; others than the known ones are not trusted
 * @throws EngineError "invalid"
 */
export function parseManifestDocument(bytes: Uint8Array, declaredType = ""): ManifestDocument {
  const json = parseJsonObject(bytes, "manifest");
  if (json["schemaVersion"] === 1) return { kind: "schema1" };
  if (json["schemaVersion"] !== 2) {
    throw invalid(
      `invalid manifest: unsupported schemaVersion ${JSON.stringify(json["schemaVersion"] ?? null)}`,
    );
  }
  const ownType = json["mediaType"] ?? "";
  if (typeof ownType !== "string") throw invalid("invalid manifest: mediaType is not a string");
  if (contradicts(declaredType, ownType)) {
    throw invalid(
      `invalid manifest: mediaType in manifest should be '${declaredType}' not '${ownType}'`,
    );
  }
  const known = isIndexType(declaredType) || isManifestType(declaredType);
  const mediaType = known && ownType === "" ? declaredType : ownType;
  const hasManifests = json["manifests"] !== undefined && json["manifests"] !== null;
  const hasConfig = json["config"] !== undefined || json["layers"] !== undefined;
  if (hasManifests && hasConfig) {
    throw invalid("invalid manifest: it is a manifest and an index at once");
  }
  if (isIndexType(mediaType) || (mediaType === "" && hasManifests)) {
    return { kind: "index", mediaType: mediaType || MEDIA_TYPE.ociIndex, index: readIndex(json) };
  }
  if (isManifestType(mediaType) || (mediaType === "" && hasConfig)) {
    return {
      kind: "manifest",
      mediaType: mediaType || MEDIA_TYPE.ociManifest,
      manifest: readManifest(json),
    };
  }
  throw invalid(`unsupported manifest media type ${JSON.stringify(mediaType)}`);
}

/**
 * Docker's manifest under the OCI's name is a manifest all the same, and the other way round: `crane flatten` lists
 * one so in its index, and Docker pulls it. What is declared a manifest and calls itself an index is refused.
 */
function contradicts(declaredType: string, ownType: string): boolean {
  if (ownType === "") return false;
  return (
    (isIndexType(declaredType) && !isIndexType(ownType)) ||
    (isManifestType(declaredType) && !isManifestType(ownType))
  );
}

/** @throws EngineError "invalid" for what is not an index */
export function parseIndex(bytes: Uint8Array): Index {
  const document = parseManifestDocument(bytes);
  if (document.kind === "index") return document.index;
  throw invalid("invalid index: it is not an index");
}

/** An image's config. @throws EngineError "invalid" */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  const json = parseJsonObject(bytes, "image config");
  const rootfs = json["rootfs"];
  if (!isObject(rootfs)) throw invalid("invalid image config: no rootfs");
  if (rootfs["type"] !== undefined && rootfs["type"] !== "" && rootfs["type"] !== "layers") {
    throw invalid(
      `invalid image config: unsupported rootfs type ${JSON.stringify(rootfs["type"])}`,
    );
  }
  const diffIds = rootfs["diff_ids"] ?? [];
  if (!isStringArray(diffIds))
    throw invalid("invalid image config: diff_ids is not a list of digests");
  if (diffIds.length > IMAGE_LAYER_LIMIT) throw invalid("invalid image config: max depth exceeded");
  checkText(json, ["architecture", "os", "variant", "created", "author", "os.version"]);
  checkRunConfig(json["config"]);
  checkHistory(json["history"]);
  const runConfig = json["config"];
  return {
    ...(withoutNulls(json) as unknown as ImageConfig),
    ...(isObject(runConfig) ? { config: withoutNulls(runConfig) } : {}),
    architecture: textOf(json["architecture"]),
    os: textOf(json["os"]),
    rootfs: { type: "layers", diff_ids: diffIds.map(parseDigest) },
  };
}

/** Members that are null in Docker's documents become absent, as the types promise. */
const withoutNulls = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => !missing(value)));

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** @throws EngineError "invalid" naming `where` */
export function readDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(`invalid ${where}: not a descriptor`);
  const { mediaType, digest, size } = value;
  if (typeof mediaType !== "string") throw invalid(`invalid ${where}: no media type`);
  if (typeof digest !== "string") throw invalid(`invalid ${where}: no digest`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`invalid ${where}: size is not a size`);
  }
  const descriptor: Descriptor = { mediaType, digest: parseDigest(digest), size };
  if (isStringRecord(value["annotations"])) descriptor.annotations = value["annotations"];
  if (isStringArray(value["urls"])) descriptor.urls = value["urls"];
  const platform = readPlatform(value["platform"]);
  if (platform) descriptor.platform = platform;
  return descriptor;
}

function readPlatform(value: unknown): Platform | null {
  if (!isObject(value)) return null;
  const { os, architecture, variant } = value;
  if (typeof os !== "string" || typeof architecture !== "string") return null;
  const platform: Platform = { os, architecture };
  if (typeof variant === "string" && variant !== "") platform.variant = variant;
  const version = value["os.version"];
  if (typeof version === "string") platform["os.version"] = version;
  return platform;
}

function readManifest(json: Json): Manifest {
  const layers = json["layers"] ?? [];
  if (!Array.isArray(layers)) throw invalid("invalid manifest: layers is not a list");
  if (layers.length > IMAGE_LAYER_LIMIT) throw invalid("invalid manifest: max depth exceeded");
  return {
    ...common(json),
    config: readDescriptor(json["config"], "manifest: config"),
    layers: layers.map((layer, index) => readDescriptor(layer, `manifest: layer ${index}`)),
  };
}

/** An index may list thousands of things that are no images; a broken entry is left out, not fatal. */
function readIndex(json: Json): Index {
  const entries = json["manifests"] ?? [];
  if (!Array.isArray(entries)) throw invalid("invalid index: manifests is not a list");
  const manifests = entries.flatMap((entry: unknown, index) =>
    isObject(entry) && typeof entry["digest"] === "string" && !isDigest(entry["digest"])
      ? []
      : [readDescriptor(entry, `index: manifest ${index}`)],
  );
  return { ...common(json), manifests };
}

function common(json: Json): Pick<Manifest, "schemaVersion" | "mediaType" | "annotations"> {
  const result: Pick<Manifest, "schemaVersion" | "mediaType" | "annotations"> = {
    schemaVersion: 2,
  };
  if (typeof json["mediaType"] === "string") result.mediaType = json["mediaType"];
  if (isStringRecord(json["annotations"])) result.annotations = json["annotations"];
  return result;
}

const bad = (member: string): Error => invalid(`invalid image config: bad value of ${member}`);

const missing = (value: unknown): value is undefined | null =>
  value === undefined || value === null;

function checkText(json: Json, members: readonly string[]): void {
  for (const member of members) {
    const value = json[member];
    if (!missing(value) && typeof value !== "string") throw bad(member);
  }
}

function checkMembers(
  json: Json,
  members: readonly string[],
  isGood: (value: unknown) => boolean,
): void {
  for (const member of members) {
    if (!missing(json[member]) && !isGood(json[member])) throw bad(member);
  }
}

const isObjectRecord = (value: unknown): boolean => isObject(value);

function checkRunConfig(value: unknown): void {
  if (missing(value)) return;
  if (!isObject(value)) throw bad("config");
  checkText(value, ["User", "WorkingDir", "StopSignal"]);
  checkMembers(value, ["Env", "Entrypoint", "Cmd", "Shell", "OnBuild"], isStringArray);
  checkMembers(value, ["ExposedPorts", "Volumes", "Healthcheck"], isObjectRecord);
  checkMembers(value, ["Labels"], isStringRecord);
  const health = value["Healthcheck"];
  if (!isObject(health)) return;
  checkMembers(health, ["Test"], isStringArray);
  const numbers = ["Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"];
  checkMembers(health, numbers, (item) => typeof item === "number");
}

function checkHistory(value: unknown): void {
  if (missing(value)) return;
  if (!Array.isArray(value)) throw bad("history");
  for (const entry of value as unknown[]) {
    if (!isObject(entry)) throw bad("history");
    checkText(entry, ["created", "created_by", "author", "comment"]);
  }
}
