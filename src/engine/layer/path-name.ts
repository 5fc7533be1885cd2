/** Names in an archive: cleaned as Docker cleans them (Go's path.Clean), as byte strings. */
import { invalid } from "#base";

import { textOf } from "#wire/tar";

/** Linux's NAME_MAX and PATH_MAX: longer ones could not be opened. */
const NAME_LIMIT_BYTES = 255;
const PATH_LIMIT_BYTES = 4095;

/**
 * The parts of a cleaned name: `./a//b/../c/` is ["a", "c"], `/` is [].
 * @throws EngineError "invalid" for one that leaves the root or could not exist
 */
export function cleanParts(raw: string): string[] {
  if (raw.length > PATH_LIMIT_BYTES) throw tooLong(raw);
  const absolute = raw.startsWith("/");
  const parts: string[] = [];
  for (const part of raw.split("/")) {
    if (part === "" || part === ".") continue;
    if (part.length > NAME_LIMIT_BYTES) throw tooLong(raw);
    if (part !== "..") parts.push(part);
    else if (parts.length > 0) parts.pop();
    // Docker's words. An absolute name cannot leave: the root's parent is the root.
    else if (!absolute) throw invalid(`"${textOf(raw)}" is outside of "/"`);
  }
  return parts;
}

const tooLong = (raw: string): Error =>
  invalid(`open ${textOf(raw.slice(0, 100))}…: file name too long`);

/** Cleaned parts as a person reads them. */
export const shownPath = (parts: readonly string[]): string => `/${textOf(parts.join("/"))}`;
