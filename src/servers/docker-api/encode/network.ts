/** The networks and ports of one container, as Docker shows them. */
import type { Container } from "#engine/container";
import { dnsNamesOf, type Endpoint, type EndpointRequest, type PortBinding } from "#engine/network";
import type { EndpointSettings, NetworkSettings, PortMap } from "#wire/docker";

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

/** What was asked of a network, whether or not the container runs. */
const encodeRequest = (request: EndpointRequest): EndpointSettings => {
  const { ipv4, ipv6, linkLocal } = request;
  const isAsked = ipv4 !== undefined || ipv6 !== undefined || linkLocal !== undefined;
  return {
    ...NO_ENDPOINT,
    IPAMConfig: isAsked
      ? {
          ...(ipv4 === undefined ? {} : { IPv4Address: ipv4 }),
          ...(ipv6 === undefined ? {} : { IPv6Address: ipv6 }),
          ...(linkLocal?.length ? { LinkLocalIPs: [...linkLocal] } : {}),
        }
      : null,
    Links: listOrNull(request.links),
    Aliases: listOrNull(request.aliases),
    DriverOpts: request.driverOptions ? { ...request.driverOptions } : null,
    GwPriority: request.gatewayPriority ?? 0,
    MacAddress: request.macAddress ?? "",
  };
};

const listOrNull = (list: readonly string[] | undefined): string[] | null =>
  list === undefined ? null : [...list];

const encodeEndpoint = ({
  id,
  networkId,
  link,
  request,
  dnsNames,
}: Endpoint): EndpointSettings => ({
  ...encodeRequest(request),
  MacAddress: link.macAddress,
  NetworkID: networkId,
  EndpointID: id,
  Gateway: link.gateway ?? "",
  IPAddress: link.address,
  IPPrefixLen: link.address === "" ? 0 : link.prefixLength,
  IPv6Gateway: link.ipv6?.gateway ?? "",
  GlobalIPv6Address: link.ipv6?.address ?? "",
  GlobalIPv6PrefixLen: link.ipv6?.prefixLength ?? 0,
  DNSNames: dnsNames.length === 0 ? null : [...dnsNames],
});

/** Every network of a container, while it does not run too; none when it shares another container's. */
export function encodeNetworks(
  container: Container,
  networkId: NetworkIdOf,
): Record<string, EndpointSettings> {
  const { networks, endpoints } = container;
  if (container.host.networkMode.mode === "container") return {};
  const running = new Map(endpoints.map((endpoint) => [endpoint.networkId, endpoint]));
  const encoded: Record<string, EndpointSettings> = {};
  for (const request of networks) {
    const id = networkId(request.network);
    if (running.has(id)) continue;
    encoded[request.network] = {
      ...encodeRequest(request),
      ...encodeKnown(container, { request, id }),
    };
  }
  for (const endpoint of endpoints) encoded[endpoint.networkName] = encodeEndpoint(endpoint);
  return encoded;
}

/** What a network was found to be stays known from the first start on. */
function encodeKnown(
  container: Container,
  { request, id }: { request: EndpointRequest; id: string },
): Pick<EndpointSettings, "NetworkID" | "DNSNames" | "EndpointID"> {
  const { id: containerId, name, config, state } = container;
  if (state.status === "created") return { NetworkID: "", DNSNames: null, EndpointID: "" };
  const isUsers = !["bridge", "host", "none"].includes(request.network);
  const owner = { containerId, containerName: name, hostname: config.hostname };
  return {
    NetworkID: id,
    DNSNames: isUsers ? dnsNamesOf(request, owner) : null,
    EndpointID: bareEndpointId(container, id),
  };
}

/** The host's network, and none: nothing is made there, and yet Docker has an id for it. "" while nothing runs. */
export function bareEndpointId({ id, state }: Container, networkId: string): string {
  const running = state.status === "running" || state.status === "paused";
  return running ? sha256Hex(`${id} ${networkId} ${state.startedAt}`) : "";
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

/** The network namespace: its key is a path that can be joined, its id is of this one run. */
function encodeSandbox({ id, state, host }: Container): { SandboxID: string; SandboxKey: string } {
  const { mode } = host.networkMode;
  const running = state.status === "running" || state.status === "paused";
  if (!running || mode === "container") return { SandboxID: "", SandboxKey: "" };
  return {
    SandboxID: sha256Hex(`${id} ${state.startedAt}`),
    SandboxKey: `/proc/${state.pid}/ns/net`,
  };
}

const sha256Hex = (text: string): string =>
  new Bun.CryptoHasher("sha256").update(text).digest("hex");

export function encodeNetworkSettings(
  container: Container,
  networkId: NetworkIdOf,
): NetworkSettings {
  // The older fields speak of the default bridge alone.
  const first = container.endpoints.find(({ networkName }) => networkName === "bridge");
  const old = first === undefined ? NO_ENDPOINT : encodeEndpoint(first);
  return {
    Bridge: "",
    ...encodeSandbox(container),
    Ports: encodePorts(container),
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: old.EndpointID,
    Gateway: old.Gateway,
    GlobalIPv6Address: old.GlobalIPv6Address,
    GlobalIPv6PrefixLen: old.GlobalIPv6PrefixLen,
    IPAddress: old.IPAddress,
    IPPrefixLen: old.IPPrefixLen,
    IPv6Gateway: old.IPv6Gateway,
    MacAddress: old.MacAddress,
    Networks: encodeNetworks(container, networkId),
  };
}
