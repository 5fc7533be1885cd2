/**
 * A container room over a real database and real files, with a supervisor, a network and an image that are told what
 * to do. For tests of this room only.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { EngineError, noSuch, notFound, systemClock } from "#base";
import { type EngineEvent, type EventBus, eventMigrations, openEventBus } from "#engine/events";
import type { Image, ImageService } from "#engine/image";
import type { NetworkHolders, NetworkService, PortBinding } from "#engine/network";
import { openStore, type Store } from "#engine/store";
import type { RuntimeDefaults } from "#engine/runtime";
import { openVolumeService, volumeMigrations, type VolumeRoom } from "#engine/volume";
import type {
  AnnouncedBirth,
  AnnounceMessage,
  BirthMessage,
  CheckpointMessage,
  ExecMessage,
  ExitReport,
  ProcessKey,
  ProcessReport,
  Requests,
  RequestType,
} from "#engine/supervisor";
import type { Digest, ImageRunConfig, MountSpec } from "#oci";

import type { ContainerConfig, CreateRequest, HostConfig } from "./config.ts";
import type { EarlyStreams, SupervisorLink } from "./context.ts";
import type { HostFacts } from "./host-facts.ts";
import { type ContainerRoom, openContainerService, type OpenContainersRequest } from "./open.ts";
import { PLAIN_CONFIG, PLAIN_HOST } from "./plain.ts";
import { containerMigrations } from "./records.ts";
import type { EngineOptions } from "./validate.ts";

export const IMAGE_ID: Digest = `sha256:${"1".repeat(64)}`;
export const LAYER: Digest = `sha256:${"2".repeat(64)}`;

export const facts: HostFacts = {
  cpus: 2,
  cpusetCpus: "0-1",
  cpusetMems: "0",
  memoryLimit: true,
  swapLimit: true,
  memoryReservation: true,
  memorySwappiness: true,
  oomKillDisable: true,
  cpuCfs: true,
  cpuShares: true,
  cpuset: true,
  pidsLimit: true,
  blkioWeight: false,
  blkioWeightDevice: false,
  blkioThrottle: true,
  cpuRealtime: false,
  kernelMemoryTcp: false,
  cgroupUnified: false,
  ipv4Forwarding: true,
  hostname: "ferry",
  capabilities: ["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
  apparmor: false,
};

export const options: EngineOptions = {
  defaultRuntime: "naru",
  runtimes: new Map([
    ["naru", "native"],
    ["crun", "crun"],
  ]),
  defaultLog: { driver: "json-file", options: {} },
  defaultShmSizeBytes: 64 * 1024 * 1024,
  init: false,
  initPath: null,
  cgroupParent: `/naru-test-container-room-${process.pid}`,
  cdiFolders: [],
  hostGatewayIps: [],
  resolvConf: null,
  defaultUlimits: [],
  noNewPrivileges: false,
  seccompUnconfined: false,
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  userRemap: null,
};

const systemMount = (destination: string, type: string, extra: string[] = []): MountSpec => ({
  destination,
  type,
  source: type,
  options: ["nosuid", ...extra],
});

export const specDefaults: RuntimeDefaults = {
  capabilities: ["CAP_CHOWN", "CAP_KILL"],
  allCapabilities: facts.capabilities,
  mounts: [
    systemMount("/proc", "proc"),
    systemMount("/sys", "sysfs", ["ro"]),
    systemMount("/sys/fs/cgroup", "cgroup", ["ro"]),
    systemMount("/dev/shm", "tmpfs", ["size=65536k"]),
  ],
  deviceRules: [{ allow: false, access: "rwm" }],
  maskedPaths: ["/proc/kcore"],
  readonlyPaths: ["/proc/sys"],
  seccomp: () => ({ defaultAction: "SCMP_ACT_ERRNO", syscalls: [] }),
  builtinSeccomp: () => ({ defaultAction: "SCMP_ACT_ERRNO", syscalls: [] }),
  parseSeccomp: (text) => ({ ...(JSON.parse(text) as { defaultAction: string }), syscalls: [] }),
};

export const configOf = (change: Partial<ContainerConfig> = {}): ContainerConfig => ({
  ...PLAIN_CONFIG,
  image: "busybox",
  ...change,
});

export const hostOf = (change: Partial<HostConfig> = {}): HostConfig => ({
  ...PLAIN_HOST,
  ...change,
});

export const createOf = (
  change: {
    name?: string;
    config?: Partial<ContainerConfig>;
    host?: Partial<HostConfig>;
    platform?: string | null;
  } = {},
): CreateRequest => ({
  name: change.name ?? "",
  platform: change.platform ?? null,
  config: configOf(change.config),
  host: hostOf(change.host),
});

/** A supervisor that outlives the rooms it serves, as the real one does. */
export class FakeSupervisor implements SupervisorLink {
  readonly births: BirthMessage[] = [];
  /** Births that were told of; a rebirth forgets them. */
  readonly announced = new Map<string, AnnounceMessage>();
  readonly execs: ExecMessage[] = [];
  readonly processes = new Map<string, ProcessReport>();
  readonly forgotten: ProcessKey[] = [];
  readonly signals: [string, number][] = [];
  /** Thrown by the next birth. */
  birthFailure: Error | null = null;
  /** Runs inside a birth, before its answer. */
  onBirth: (id: string) => void | Promise<void> = () => undefined;
  /** Writes a container down. */
  onCheckpoint: (request: CheckpointMessage) => void | Promise<void> = ({ images }) => {
    for (const name of ["naru.json", "stats-dump"]) writeFileSync(join(images, name), "");
  };
  /** Runs when a list is made, before it arrives. */
  onListed: () => void | Promise<void> = () => undefined;
  /** What a signal does; the default ends the process. */
  onSignal: (id: string, signal: number) => void | Promise<void> = (id, signal) =>
    this.end(id, 128 + signal);
  deliver: (exit: ExitReport) => void = () => undefined;
  #nextPid = 1000;

  async request<Type extends RequestType>(
    request: Requests[Type]["request"] & { readonly type: Type },
  ): Promise<Requests[Type]["answer"]> {
    return (await this.#answer(request)) as Requests[Type]["answer"];
  }

  attach(): Promise<never> {
    return Promise.reject(new Error("the fake carries no streams"));
  }

  /** Streams of a client that the supervisor never answers. */
  attachAhead(): Promise<EarlyStreams> {
    return Promise.resolve({
      output: new ReadableStream<Uint8Array>(),
      input: new WritableStream<Uint8Array>(),
      joined: new Promise<void>(() => undefined),
      close: () => undefined,
    });
  }

  /** The init of a container ends. */
  end(id: string, exitCode: number): void {
    const report = this.processes.get(id);
    if (report === undefined || report.exit !== null) return;
    const exit: ExitReport = {
      key: { id },
      pid: report.pid,
      exitCode,
      oomKilled: false,
      finishedAt: new Date().toISOString().replace("Z", "000000Z"),
      error: null,
    };
    this.processes.set(id, { ...report, exit });
    this.deliver(exit);
  }

  async #answer(request: Requests[RequestType]["request"]): Promise<unknown> {
    switch (request.type) {
      case "expect":
        return null;
      case "announce":
        this.announced.set(request.id, request);
        return null;
      case "birth":
        return await this.#birth(request);
      case "exec":
        this.execs.push(request);
        return this.#report({ id: request.id, execId: request.execId });
      case "signal": {
        const { id } = request.key;
        const report = this.processes.get(id);
        if (report === undefined || report.exit !== null) throw noSuch("container", id);
        this.signals.push([id, request.signal]);
        await this.onSignal(id, request.signal);
        return null;
      }
      case "list": {
        const answer = { processes: [...this.processes.values()] };
        await this.onListed();
        return answer;
      }
      case "listPorts":
        return { holders: [] };
      case "forget":
        this.forgotten.push(request.key);
        this.processes.delete(request.key.id);
        this.announced.delete(request.key.id);
        return null;
      case "abandon":
      case "reservePorts":
      case "releasePorts":
      case "removeLinks":
      case "setDns":
      case "dropLog":
      case "resize":
      case "leave":
      case "upgrade":
      case "shutdown":
        return null;
      case "checkpoint":
        await this.onCheckpoint(request);
        if (!request.leaveRunning) this.end(request.id, 137);
        return null;
      case "explain":
        return { plan: "clone" };
    }
  }

  async #birth(asked: BirthMessage | AnnouncedBirth): Promise<ProcessReport> {
    const request: BirthMessage = asked.spec === null ? this.#whole(asked) : asked;
    this.births.push(request);
    const failure = this.birthFailure;
    this.birthFailure = null;
    if (failure !== null) throw failure;
    const report = this.#report({ id: request.id });
    this.processes.set(request.id, report);
    await this.onBirth(request.id);
    return report;
  }

  #whole(asked: AnnouncedBirth): BirthMessage {
    const announced = this.announced.get(asked.id);
    if (announced === undefined) throw notFound(`nothing was announced of container ${asked.id}`);
    return { ...announced, ...asked, spec: announced.spec };
  }

  #report(key: ProcessKey): ProcessReport {
    this.#nextPid += 1;
    return {
      key,
      pid: this.#nextPid,
      startTime: "1",
      bootId: "boot",
      startedAt: new Date().toISOString().replace("Z", "000000Z"),
      exit: null,
    };
  }
}

export class FakeNetwork implements NetworkService {
  readonly attached = new Set<string>();
  readonly #ports = new Map<string, PortBinding[]>();
  readonly released: string[] = [];
  attachFailure: Error | null = null;
  alive: ReadonlySet<string> | null = null;
  /** Runs while the ports of nobody are looked for. */
  beforeReconcile: () => void | Promise<void> = () => undefined;

  ensure(): Promise<void> {
    return Promise.resolve();
  }

  list(): [] {
    return [];
  }

  expectedLink(): null {
    return null;
  }

  resolve(name: string): never {
    throw noSuch("network", name);
  }

  create(): Promise<never> {
    return Promise.reject(new Error("the fake has no networks of its own"));
  }

  remove(name: string): Promise<never> {
    return Promise.reject(noSuch("network", name));
  }

  prune(): Promise<string[]> {
    return Promise.resolve([]);
  }

  check(request: { network: string }): never {
    throw noSuch("network", request.network);
  }

  connect(): Promise<never> {
    return Promise.reject(new Error("the fake connects nobody"));
  }

  disconnect(): Promise<never> {
    return Promise.reject(new Error("the fake disconnects nobody"));
  }

  endpointsOf(): [] {
    return [];
  }

  endpointsIn(): [] {
    return [];
  }

  attach(request: Parameters<NetworkService["attach"]>[0]): ReturnType<NetworkService["attach"]> {
    if (this.attachFailure !== null) return Promise.reject(this.attachFailure);
    this.attached.add(request.containerId);
    const ports = request.ports.map(({ protocol, containerPort, hostPort }): PortBinding => ({
      protocol,
      containerPort,
      hostAddress: "0.0.0.0",
      hostPort: hostPort === 0 ? 49_153 : hostPort,
    }));
    this.#ports.set(request.containerId, ports);
    return Promise.resolve({ attachment: { mode: "bridge", endpoints: [] }, endpoints: [], ports });
  }

  portsOf(containerId: string): PortBinding[] {
    return this.#ports.get(containerId) ?? [];
  }

  rename(): void {
    // It has no endpoints.
  }

  publish(): Promise<void> {
    return Promise.resolve();
  }

  release(id: string): Promise<void> {
    this.attached.delete(id);
    this.released.push(id);
    return Promise.resolve();
  }

  async reconcile(alive: NetworkHolders): Promise<void> {
    await this.beforeReconcile();
    this.alive = new Set(alive);
    for (const id of this.attached) if (!alive.has(id)) this.attached.delete(id);
  }
}

export interface Fixture extends AsyncDisposable {
  readonly room: ContainerRoom;
  readonly supervisor: FakeSupervisor;
  readonly network: FakeNetwork;
  readonly events: EngineEvent[];
  readonly folder: string;
  readonly snapshots: Set<string>;
  readonly volumes: VolumeRoom;
  /** As after SIGKILL: a new room on the same records, the old one is never heard of again. */
  reopen(): Promise<void>;
}

const image = (run: ImageRunConfig): Image => ({
  id: IMAGE_ID,
  config: {
    architecture: "amd64",
    os: "linux",
    config: run,
    rootfs: { type: "layers", diff_ids: [LAYER] },
  },
  references: ["docker.io/library/busybox:latest"],
  repoDigests: [],
  sizeBytes: 1,
  lastTagged: null,
  parent: null,
  indexes: [],
});

export function openFixture(run: ImageRunConfig = { Cmd: ["sh"] }): Fixture {
  const folder = mkdtempSync("/tmp/naru-test-container-");
  const supervisor = new FakeSupervisor();
  const network = new FakeNetwork();
  const snapshots = new Set<string>();
  const store = openStore({
    path: join(folder, "naru.db"),
    migrations: [...eventMigrations, ...volumeMigrations, ...containerMigrations],
  });
  const events: EngineEvent[] = [];
  mkdirSync(join(folder, "lower"));
  let volumes: VolumeRoom;
  const open = (): ContainerRoom => {
    volumes = openVolumeService({
      store,
      root: join(folder, "volumes"),
      events: recordingBus(store, events),
      users: (name) => room.usersOfVolume(name),
      clock: systemClock,
      warn: () => undefined,
    });
    const room = openContainerService({
      ...fakeFiles(folder, snapshots),
      store,
      images: fakeImages(run),
      network,
      volumes,
      supervisor,
      events: recordingBus(store, events),
      options,
      facts,
      specDefaults,
      paths: { containers: join(folder, "containers") },
      log: { debug: () => undefined, warn: () => undefined, error: () => undefined },
    });
    supervisor.deliver = (exit) => room.onSupervisorEvent({ type: "exit", exit });
    return room;
  };
  let room = open();
  return {
    get room() {
      return room;
    },
    get volumes() {
      return volumes;
    },
    supervisor,
    network,
    events,
    folder,
    snapshots,
    async reopen() {
      room.close();
      room = open();
      await room.reconcile({ startUp: true });
    },
    async [Symbol.asyncDispose]() {
      room.close();
      await Promise.all([room.swept(), volumes.swept()]);
      store[Symbol.dispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function recordingBus(store: Store, events: EngineEvent[]): EventBus {
  const bus = openEventBus({ store });
  return {
    publish: (event) => void events.push({ ...event, timeNano: 0n }),
    subscribe: bus.subscribe.bind(bus),
    past: bus.past.bind(bus),
  };
}

const fakeImages = (run: ImageRunConfig): ImageService =>
  ({
    resolve: (name: string) => {
      if (name.startsWith("busybox") || name === IMAGE_ID) return image(run);
      throw new EngineError("notFound", `No such image: ${name}:latest`);
    },
    familyOf: () => new Set([IMAGE_ID]),
  }) as unknown as ImageService;

type Files = Pick<OpenContainersRequest, "layers" | "snapshots" | "gc">;

const fakeFiles = (folder: string, snapshots: Set<string>): Files => ({
  layers: { info: () => null } as unknown as Files["layers"],
  snapshots: {
    canLimit: false,
    lowers: () => [join(folder, "lower")],
    rootLowers: () => [join(folder, "lower")],
    list: () => [...snapshots],
    usageBytes: () => Promise.resolve(12),
    get: () => {
      throw noSuch("container", "snapshot");
    },
    create: ({ id, layers }) => {
      snapshots.add(id);
      return { id, layers, upper: `${folder}/${id}/upper`, work: `${folder}/${id}/work` };
    },
    remove: (id) => {
      snapshots.delete(id);
      return Promise.resolve();
    },
  },
  gc: { addRoots: () => undefined, release: () => undefined },
});
