/**
 * Docker Engine API 1.24 to 1.51 on a Unix socket: routes, versions, JSON in and out, hijacked streams.
 * Decides nothing about containers: it decodes, calls the engine, and encodes.
 */
import type { BuildService } from "#engine/build";
import type { ContainerService } from "#engine/container";
import type { EventBus } from "#engine/events";
import type { ImageService } from "#engine/image";
import { isContainersAddress } from "#engine/network";
import type { SystemService } from "#engine/system";
import type { VolumeService } from "#engine/volume";
import { API_VERSION } from "#wire/docker";

import { Authorizer } from "./authorization/authorizer.ts";
import { buildRoutes } from "./build.ts";
import { buildKitRoutes, type OpenBuildKit } from "./buildkit.ts";
import { authRoutes, type Login } from "./auth.ts";
import { checkpointRoutes } from "./checkpoints.ts";
import { containerRoutes, encodeList } from "./containers.ts";
import { distributionRoutes, type InspectRemote } from "./distribution.ts";
import { diskUsageRoutes } from "./disk-usage.ts";
import { DOCKER_DEFAULTS, type HostDefaults } from "./encode/host-config.ts";
import { fileRoutes } from "./files.ts";
import { eventRoutes, type Listeners } from "./events.ts";
import { execRoutes } from "./exec.ts";
import { imageRoutes } from "./images.ts";
import { liveRoutes } from "./live.ts";
import { networkRoutes, type Networks } from "./networks.ts";
import { compileRoutes } from "./routes.ts";
import { pluginRoutes, swarmRoutes } from "./swarm.ts";
import { type ApiLogger, type ApiServer, serve } from "./server.ts";
import { statsRoutes } from "./stats.ts";
import { streamRoutes } from "./streams.ts";
import { systemRoutes } from "./system.ts";
import { volumeRoutes } from "./volumes.ts";

export type { InspectRemote } from "./distribution.ts";
export type { Login } from "./auth.ts";
export type { BuildKit } from "./buildkit.ts";
export { Authorizer } from "./authorization/authorizer.ts";
export { openGuard } from "./guard.ts";
export { decodeBuildPrune } from "./decode/build-prune.ts";
export type { HostDefaults } from "./encode/host-config.ts";
export type { ListenTarget, TlsIdentity } from "./listener.ts";
export type { ApiLogger, ApiServer } from "./server.ts";

/** What of the engine the API speaks for. */
export interface ApiServices {
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly networks: Networks;
  readonly volumes: VolumeService;
  readonly builds: BuildService;
  readonly openBuildKit: OpenBuildKit;
  readonly system: SystemService;
  readonly events: EventBus;
  readonly logger: ApiLogger;
  /** Checks credentials with their registry. */
  readonly login: Login;
  readonly inspectRemote: InspectRemote;
  /** What the engine masks and protects in a container that did not say; Docker's paths if not given. */
  readonly defaults?: HostDefaults;
  /** What answers wait for: that what they tell of survives a power cut; null: it does. */
  readonly settled?: () => Promise<void> | null;
  /** Nobody is asked if not given. */
  readonly authorizer?: Authorizer;
}

export function createApiServer(services: ApiServices): ApiServer {
  const { containers, images, networks, system, events, logger } = services;
  const { defaults = DOCKER_DEFAULTS, authorizer = new Authorizer(() => []) } = services;
  const listeners: Listeners = { count: 0 };
  const experimental = () => system.version().isExperimental;
  const find = compileRoutes(
    swarmRoutes(),
    pluginRoutes(),
    systemRoutes(system, listeners),
    authRoutes(services.login),
    distributionRoutes(services.inspectRemote),
    containerRoutes({ containers, images, networks, defaults, isExperimental: experimental }),
    checkpointRoutes(containers, experimental),
    liveRoutes(containers),
    statsRoutes(containers),
    streamRoutes(containers),
    fileRoutes(containers),
    execRoutes(containers),
    imageRoutes(images),
    diskUsageRoutes({
      containers,
      images,
      volumes: services.volumes,
      builds: services.builds,
      summaries: (call, listed) => encodeList(call, { images, networks }, listed),
    }),
    buildRoutes(services.builds, experimental, services.openBuildKit),
    buildKitRoutes(services.openBuildKit),
    networkRoutes({ networks, containers, defaults }),
    volumeRoutes(services.volumes),
    eventRoutes(events, listeners),
  );
  const { version, os, isExperimental, minApiVersion } = system.version();
  const headers = {
    "Api-Version": API_VERSION,
    "Docker-Experimental": String(isExperimental),
    Ostype: os,
    Server: `Naru/${version} (${os})`,
  };
  const isContainers = (address: string) => isContainersAddress(networks.list(), address);
  const settled = services.settled ?? (() => null);
  return serve({ find, headers, logger, isContainers, minApiVersion, settled, authorizer });
}
