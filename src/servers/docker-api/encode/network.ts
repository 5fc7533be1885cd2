/** Networks, and containers in them, as Docker shows them. */
import type { Container } from "#engine/container";
import type { Endpoint, Network, PortBinding } from "#engine/network";
import type { EndpointSettings, NetworkInspect, NetworkSettings, PortMap } from "#wire/docker";

import { encodeNetworkMode } from "../decode/modes.ts";

/** A network's id by its name; "" when it is gone. */
export type NetworkIdOf = (name: string) => string;

const NO_ENDPOINT: EndpointSettings = {
  IPAMConfig: null,
  Links: null,
  Aliases: null,
  MacAddress: "",
  DriverOpts: null,
  GwPriority: 0,
  NetworkID: "",
  EndpointID: "",
  Gateway: "",
  IPAddress: "",
  IPPrefixLen: 0,
  IPv6Gateway: "",
  GlobalIPv6Address: "",
  GlobalIPv6PrefixLen: 0,
  DNSNames: null,
};

const encodeEndpoint = ({ id, networkId, link }: Endpoint): EndpointSettings => ({
  ...NO_ENDPOINT,
  MacAddress: link.macAddress,
  NetworkID: networkId,
  EndpointID: id,
  Gateway: link.gateway ?? "",
  IPAddress: link.address,
  IPPrefixLen: link.prefixLength,
});

/** Every network of a container: its own even while it does not run; none when it shares another container's. */
export function encodeNetworks(
  { host, endpoints }: Pick<Container, "host" | "endpoints">,
  networkId: NetworkIdOf,
): Record<string, EndpointSettings> {
  if (host.networkMode.mode === "container") return {};
  const own = encodeNetworkMode(host.networkMode);
  const networks: Record<string, EndpointSettings> = {
    [own]: { ...NO_ENDPOINT, NetworkID: networkId(own) },
  };
  for (const endpoint of endpoints) networks[endpoint.networkName] = encodeEndpoint(endpoint);
  return networks;
}

/** Published and exposed ports of a container that runs; nothing while it does not. */
export function encodePorts({ state, ports, config }: Container): PortMap {
  if (state.status !== "running" && state.status !== "paused") return {};
  const map: PortMap = Object.fromEntries(config.exposedPorts.map((port) => [port, null]));
  for (const port of ports) {
    const key = `${port.containerPort}/${port.protocol}`;
    map[key] = [...(map[key] ?? []), encodeBinding(port)];
  }
  return map;
}

const encodeBinding = ({ hostAddress, hostPort }: PortBinding) => ({
  HostIp: hostAddress,
  HostPort: String(hostPort),
});

export function encodeNetworkSettings(
  container: Container,
  networkId: NetworkIdOf,
): NetworkSettings {
  const [first] = container.endpoints;
  // The older fields speak of the default bridge alone.
  const old = first?.networkName === "bridge" ? encodeEndpoint(first) : NO_ENDPOINT;
  return {
    Bridge: "",
    SandboxID: "",
    SandboxKey: "",
    Ports: encodePorts(container),
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: old.EndpointID,
    Gateway: old.Gateway,
    GlobalIPv6Address: "",
    GlobalIPv6PrefixLen: 0,
    IPAddress: old.IPAddress,
    IPPrefixLen: old.IPPrefixLen,
    IPv6Gateway: "",
    MacAddress: old.MacAddress,
    Networks: encodeNetworks(container, networkId),
  };
}

/** @param containers the endpoints in this network with the names of their containers; only inspect tells them */
export function encodeNetwork(
  network: Network,
  containers: readonly { readonly endpoint: Endpoint; readonly name: string }[],
): NetworkInspect {
  const { subnet, gateway, bridge, mtu } = network;
  const pool = {
    ...(subnet === null ? {} : { Subnet: subnet }),
    ...(gateway === null ? {} : { Gateway: gateway }),
  };
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt.toISOString(),
    Scope: "local",
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: "default", Options: null, Config: subnet === null ? [] : [pool] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      containers.map(({ endpoint, name }) => [
        endpoint.containerId,
        {
          Name: name,
          EndpointID: endpoint.id,
          MacAddress: endpoint.link.macAddress,
          IPv4Address: `${endpoint.link.address}/${endpoint.link.prefixLength}`,
          IPv6Address: "",
        },
      ]),
    ),
    Options:
      bridge === null
        ? {}
        : {
            ...(network.name === "bridge"
              ? { "com.docker.network.bridge.default_bridge": "true" }
              : {}),
            "com.docker.network.bridge.name": bridge,
            "com.docker.network.driver.mtu": String(mtu),
          },
    Labels: {},
  };
}
