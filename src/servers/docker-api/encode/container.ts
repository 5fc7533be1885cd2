/** A container as `GET /containers/{id}/json` tells it. */
import type { Container, ContainerMount } from "#engine/container";
import type { ContainerInspect, GraphDriver, MountPoint } from "#wire/docker";

import { encodeConfig, encodeHostConfig, type HostDefaults } from "./host-config.ts";
import { encodeNetworkSettings, type NetworkIdOf } from "./network.ts";
import { encodeState } from "./state.ts";

/** What stores layers: the name Docker gives it with its own newer store, which has no data to tell either. */
export const GRAPH_DRIVER: GraphDriver = { Name: "overlayfs", Data: {} };

export function encodeInspect(
  container: Container,
  context: {
    sizes: { rwBytes: number; rootFsBytes: number } | null;
    networkId: NetworkIdOf;
    defaults: HostDefaults;
  },
): ContainerInspect {
  const { sizes } = context;
  return {
    Id: container.id,
    Created: container.createdAt,
    Path: container.path,
    Args: [...container.args],
    State: encodeState(container.state, container.health),
    Image: container.imageId,
    ResolvConfPath: container.resolvConfPath,
    HostnamePath: container.hostnamePath,
    HostsPath: container.hostsPath,
    LogPath: container.logPath,
    Name: `/${container.name}`,
    RestartCount: container.restartCount,
    Driver: GRAPH_DRIVER.Name,
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: appArmorOf(container, context.defaults),
    ExecIDs: container.execIds.length === 0 ? null : [...container.execIds],
    HostConfig: {
      ...encodeHostConfig(container.host, context.defaults),
      Links:
        container.links === undefined || container.links.length === 0 ? null : [...container.links],
    },
    GraphDriver: GRAPH_DRIVER,
    ...(sizes === null ? {} : { SizeRw: sizes.rwBytes, SizeRootFs: sizes.rootFsBytes }),
    Mounts: container.mounts.map(encodeMountPoint),
    Config: encodeConfig(container.config),
    NetworkSettings: encodeNetworkSettings(container, context.networkId),
  };
}

/** The profile that was asked for; what it runs under by default is known from its first start on. */
function appArmorOf({ host, state }: Container, { apparmor }: HostDefaults): string {
  const asked = host.securityOptions.find((option) => /^apparmor[=:]/.test(option));
  if (asked !== undefined) return asked.slice("apparmor=".length);
  if (apparmor !== true || state.status === "created") return "";
  return host.privileged ? "unconfined" : "docker-default";
}

export const encodeMountPoint = (mount: ContainerMount): MountPoint => ({
  Type: mount.type,
  ...(mount.name === "" ? {} : { Name: mount.name }),
  Source: mount.source,
  Destination: mount.destination,
  ...(mount.driver === "" ? {} : { Driver: mount.driver }),
  Mode: mount.mode,
  RW: mount.readWrite,
  Propagation: mount.propagation,
});
