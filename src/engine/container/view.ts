/** A record as servers see it. Pure reading: no lock, no supervisor, no disk. */
import type { ImageUsers } from "#engine/image";
import type { Digest } from "#oci";

import type { Container, ListedContainer, ListRequest } from "./container-service.ts";
import type { Context } from "./context.ts";
import { selectContainers } from "./filters.ts";
import { describeMount } from "./mounts.ts";
import { jsonLogPath } from "./log-files.ts";
import { etcPaths } from "./prepare.ts";
import type { ContainerRecord } from "./records.ts";
import { joinedNetworksOf } from "./wishes.ts";
import { isActive } from "./wait.ts";

export function viewOf(context: Context, record: ContainerRecord): Container {
  const { id, name, createdAt, imageId, config, host, path, args, layers, restartCount } = record;
  const etc = etcPaths(context, record);
  return {
    id,
    name,
    names: context.records.namesOf(record),
    createdAt,
    imageId,
    config,
    host,
    links: (host.links ?? []).map(
      ({ container, alias }) =>
        `/${context.records.get(container)?.name ?? container}:/${name}/${alias}`,
    ),
    path,
    args,
    layers,
    state: record.state,
    health: context.health.get(id),
    restartCount,
    mounts: record.mounts
      .filter((mount) => mount.type !== "tmpfs" || mount.isMount === true)
      .map((mount) => describeMount(mount, (name) => context.volumes.path(name))),
    networks: joinedNetworksOf(record),
    endpoints: isActive(record) ? context.network.endpointsOf(id) : [],
    ports: record.ports,
    logPath: host.log.driver === "json-file" ? jsonLogPath(context, id) : "",
    resolvConfPath: etc.resolv,
    hostnamePath: etc.hostname,
    hostsPath: etc.hosts,
    execIds: context.execs.openIdsOf(id),
  };
}

export async function listContainers(
  context: Context,
  request: ListRequest,
): Promise<ListedContainer[]> {
  const selected = selectContainers(context.records.all(), request, {
    resolve: (nameOrId) => context.records.resolve(nameOrId),
    familyOfImage: (nameOrId) => context.images.familyOf(nameOrId),
    healthOf: ({ id }) => context.health.get(id)?.status ?? "none",
    networksOf: (record) => networkNamesOf(context, record),
  });
  return await Promise.all(
    selected.map(async (record): Promise<ListedContainer> => {
      const container = viewOf(context, record);
      if (!request.size) return { container };
      const { rwBytes, rootFsBytes } = await sizesOf(context, record);
      return { container, sizeRwBytes: rwBytes, sizeRootFsBytes: rootFsBytes };
    }),
  );
}

function networkNamesOf(context: Context, record: ContainerRecord): string[] {
  const { networkMode } = record.host;
  if (networkMode.mode === "container") return [`container:${networkMode.container}`];
  const joined = joinedNetworksOf(record).map(({ network }) => network);
  return [
    ...(networkMode.mode === "network" ? [networkMode.name] : []),
    ...joined,
    ...joined
      .filter((name) => name === "host" || name === "none")
      .map((name) => context.network.resolve(name).id),
    ...context.network
      .endpointsOf(record.id)
      .flatMap(({ networkId, networkName }) => [networkId, networkName]),
  ];
}

/** What the container wrote, and that with what its image holds. */
export async function sizesOf(
  context: Context,
  { id, layers }: ContainerRecord,
): Promise<{ rwBytes: number; rootFsBytes: number }> {
  // Never started: nothing was written, and there is no snapshot yet.
  const known = new Set(context.snapshots.list());
  const rwBytes = known.has(id) ? await context.snapshots.usageBytes(id) : 0;
  const imageBytes = layers.reduce(
    (sum, diffId) => sum + (context.layers.info(diffId)?.contentSizeBytes ?? 0),
    0,
  );
  return { rwBytes, rootFsBytes: rwBytes + imageBytes };
}

/** Which containers stand on an image, for `rmi`. */
export const imageUsersOf = (context: Context): ImageUsers => ({
  usersOf: (imageId) =>
    [...context.records.all()]
      .filter((record) => record.imageId === imageId)
      .map((record) => ({ id: record.id, running: isActive(record) })),
});

const mountedLayers = ({ mounts }: ContainerRecord): Digest[] =>
  mounts.flatMap((mount) => (mount.type === "image" ? mount.layers : []));

/** Layers that some container needs, whatever became of its image. */
export function layersInUse(context: Context): Set<Digest> {
  const layers = new Set<Digest>();
  for (const record of context.records.all())
    for (const diffId of [...record.layers, ...mountedLayers(record)]) layers.add(diffId);
  return layers;
}
