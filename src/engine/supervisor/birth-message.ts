/** What a request for a birth says of its container. Pure. */
import type { LogTarget } from "#engine/log-delivery";
import type { RuntimeSpec } from "#oci";

import type { BirthMessage } from "./protocol.ts";
import type { ContainerState } from "./records.ts";

/** A namespace of the network, and no user namespace of its own that would have to own it. */
export function makesNetwork({ linux }: RuntimeSpec): boolean {
  const made = linux.namespaces.filter(({ path }) => path === undefined).map(({ type }) => type);
  return made.includes("network") && !linux.namespaces.some(({ type }) => type === "user");
}

/** What is written down of it. */
export function containerOf(
  message: Omit<BirthMessage, "type" | "spec"> & { readonly spec: RuntimeSpec },
): ContainerState {
  const { network, runtime, log, spec, dns } = message;
  return {
    runtime,
    log,
    cgroupsPath: spec.linux.cgroupsPath,
    endpoints: network.mode === "bridge" ? network.endpoints : [],
    ...(dns === undefined ? {} : { dns }),
    ...(spec.linux.resources?.memory?.limit ? { limitsMemory: true } : {}),
  };
}

/** A log that a server keeps. */
export type RemoteLog = Extract<LogTarget, { driver: "remote" }>;

/** Its delivery, as the process that does it is asked for it. */
export const jobOf = ({ folder, delivery }: RemoteLog) => ({ folder, delivery });
