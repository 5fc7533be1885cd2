/** A network as `GET /networks/{id}` tells it, and `GET /networks` in its list. */
import type { AddressPool, Endpoint, Network } from "#engine/network";
import type { IpamPool, NetworkInspect } from "#wire/docker";

type Containers = NetworkInspect["Containers"];

/** @param containers only inspect tells them */
export function encodeNetwork(network: Network, containers: Containers = {}): NetworkInspect {
  const { custom, predefined, driver } = network;
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt.toISOString(),
    Scope: "local",
    Driver: driver,
    EnableIPv4: custom?.ipv4 ?? true,
    EnableIPv6: custom?.ipv6 ?? predefined?.pools.some(({ family }) => family === "ipv6") ?? false,
    IPAM: {
      Driver: custom?.ipam.driver ?? "default",
      Options: custom ? { ...custom.ipam.options } : null,
      Config: (custom ?? predefined)?.pools.map(encodePool) ?? [],
    },
    Internal: custom?.internal ?? false,
    Attachable: custom?.attachable ?? false,
    Ingress: false,
    ConfigFrom: { Network: custom?.configFrom ?? "" },
    ConfigOnly: custom?.configOnly ?? false,
    Containers: containers,
    Options: custom ? { ...custom.options } : predefinedOptions(network),
    Labels: { ...custom?.labels },
  };
}

/** As in Docker, a subnet that somebody asked for shows a gateway only if they asked for that, too. */
const encodePool = (pool: AddressPool): IpamPool => {
  const { subnet, ipRange, gateway, auxiliary, chosen } = pool;
  return {
    Subnet: subnet,
    ...(ipRange === null ? {} : { IPRange: ipRange }),
    ...(gateway === null || chosen === "gateway" ? {} : { Gateway: gateway }),
    ...(Object.keys(auxiliary).length === 0 ? {} : { AuxiliaryAddresses: { ...auxiliary } }),
  };
};

/** @param name of its container */
export function encodeAttached({ id, link }: Endpoint, name: string): Containers[string] {
  const { ipv6 } = link;
  return {
    Name: name,
    EndpointID: id,
    MacAddress: link.macAddress,
    IPv4Address: link.address === "" ? "" : `${link.address}/${link.prefixLength}`,
    IPv6Address: ipv6 === undefined ? "" : `${ipv6.address}/${ipv6.prefixLength}`,
  };
}

/** Of a container in a network where it has no link. */
export const encodeBare = (name: string, endpointId: string): Containers[string] => ({
  Name: name,
  EndpointID: endpointId,
  MacAddress: "",
  IPv4Address: "",
  IPv6Address: "",
});

function predefinedOptions({ bridge, mtu, predefined }: Network): Record<string, string> {
  if (bridge === null) return {};
  return {
    "com.docker.network.bridge.default_bridge": "true",
    "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
    ...predefined?.options,
    "com.docker.network.bridge.name": bridge,
    "com.docker.network.driver.mtu": String(mtu),
  };
}
