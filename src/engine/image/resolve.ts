/** From what people write to the image they mean. */
import { EngineError, noSuch } from "#base";
import {
  type Digest,
  familiarReference,
  formatReference,
  parseAnyReference,
  type Reference,
  repositoryOf,
  withDefaultTag,
} from "#oci";

import type { ImageRecords } from "./records.ts";

/** The image that a text means where no platform is asked for, and the index it is a platform of. */
export interface Resolved {
  readonly id: Digest;
  readonly index: Digest | null;
}

/**
 * As Docker: a whole id; then a name, `latest` where it has no tag; then the beginning of exactly one id.
 * @throws EngineError "notFound": `No such image: x:latest`; "invalid" for what is no reference
 */
export function resolveNamed(records: ImageRecords, nameOrId: string): Resolved {
  const asked = parseAnyReference(nameOrId);
  if ("id" in asked) {
    if (records.has(asked.id)) return withIndex(records, asked.id);
    const found = records.indexes.imageOfDigest(asked.id);
    if (found) return { id: found.imageId, index: found.index };
    throw noSuch("image", asked.id);
  }
  const named = records.meantBy(storedName(asked));
  if (named) return named;
  const prefix = /^(?:sha256:)?([a-f0-9]{1,64})$/.exec(nameOrId)?.[1];
  if (prefix !== undefined) {
    const [first, second] = records.idsByPrefix(prefix, 2);
    if (first && !second) return withIndex(records, first);
    if (second) throw new EngineError("notFound", `No such image: ${nameOrId} is ambiguous`);
  }
  throw noSuch("image", familiarReference(withDefaultTag(asked)));
}

export const resolveImage = (records: ImageRecords, nameOrId: string): Digest =>
  resolveNamed(records, nameOrId).id;

/** An id means its index too, where all of its names stand for that one, or there is one without names. */
function withIndex(records: ImageRecords, id: Digest): Resolved {
  const names = records.namesOf(id);
  const [index = null, ...others] = new Set(
    names.length === 0
      ? records.indexes.hiddenOf(id)
      : names.map((name) => records.indexes.indexOfName(name)),
  );
  return { id, index: others.length === 0 ? index : null };
}

/** How a name is written in the records: by digest if it has one, else by tag. */
export function storedName(reference: Reference): string {
  if (reference.digest !== null) return `${repositoryOf(reference)}@${reference.digest}`;
  return formatReference(withDefaultTag(reference));
}

/** True when the text is the beginning of the image's id rather than a name. */
export const isIdPrefix = (id: Digest, text: string): boolean =>
  id.startsWith(text) || id.slice("sha256:".length).startsWith(text);
