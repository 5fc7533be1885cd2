/** Where published ports lead: which of a container's networks, which address, and what its gateway mode means. */
import type { PortBinding } from "./endpoint.ts";
import type { EndpointRequest, Network, PortRequest } from "./network-service.ts";
import { bridgeOptions, type GatewayMode } from "./options.ts";
import type { PublishedPort } from "./records.ts";
import { candidateOf, gatewayAmong } from "./routes.ts";

export interface PortTarget {
  readonly networkId: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly mode4: GatewayMode;
  readonly mode6: GatewayMode;
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

/**
 * The bridge network with the default route; null: nothing can be published in any of the container's networks.
 * @param defaultAddress of ports of the default bridge that name no address of the host; "" is any
 */
export function targetOf(placed: readonly Placed[], defaultAddress: string): PortTarget | null {
  const candidates = placed
    .filter(({ network }) => network.driver === "bridge")
    .map((one) => ({ ...candidateOf(one), ...one }));
  const best = gatewayAmong(candidates, "ipv4") ?? gatewayAmong(candidates, "ipv6");
  if (best === null) return null;
  const { network, ipv4, ipv6 } = best;
  const options = bridgeOptions(network.custom?.options ?? {});
  const { gatewayMode4: mode4, gatewayMode6: mode6 } = options;
  const bindingAddress = network.custom === null ? defaultAddress : options.bindingAddress;
  return {
    networkId: network.id,
    ipv4,
    ipv6,
    mode4,
    mode6,
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
          return routed ? [] : [{ ...port, hostAddress }];
        }
        if (needs4 || (needs6 && ipv4 === null)) return [{ ...port, hostAddress }];
        return needs6 ? [{ ...port, hostAddress: "::" }] : [];
      });
    },
  };
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
