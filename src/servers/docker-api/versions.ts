/** API versions in paths: `/v1.43/info` asks for 1.43, `/info` for the newest. */
import { invalid } from "#base";
import { API_VERSION, compareApiVersions } from "#wire/docker";

/**
 * The version and the rest of the path.
 * @param minimum the oldest version that is served
 * @throws EngineError "invalid" in Docker's words
 */
export function splitVersion(path: string, minimum: string): { version: string; path: string } {
  // By hand: this runs for every request.
  if (!path.startsWith("/v") || !isDigit(path.charCodeAt(2))) return { version: API_VERSION, path };
  const slash = path.indexOf("/", 2);
  if (slash < 0) return { version: API_VERSION, path };
  const version = path.slice(2, slash);
  const rest = path.slice(slash);
  if (version === API_VERSION) return { version, path: rest };
  if (!/^\d+(\.\d+)*$/.test(version)) return { version: API_VERSION, path };
  if (compareApiVersions(version, minimum) < 0) {
    throw invalid(
      `client version ${version} is too old. Minimum supported API version is ${minimum}, please upgrade your client to a newer version`,
    );
  }
  if (compareApiVersions(version, API_VERSION) > 0) {
    throw invalid(
      `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`,
    );
  }
  return { version, path: rest };
}

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
