/** Every room of the engine, opened and handed to those above it. */
import { hostname } from "node:os";
import { join } from "node:path";

import { sentenceOf, systemClock } from "#base";
import {
  containerMigrations,
  type ContainerRoom,
  type HostFacts,
  openContainerService,
  readHostFacts,
  sendErrand,
} from "#engine/container";
import {
  buildMigrations,
  type BuildService,
  type OpenBuildRequest,
  collectCache,
  openBuildService,
} from "#engine/build";
import { openContentStore } from "#engine/content";
import { type EventBus, eventMigrations, openEventBus, type OpenEventBus } from "#engine/events";
import { type GarbageCollector, openGarbageCollector } from "#engine/gc";
import { imageMigrations, type ImageService, openImageService } from "#engine/image";
import { openLayerStore } from "#engine/layer";
import { networkMigrations, openNetworkService, type NetworkService } from "#engine/network";
import type { RegistryClient } from "#engine/registry-client";
import { type RuntimeDefaults, runtimeDefaults, runtimeFeatures } from "#engine/runtime";
import { openSnapshotStore } from "#engine/snapshot";
import { openStore, type Store } from "#engine/store";
import { openSystemService, systemMigrations, type SystemService } from "#engine/system";
import { openCgroupHost } from "#linux/cgroup";
import { apparmorEnabled, capabilityNames } from "#linux/security";
import type { EngineMetrics } from "#servers/metrics";
import type { HostDefaults, InspectRemote } from "#servers/docker-api";
import { openVolumeService, volumeMigrations, type VolumeService } from "#engine/volume";

import { cachePoliciesNow } from "./daemon-builder.ts";
import { LiveOptions } from "./daemon-live.ts";
import { identityOf, VERSION } from "./daemon-identity.ts";
import type { DaemonLog } from "./daemon-log.ts";
import type { DaemonOptions } from "./daemon-options.ts";
import { DaemonSupervisor } from "./daemon-supervisor.ts";
import { ownCommand } from "./own-command.ts";

export interface Engine {
  readonly containers: ContainerRoom;
  readonly images: ImageService;
  readonly builds: BuildService;
  readonly network: NetworkService;
  readonly volumes: VolumeService;
  readonly system: SystemService;
  readonly events: EventBus;
  /** `docker login`. */
  readonly login: RegistryClient["login"];
  /** What containers get that did not say otherwise. */
  readonly defaults: HostDefaults;
  readonly inspectRemote: InspectRemote;
  /** When what was recorded so far survives a power cut; null: it does. */
  readonly settled: () => Promise<void> | null;
  /** Now, after every reload. */
  currentOptions(): DaemonOptions;
  /** Takes over what dockerd takes over at a SIGHUP, and publishes the `reload` event. */
  reload(next: DaemonOptions): void;
  /** Closes what this process holds; containers and supervisor live on. */
  close(): Promise<void>;
}

interface LateContainers {
  containers: ContainerRoom | null;
}

/** Opens the rooms, finds or starts the supervisor, and repairs what the last daemon left half-done. */
export async function openEngine(
  options: DaemonOptions,
  log: DaemonLog,
  metrics: EngineMetrics | null,
): Promise<Engine> {
  const { dataRoot, execRoot } = options;
  const live = new LiveOptions(options, `naru/${VERSION}`);
  const store = openStore({ path: join(dataRoot, "naru.db"), migrations });
  // Rooms that know of each other meet here; the supervisor's start takes longest and begins first.
  const late: LateContainers = { containers: null };
  const supervisor = new DaemonSupervisor({
    execRoot,
    dataRoot,
    log,
    onEvent: (event) => late.containers?.onSupervisorEvent(event),
    onRebirth: async () => await late.containers?.reconcile({ startUp: false }),
  });
  const born = supervisor.ready();
  born.catch(() => undefined);
  const bus = openEventBus({ store });
  const events = metrics?.events(bus) ?? bus;
  const files = openFiles(options, log);
  const images = openImages(live, { store, files, events, late });
  const networks = openNetworkService({
    store,
    portHolder: supervisor,
    options: options.network,
    events,
    warn: (message) => log.warn(message),
  });
  const network = metrics?.networks(networks) ?? networks;
  const volumes = openVolumes(options, log, { store, events, late });
  const host = readHost(options);
  const defaults = specDefaultsOf(options);
  const containers = openContainerService({
    store,
    images,
    ...files,
    network,
    volumes,
    supervisor,
    events,
    options: live.engine,
    facts: host.facts,
    specDefaults: defaults,
    paths: { containers: join(dataRoot, "containers") },
    log,
    filesCommand: () => ownCommand("container-files"),
    ...(metrics === null ? {} : { onProbed: (probed) => metrics.probed(probed) }),
  });
  late.containers = containers;
  const { builds, stop } = openBuilds(options, log, { store, images, containers, ...files });
  const system = openSystem(live, { store, host, files, containers, images });
  await network.ensure();
  await born;
  await containers.reconcile({ startUp: true });
  collectInBackground({ gc: files.gc, images }, log);
  const close = () => {
    stop();
    return closeAll({ containers, network: networks, supervisor, files, events, store });
  };
  const rooms = { containers, images, builds, network, volumes, system, events, close };
  return {
    ...rooms,
    settled: () => store.synced(),
    ...measured(rooms, metrics),
    ...reloadable(live, { defaults, events, engineId: system.id }),
  };
}

const openImages = (
  { registry, concurrency }: LiveOptions,
  rooms: {
    store: Store;
    files: ReturnType<typeof openFiles>;
    events: EventBus;
    late: LateContainers;
  },
): ImageService =>
  openImageService({
    store: rooms.store,
    ...rooms.files,
    events: rooms.events,
    users: { usersOf: (id) => rooms.late.containers?.usersOf(id) ?? [] },
    registry,
    concurrency,
  });

const openSystem = (
  live: LiveOptions,
  rooms: {
    store: Store;
    host: ReturnType<typeof readHost>;
    files: ReturnType<typeof openFiles>;
    containers: ContainerRoom;
    images: ImageService;
  },
): SystemService =>
  openSystemService({
    store: rooms.store,
    identity: () => identityOf(live.options, rooms.host),
    facts: rooms.host.facts,
    layers: rooms.files.layers,
    runtimeFeatures: () => runtimeFeatures(live.engine.runtimes),
    counts: () => rooms.containers.counts(),
    countImages: () => rooms.images.list({}, { all: true }).length,
  });

/** What servers are given instead, where their work is counted. */
const measured = (
  rooms: Pick<Engine, "containers" | "images" | "builds" | "system">,
  metrics: EngineMetrics | null,
): Partial<Engine> =>
  metrics === null
    ? {}
    : {
        containers: metrics.containers(rooms.containers),
        images: metrics.images(rooms.images),
        builds: metrics.builds(rooms.builds),
        system: metrics.system(rooms.system),
      };

/** What the engine hands out that follows its options through every reload. */
function reloadable(
  live: LiveOptions,
  around: { defaults: RuntimeDefaults; events: EventBus; engineId: string },
): Pick<Engine, "login" | "inspectRemote" | "defaults" | "currentOptions" | "reload"> {
  return {
    login: (request) => live.registry.login(request),
    inspectRemote: live.inspectRemote,
    defaults: hostDefaultsOf(around.defaults, live),
    currentOptions: () => live.options,
    reload: (next) => {
      const attributes = { ...live.reload(next), name: hostname() };
      const actorId = around.engineId;
      around.events.publish({ type: "daemon", action: "reload", actorId, attributes });
    },
  };
}

async function closeAll(open: {
  containers: ContainerRoom;
  network: Disposable;
  supervisor: DaemonSupervisor;
  files: ReturnType<typeof openFiles>;
  events: OpenEventBus;
  store: Store;
}): Promise<void> {
  open.containers.close();
  open.network[Symbol.dispose]();
  await open.supervisor.close();
  await open.files.layers.close();
  open.events.flush();
  open.store[Symbol.dispose]();
}

/** The builds, with their cache kept within the operator's bounds. */
function openBuilds(
  { dataRoot, execRoot, cachePolicies, buildEntitlements: entitlements }: DaemonOptions,
  log: DaemonLog,
  rooms: Omit<OpenBuildRequest, "paths" | "log">,
) {
  const paths = { data: join(dataRoot, "build"), run: join(execRoot, "build") };
  return collectCache(openBuildService({ ...rooms, paths, log, entitlements }), {
    policies: () => cachePoliciesNow(cachePolicies, dataRoot),
    onCollected: (outcome) => {
      if ("failure" in outcome) {
        log.warn("the build cache was not collected", { error: sentenceOf(outcome.failure) });
      } else if (outcome.reclaimedBytes > 0) log.info("the build cache was collected", outcome);
    },
  });
}

const openVolumes = (
  { dataRoot }: DaemonOptions,
  log: DaemonLog,
  { store, events, late }: { store: Store; events: EventBus; late: LateContainers },
) =>
  openVolumeService({
    store,
    events,
    root: join(dataRoot, "volumes"),
    users: (name) => late.containers?.usersOfVolume(name) ?? [],
    clock: systemClock,
    warn: (message, fields) => log.warn(message, fields),
    awaitAside: async ({ path, mount }, signal) => {
      const command = [...ownCommand("container-files"), "errand"];
      const what = `error while mounting volume '${path}'`;
      const cancel = signal === undefined ? {} : { signal };
      using _done = await sendErrand<"volume">({
        command,
        task: { errand: "volume", path, mount },
        what,
        ...cancel,
      });
    },
  });

/** Deletes what a crash left half-made; nobody waits for it. */
function collectInBackground(
  { gc, images }: Pick<Engine, "images"> & { readonly gc: Pick<GarbageCollector, "collect"> },
  log: DaemonLog,
): void {
  const collect = async () => {
    await gc.collect();
    images.forgetLostLayers();
  };
  collect().catch((cause: unknown) => {
    log.warn("what nobody needs was not deleted", { error: sentenceOf(cause) });
  });
}

/** Of the one database that every room keeps its records in. */
export const migrations = [
  ...eventMigrations,
  ...systemMigrations,
  ...imageMigrations,
  ...networkMigrations,
  ...volumeMigrations,
  ...containerMigrations,
  ...buildMigrations,
];

/** What lies in files rather than in the database. */
function openFiles({ dataRoot, execRoot, storageLimitBytes }: DaemonOptions, log: DaemonLog) {
  const content = openContentStore(join(dataRoot, "content"));
  const layers = openLayerStore({
    root: join(dataRoot, "layers"),
    mountRoot: join(execRoot, "layers"),
    warn: (message) => log.warn(message),
  });
  const snapshots = openSnapshotStore({
    root: join(dataRoot, "snapshots"),
    layers,
    defaultLimitBytes: storageLimitBytes,
  });
  const gc = openGarbageCollector({
    content,
    layers,
    snapshots,
    owners: ["image", "container", "build"],
  });
  return { content, layers, snapshots, gc };
}

/** The runtime's defaults, with the operator's seccomp profile in place of the built-in one. */
function specDefaultsOf({ seccompProfile }: DaemonOptions): RuntimeDefaults {
  const defaults = runtimeDefaults();
  if (seccompProfile === "builtin" || seccompProfile === "unconfined") return defaults;
  return { ...defaults, seccomp: (names) => defaults.parseSeccomp(seccompProfile, names) };
}

/** What inspect shows of a container that did not say; modes as the last reload left them. */
const hostDefaultsOf = (defaults: RuntimeDefaults, live: LiveOptions): HostDefaults => ({
  apparmor: apparmorEnabled(),
  maskedPaths: defaults.maskedPaths,
  readonlyPaths: defaults.readonlyPaths,
  get networkOptions() {
    return live.options.defaultNetworkOptions;
  },
  get ipcMode() {
    return live.options.modes.ipc;
  },
  get cgroupnsMode() {
    return live.options.modes.cgroupns;
  },
});

function readHost({ engine, realtimeShare }: DaemonOptions): {
  facts: HostFacts;
  cgroupVersion: "1" | "2";
} {
  const cgroups = openCgroupHost();
  if (realtimeShare !== null) cgroups.shareRealtime(engine.cgroupParent, realtimeShare);
  const facts = readHostFacts({
    abilities: cgroups.abilities,
    capabilities: capabilityNames,
    apparmor: apparmorEnabled(),
    cgroupUnified: cgroups.mode === "v2",
  });
  return { facts, cgroupVersion: cgroups.mode === "v2" ? "2" : "1" };
}
