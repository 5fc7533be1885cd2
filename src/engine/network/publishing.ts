/** Where published ports lead: which of a container's networks, which address, and what its gateway mode means. */
import { invalid } from "#base";

import type { PortBinding } from "./endpoint.ts";
import type { EndpointRequest, Network, PortRequest } from "./network-service.ts";
import { bridgeOptions, type GatewayMode } from "./options.ts";
import { optionsOf } from "./parts.ts";
import type { PublishedPort } from "./records.ts";
import { candidateOf, gatewayAmong } from "./routes.ts";

export interface PortTarget {
  readonly networkId: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly mode4: GatewayMode;
  readonly mode6: GatewayMode;
  readonly relay: boolean;
  /** The requests that need a port of the host, with the network's own host address where none was named. */
  wanted(ports: readonly PortRequest[]): PortRequest[];
}

/** One network of a container with the addresses it has there. */
export interface Placed {
  readonly network: Network;
  readonly request: EndpointRequest;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

export interface PublishingOptions {
  /** Of ports of the default bridge that name no address of the host; "" is any. */
  readonly defaultAddress: string;
  /** Whether ports that the kernel cannot lead are relayed. */
  readonly relay: boolean;
}

/** The bridge network with the default route; null: nothing can be published in any of the container's networks. */
export function targetOf(
  placed: readonly Placed[],
  { defaultAddress, relay }: PublishingOptions,
): PortTarget | null {
  const candidates = placed
    .filter(({ network }) => network.driver === "bridge")
    .map((one) => ({ ...candidateOf(one), ...one }));
  const best = gatewayAmong(candidates, "ipv4") ?? gatewayAmong(candidates, "ipv6");
  if (best === null) return null;
  const { network, ipv4, ipv6 } = best;
  const options = bridgeOptions(optionsOf(network));
  const { gatewayMode4: mode4, gatewayMode6: mode6 } = options;
  const bindingAddress = network.custom === null ? defaultAddress : options.bindingAddress;
  return {
    networkId: network.id,
    ipv4,
    ipv6,
    mode4,
    mode6,
    relay,
    wanted: (ports) => {
      // Routed networks are reached by the container's own address.
      const needs4 = mode4 !== "routed" && ipv4 !== null;
      const needs6 = mode6 !== "routed" && ipv6 !== null;
      return ports.flatMap((port) => {
        const hostAddress = port.hostAddress === "" ? bindingAddress : port.hostAddress;
        if (hostAddress !== "") {
          const routed = hostAddress.includes(":")
            ? mode6 === "routed" && ipv6 !== null
            : mode4 === "routed";
          if (!relay && !routed) checkFamily(hostAddress, { ipv4, ipv6 });
          return routed ? [] : [{ ...port, hostAddress }];
        }
        if (!relay && ipv6 === null) return needs4 ? [{ ...port, hostAddress: "0.0.0.0" }] : [];
        if (needs4 || (needs6 && ipv4 === null)) return [{ ...port, hostAddress }];
        return needs6 ? [{ ...port, hostAddress: "::" }] : [];
      });
    },
  };
}

/** The kernel leads no packet from one family to the other. @throws EngineError "invalid" in Docker's words */
function checkFamily(hostAddress: string, to: Pick<PortTarget, "ipv4" | "ipv6">): void {
  if (hostAddress.includes(":") ? to.ipv6 !== null : to.ipv4 !== null) return;
  const [from, other] = hostAddress.includes(":") ? ["IPv6", "IPv4"] : ["IPv4", "IPv6"];
  throw invalid(
    `cannot map from ${from} to an ${other}-only container because the userland proxy is disabled`,
  );
}

/** In a routed network a port is open at the container's own address, and shown so. */
export function directPorts(ports: readonly PortRequest[], target: PortTarget): PortBinding[] {
  const addresses = [
    target.mode4 === "routed" ? target.ipv4 : null,
    target.mode6 === "routed" ? target.ipv6 : null,
  ].filter((address) => address !== null);
  return ports.flatMap(({ protocol, containerPort, hostAddress }) =>
    addresses
      .filter(
        (address) => hostAddress === "" || hostAddress.includes(":") === address.includes(":"),
      )
      .map((address) => ({
        protocol,
        containerPort,
        hostAddress: address,
        hostPort: containerPort,
      })),
  );
}

/** Each with the address it leads to: of its own family where the container has one, else the other by a relay. */
export const publishedOf = (
  containerId: string,
  { ipv4, ipv6 }: Pick<PortTarget, "ipv4" | "ipv6">,
  ports: readonly PortBinding[],
): PublishedPort[] =>
  ports.map((port) => ({
    ...port,
    containerId,
    target: (port.hostAddress.includes(":") ? (ipv6 ?? ipv4) : (ipv4 ?? ipv6)) ?? "",
  }));
