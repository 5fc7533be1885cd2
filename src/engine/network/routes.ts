/** Which of a container's networks its default routes lead to: pure. */
import type { BridgeEndpoint } from "./endpoint.ts";
import type { EndpointRequest, Network } from "./network-service.ts";
import { gatewayOf } from "./parts.ts";

/** What decides: an endpoint, or one that is about to be. */
export interface Candidate {
  readonly networkName: string;
  readonly priority: number;
  readonly gateway4: boolean;
  readonly gateway6: boolean;
}

/** A network leads out when it is not internal and has a gateway. */
export function candidateOf({
  network,
  request,
}: {
  network: Network;
  request: EndpointRequest;
}): Candidate {
  return {
    networkName: network.name,
    priority: request.gatewayPriority ?? 0,
    gateway4: gatewayOf(network, "ipv4") !== null,
    gateway6: gatewayOf(network, "ipv6") !== null,
  };
}

/** The greatest priority; of equals the first name, as Docker says. null: nobody has a gateway. */
export function gatewayAmong<T extends Candidate>(
  candidates: readonly T[],
  family: "ipv4" | "ipv6",
): T | null {
  let best: T | null = null;
  for (const candidate of candidates) {
    if (!(family === "ipv4" ? candidate.gateway4 : candidate.gateway6)) continue;
    if (best === null || isBefore(candidate, best)) best = candidate;
  }
  return best;
}

const isBefore = (one: Candidate, other: Candidate): boolean =>
  one.priority === other.priority
    ? one.networkName < other.networkName
    : one.priority > other.priority;

/** For every candidate in order, which default routes lead to it. */
export function defaultRoutes(
  candidates: readonly Candidate[],
): NonNullable<BridgeEndpoint["defaultRoute"]>[] {
  const best4 = gatewayAmong(candidates, "ipv4");
  const best6 = gatewayAmong(candidates, "ipv6");
  return candidates.map((candidate) => ({
    ipv4: candidate === best4,
    ipv6: candidate === best6,
  }));
}
