/** A container as one element of `GET /containers/json`. Runs for every container of a `docker ps`. */
import type { Container, ListedContainer } from "#engine/container";
import { atLeast, type ContainerSummary, type Port } from "#wire/docker";

import { encodeNetworkMode } from "../decode/modes.ts";
import { parsePort } from "../decode/ports.ts";
import { encodeMountPoint } from "./container.ts";
import { encodeNetworks, type NetworkIdOf } from "./network.ts";
import { statusText } from "./state.ts";

export function encodeSummary(
  { container, sizeRwBytes, sizeRootFsBytes }: ListedContainer,
  context: { now: number; imageName: string; networkId: NetworkIdOf; apiVersion: string },
): ContainerSummary {
  const { annotations } = container.host;
  const withAnnotations =
    Object.keys(annotations).length > 0 && atLeast(context.apiVersion, "1.46");
  return {
    Id: container.id,
    Names: container.names.map((name) => `/${name}`),
    Image: context.imageName,
    ImageID: container.imageId,
    Command: commandText(container),
    Created: Math.trunc(Date.parse(container.createdAt) / 1000),
    Ports: encodePortList(container),
    ...(sizeRwBytes === undefined ? {} : { SizeRw: sizeRwBytes }),
    ...(sizeRootFsBytes === undefined ? {} : { SizeRootFs: sizeRootFsBytes }),
    Labels: { ...container.config.labels },
    State: container.state.status,
    Status: statusText(container.state, { now: context.now, health: container.health }),
    HostConfig: {
      NetworkMode: encodeNetworkMode(container.host.networkMode),
      ...(withAnnotations ? { Annotations: annotations } : {}),
    },
    NetworkSettings: { Networks: encodeNetworks(container, context.networkId) },
    Mounts: container.mounts.map(encodeMountPoint),
  };
}

/** The program with its arguments; those with spaces in quotes, as Docker shows them. */
const commandText = ({ path, args }: Pick<Container, "path" | "args">): string =>
  [path, ...args.map((word) => (word.includes(" ") ? `'${word}'` : word))].join(" ");

/** Published ports, then those only exposed; nothing while the container does not run. */
function encodePortList({ state, ports, config }: Container): Port[] {
  if (state.status !== "running" && state.status !== "paused") return [];
  const published = ports.map((port) => ({
    IP: port.hostAddress,
    PrivatePort: port.containerPort,
    PublicPort: port.hostPort,
    Type: port.protocol,
  }));
  const taken = new Set(ports.map((port) => `${port.containerPort}/${port.protocol}`));
  const exposed = config.exposedPorts
    .filter((port) => !taken.has(port))
    .map((text) => {
      const { containerPort, protocol } = parsePort(text);
      return { PrivatePort: containerPort, Type: protocol };
    });
  return [...published, ...exposed];
}
