/** API versions: `1.51`, compared by number, not as text. */

export const API_VERSION = "1.51";
export const MIN_API_VERSION = "1.24";

/** Negative, zero or positive, as for sort: `1.9` is before `1.24`. */
export function compareApiVersions(left: string, right: string): number {
  const [leftMajor = 0, leftMinor = 0] = left.split(".").map(Number);
  const [rightMajor = 0, rightMinor = 0] = right.split(".").map(Number);
  return leftMajor - rightMajor || leftMinor - rightMinor;
}

/** True when a client of `version` knows what API `since` brought. */
export const atLeast = (version: string, since: string): boolean =>
  compareApiVersions(version, since) >= 0;
