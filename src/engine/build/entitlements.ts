/** What a RUN may have only when both the operator and whoever builds say so. Sentences are BuildKit's. */
import { forbidden, invalid } from "#base";

import type { BuildRequest } from "./build-service.ts";

const ENTITLEMENTS = ["network.host", "security.insecure", "device"] as const;
export type Entitlement = (typeof ENTITLEMENTS)[number];

export interface Granted {
  readonly entitlements: ReadonlySet<Entitlement>;
  /** Names of single devices; each may mean several. */
  readonly devices: readonly string[];
}

/** What this build may have. @throws EngineError for what is unknown, or not allowed on this engine */
export function grantedTo(
  { entitlements = [], network }: Pick<BuildRequest, "entitlements" | "network">,
  allowed: ReadonlySet<Entitlement>,
): Granted {
  const granted = new Set<Entitlement>();
  const devices: string[] = [];
  // Who builds in the host's network has said so.
  const asked = network.mode === "host" ? ["network.host", ...entitlements] : entitlements;
  for (const text of asked) {
    const device = text.startsWith("device=") ? text.slice("device=".length) : "";
    const known = ENTITLEMENTS.find((each) => each === (device === "" ? text : "device"));
    if (known === undefined) throw invalid(`unknown entitlement ${text}`);
    if (!allowed.has(known)) {
      throw forbidden(`granting entitlement ${known} is not allowed by build daemon configuration`);
    }
    if (device === "") granted.add(known);
    else devices.push(device);
  }
  return { entitlements: granted, devices };
}

/** @throws EngineError "forbidden" */
export function requireGranted({ entitlements }: Granted, name: Entitlement): void {
  if (!entitlements.has(name)) throw forbidden(`${name} is not allowed`);
}
