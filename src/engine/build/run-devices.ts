/** `RUN --device`: names to devices of the host, and whether this build may have them. Sentences are BuildKit's. */
import { forbidden, invalid } from "#base";
import type { RunDevice } from "#engine/build/dockerfile";
import type { FoundDevice } from "#engine/container";

import type { Granted } from "./entitlements.ts";

type Find = (name: string) => readonly FoundDevice[];

/** @returns whole names, each once. @throws EngineError for what is not there, or not allowed */
export function grantedDevices(
  asked: readonly RunDevice[],
  granted: Granted,
  find: Find,
): string[] {
  const found = new Map<string, FoundDevice>();
  for (const { name, required } of asked) {
    const devices = find(name);
    if (devices.length === 0 && required) {
      throw invalid(`required device ${JSON.stringify(name)} is not registered`);
    }
    for (const device of devices) found.set(device.name, device);
  }
  if (found.size === 0 || granted.entitlements.has("device")) return [...found.keys()];
  const allowed = new Set(granted.devices.flatMap(find).map(({ name }) => name));
  const refused = [...found.values()]
    .filter(({ name, isForAll }) => !isForAll && !allowed.has(name))
    .map(({ name }) => name);
  const [first] = refused;
  if (first === undefined) return [...found.keys()];
  throw forbidden(
    refused.length === 1
      ? `device ${first} is requested by the build but not allowed`
      : `devices ${refused.join(", ")} are requested by the build but not allowed`,
  );
}
