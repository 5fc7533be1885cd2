/** `docker images` and `docker history`. */
import { EngineError } from "#base";
import { familiarName, familiarReference, type ImageConfig, parseReference } from "#oci";

import { type ImageContext, sizeOfLayers } from "./context.ts";
import type { Image, ImageFilters, ImageHistoryEntry } from "./image-service.ts";
import { imagesOf } from "./platforms.ts";
import { resolveImage } from "./resolve.ts";

/** Newest first. An image whose config is damaged is left out: pulling or loading it again repairs it. */
export function listImages(
  context: ImageContext,
  filters: ImageFilters,
  options: { all?: boolean; byIndex?: boolean },
): Image[] {
  const { records } = context;
  const bound = (name: string): number =>
    createdMs(records.get(resolveImage(records, name)).config);
  const before = filters.before === undefined ? Number.POSITIVE_INFINITY : bound(filters.before);
  const since = filters.since === undefined ? Number.NEGATIVE_INFINITY : bound(filters.since);
  const until = filters.until?.getTime() ?? Number.POSITIVE_INFINITY;
  return records
    .ids()
    .flatMap((id) => records.getReadable(id) ?? [])
    .filter(({ config }) => {
      const created = createdMs(config);
      return created < before && created > since && created < until;
    })
    .filter(({ config }) => hasLabels(config, filters.labels ?? []))
    .filter((image) => isShown(context, image, { all: options.all ?? false, filters }))
    .flatMap((image) => (options.byIndex === true ? perIndex(context, image) : [image]))
    .map((image) => withSizeOfIndex(context, image))
    .flatMap((image) => withMatchingNames(image, filters.references))
    .sort((left, right) => createdMs(right.config) - createdMs(left.config));
}

/** True for a platform of an index whose names mean another one. */
export const isPlatformOnly = (records: ImageContext["records"], image: Image): boolean =>
  image.indexes.length > 0 &&
  records.indexes.hiddenOf(image.id).length === 0 &&
  image.repoDigests.every((name) => records.indexes.indexOfName(name) === null);

/** An image whose names stand for several indexes, once for each. */
function perIndex({ records }: ImageContext, image: Image): Image[] {
  if (image.indexes.length === 0) return [image];
  const groups = Map.groupBy([...image.references, ...image.repoDigests], (name) =>
    records.indexes.indexOfName(name),
  );
  const alone = groups.get(null) ?? [];
  groups.delete(null);
  if (groups.size < 2) return [image];
  return [...groups].map(([index, own], position) => {
    const names = position === 0 ? [...own, ...alone] : own;
    return {
      ...image,
      indexes: index === null ? [] : [index],
      references: names.filter((name) => !name.includes("@")),
      repoDigests: names.filter((name) => name.includes("@")),
    };
  });
}

/** Its index's name is listed once, with what all of its platforms take; a shared layer counts once. */
function withSizeOfIndex(context: ImageContext, image: Image): Image {
  if (image.indexes.length === 0) return image;
  const members = image.indexes.flatMap((index) => imagesOf(context, index));
  if (members.length < 2) return image;
  const diffIds = new Set(members.flatMap(({ config }) => config.rootfs.diff_ids));
  return { ...image, sizeBytes: sizeOfLayers(context, [...diffIds]) };
}

/** Intermediate images (unnamed, with children) are for `--all` only; a platform is listed with its index. */
function isShown(
  { records }: ImageContext,
  image: Image,
  { all, filters }: { all: boolean; filters: ImageFilters },
): boolean {
  const isNamed = image.references.length > 0;
  if (!isNamed && isPlatformOnly(records, image)) return false;
  if (filters.dangling === true && isNamed) return false;
  if (filters.dangling === false && !isNamed) return false;
  const isUnnamed = !isNamed && image.repoDigests.length === 0;
  return all || !isUnnamed || records.children(image.id).length === 0;
}

/** `key` or `key=value`, all of them. */
export function hasLabels(config: ImageConfig, wanted: readonly string[]): boolean {
  const labels = config.config?.Labels ?? {};
  return wanted.every((label) => {
    const equals = label.indexOf("=");
    if (equals === -1) return Object.hasOwn(labels, label);
    const key = label.slice(0, equals);
    return Object.hasOwn(labels, key) && labels[key] === label.slice(equals + 1);
  });
}

/** The image with the names that match some pattern; nothing when none does. */
function withMatchingNames(image: Image, patterns: readonly string[] | undefined): Image[] {
  if (!patterns || patterns.length === 0) return [image];
  const globs = patterns.map((pattern) => pathMatch(pattern));
  const matches = (name: string): boolean => {
    const reference = parseReference(name);
    const texts = [familiarReference(reference), familiarName(reference)];
    return globs.some((isMatch) => texts.some(isMatch));
  };
  const references = image.references.filter(matches);
  const repoDigests = image.repoDigests.filter(matches);
  return references.length + repoDigests.length > 0 ? [{ ...image, references, repoDigests }] : [];
}

/** Go's path.Match: `*` and `?` stay within one part of the path. */
export function pathMatch(pattern: string): (text: string) => boolean {
  const source = pattern.replaceAll(
    /\\(.)|\[(\^?)((?:\\.|[^\]\\])+)\]|([*?])|([^\w])/gs,
    (piece, escaped?: string, not?: string, set?: string, wild?: string) => {
      if (wild === "*") return "[^/]*";
      if (wild === "?") return "[^/]";
      if (set !== undefined) return `[${not ?? ""}${set.replaceAll("[", "\\[")}]`;
      const literal = escaped ?? piece;
      return literal.replace(
        /[^\w]/,
        (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`,
      );
    },
  );
  try {
    const whole = new RegExp(`^${source}$`, "u");
    return (text) => whole.test(text);
  } catch {
    throw new EngineError(
      "invalid",
      `invalid filter 'reference=${pattern}': syntax error in pattern`,
    );
  }
}

/** Milliseconds since 1970; 0 for an image without a date. */
export function createdMs({ created }: Pick<ImageConfig, "created">): number {
  const time = Date.parse(created ?? "");
  return Number.isNaN(time) ? 0 : time;
}

/** What an image was made of, newest first. */
export function historyOf({ layers }: ImageContext, image: Image): ImageHistoryEntry[] {
  const diffIds = [...image.config.rootfs.diff_ids];
  const entries = (image.config.history ?? []).map((entry): ImageHistoryEntry => {
    const diffId = entry.empty_layer === true ? undefined : diffIds.shift();
    const info = diffId === undefined ? null : layers.info(diffId);
    const created = Date.parse(entry.created ?? "");
    return {
      id: "<missing>",
      created: Number.isNaN(created) ? null : new Date(created),
      createdBy: entry.created_by ?? "",
      tags: [],
      sizeBytes: info?.contentSizeBytes ?? 0,
      comment: entry.comment ?? "",
    };
  });
  const [newest, ...older] = entries.reverse();
  if (!newest) return [];
  const tags = image.references.map((name) => familiarReference(parseReference(name)));
  return [{ ...newest, id: image.id, tags }, ...older];
}
