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

/**
 * As Docker: a whole id; then a name, `latest` where it has no tag; then the beginning of exactly one id.
 * @throws EngineError "notFound": `No such image: x:latest`; "invalid" for what is no reference
 */
export function resolveImage(records: ImageRecords, nameOrId: string): Digest {
  const asked = parseAnyReference(nameOrId);
  if ("id" in asked) {
    if (records.has(asked.id)) return asked.id;
    throw noSuch("image", asked.id);
  }
  const named = records.idOfName(storedName(asked));
  if (named) return named;
  const prefix = /^(?:sha256:)?([a-f0-9]{1,64})$/.exec(nameOrId)?.[1];
  if (prefix !== undefined) {
    const [first, second] = records.idsByPrefix(prefix, 2);
    if (first && !second) return first;
    if (second) throw new EngineError("notFound", `No such image: ${nameOrId} is ambiguous`);
  }
  throw noSuch("image", familiarReference(withDefaultTag(asked)));
}

/** How a name is written in the records: by digest if it has one, else by tag. */
export function storedName(reference: Reference): string {
  if (reference.digest !== null) return `${repositoryOf(reference)}@${reference.digest}`;
  return formatReference(withDefaultTag(reference));
}

/** True when the text is the beginning of the image's id rather than a name. */
export const isIdPrefix = (id: Digest, text: string): boolean =>
  id.startsWith(text) || id.slice("sha256:".length).startsWith(text);
