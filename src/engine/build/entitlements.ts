/** What a RUN may have only when both the operator and whoever builds say so. Sentences are BuildKit's. */
import { forbidden, invalid } from "#base";

import type { BuildRequest } from "./build-service.ts";

const ENTITLEMENTS = ["network.host", "security.insecure"] as const;
export type Entitlement = (typeof ENTITLEMENTS)[number];

/** What this build may have. @throws EngineError for what is unknown, or not allowed on this engine */
export function grantedTo(
  { entitlements = [], network }: Pick<BuildRequest, "entitlements" | "network">,
  allowed: ReadonlySet<Entitlement>,
): ReadonlySet<Entitlement> {
  const granted = new Set<Entitlement>();
  // Who builds in the host's network has said so.
  const asked = network.mode === "host" ? ["network.host", ...entitlements] : entitlements;
  for (const name of asked) {
    const known = ENTITLEMENTS.find((entitlement) => entitlement === name);
    if (known === undefined) throw invalid(`unknown entitlement ${name}`);
    if (!allowed.has(known)) {
      throw forbidden(`granting entitlement ${known} is not allowed by build daemon configuration`);
    }
    granted.add(known);
  }
  return granted;
}

/** @throws EngineError "forbidden" */
export function requireGranted(granted: ReadonlySet<Entitlement>, name: Entitlement): void {
  if (!granted.has(name)) throw forbidden(`${name} is not allowed`);
}
