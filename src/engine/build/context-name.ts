/** Names of `--build-context`, as a Dockerfile may write them. */
import { familiarReference, parseReference } from "#oci";

/**
 * Which of the client's names a Dockerfile means by `name`: `docker.io/library/base:latest` is `base` too. Null for
 * none.
 */
export function contextKey(contexts: { has(name: string): boolean }, name: string): string | null {
  if (contexts.has(name)) return name;
  try {
    const familiar = familiarReference(parseReference(name)).replace(/:latest$/, "");
    return contexts.has(familiar) ? familiar : null;
  } catch {
    return null;
  }
}
