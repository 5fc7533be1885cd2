/** What a request for a birth says of its container. Pure. */
import type { RuntimeSpec } from "#oci";

import type { BirthMessage } from "./protocol.ts";
import type { ContainerState } from "./records.ts";

/** A namespace of the network, and no user namespace of its own that would have to own it. */
export function makesNetwork({ linux }: RuntimeSpec): boolean {
  const made = linux.namespaces.filter(({ path }) => path === undefined).map(({ type }) => type);
  return made.includes("network") && !linux.namespaces.some(({ type }) => type === "user");
}

/** Its network, and what is written down of it. */
export function containerOf(message: BirthMessage) {
  const attachment = message.network;
  const container: ContainerState = {
    runtime: message.runtime,
    log: message.log,
    cgroupsPath: message.spec.linux.cgroupsPath,
    endpoints: attachment.mode === "bridge" ? attachment.endpoints : [],
    ...(message.dns === undefined ? {} : { dns: message.dns }),
    ...(message.spec.linux.resources?.memory?.limit ? { limitsMemory: true } : {}),
  };
  return { attachment, container };
}
