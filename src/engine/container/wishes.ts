/** What a container asks of the network: connections and published ports. */
import type { EndpointRequest, PortRequest } from "#engine/network";

import type { ContainerRecord } from "./records.ts";

/** What the container is connected to: its own network alone where nothing else was said. */
export function networksOf({
  host,
  config,
  networks,
}: Pick<ContainerRecord, "host" | "config" | "networks">): readonly EndpointRequest[] {
  if (networks !== undefined) return networks;
  if (host.networkMode.mode !== "network") return [];
  const { macAddress } = config;
  const own = { network: host.networkMode.name };
  return [macAddress === null || macAddress === "" ? own : { ...own, macAddress }];
}

/** The same with the networks in which nothing is made for a container: the host's, and none. */
export function joinedNetworksOf(record: ContainerRecord): readonly EndpointRequest[] {
  const { mode } = record.host.networkMode;
  if (record.networks !== undefined || (mode !== "host" && mode !== "none")) {
    return networksOf(record);
  }
  return [{ network: mode }];
}

/** What was asked to be published; with `-P` also everything exposed, at ports the host chooses. */
export function portsOf({ config, host }: Pick<ContainerRecord, "config" | "host">): PortRequest[] {
  const asked = [...host.ports];
  if (!host.publishAllPorts) return asked;
  for (const exposed of config.exposedPorts) {
    const [number = "", protocol = "tcp"] = exposed.split("/");
    const containerPort = Number(number);
    const isAsked = asked.some(
      (port) => port.containerPort === containerPort && port.protocol === protocol,
    );
    if (isAsked || !(protocol === "tcp" || protocol === "udp" || protocol === "sctp")) continue;
    asked.push({ protocol, containerPort, hostAddress: "", hostPort: 0 });
  }
  return asked;
}
