/** Everything of the fake engine that is not a container: events, images, networks, the host. */
import { EngineError, invalid, newId, noSuch } from "#base";
import type { EngineEvent, EventBus } from "#engine/events";
import type { Image, ImageService } from "#engine/image";
import type { Network, NetworkService } from "#engine/network";
import type { SystemService } from "#engine/system";
import { type Digest, digestOf } from "#oci";

import { streamOf } from "./fake-process.ts";

export const IMAGE_ID: Digest = digestOf("busybox");
const utf8 = new TextEncoder();

export function fakeBus(): EventBus {
  const all: EngineEvent[] = [];
  const readers = new Set<(event: EngineEvent) => void>();
  return {
    publish(event) {
      const stamped = { ...event, timeNano: BigInt(Date.now()) * 1_000_000n + BigInt(all.length) };
      all.push(stamped);
      for (const reader of readers) reader(stamped);
    },
    subscribe(signal) {
      return new ReadableStream<EngineEvent>({
        start(controller) {
          const reader = (event: EngineEvent) => controller.enqueue(event);
          readers.add(reader);
          signal.addEventListener("abort", () => {
            readers.delete(reader);
            controller.close();
          });
        },
      });
    },
    past: ({ sinceNano, untilNano }) =>
      all.filter(({ timeNano }) => timeNano >= sinceNano && timeNano <= untilNano),
  };
}

const image: Image = {
  id: IMAGE_ID,
  config: {
    created: "2026-01-02T03:04:05Z",
    architecture: "amd64",
    os: "linux",
    config: { Cmd: ["sh"], Env: ["PATH=/bin"], Labels: { made: "here" } },
    rootfs: { type: "layers", diff_ids: [digestOf("layer")] },
    history: [{ created: "2026-01-02T03:04:05Z", created_by: "sh" }],
  },
  references: ["docker.io/library/busybox:latest"],
  repoDigests: [`docker.io/library/busybox@${digestOf("manifest")}`],
  sizeBytes: 4_260_000,
  lastTagged: new Date("2026-01-02T03:04:06Z"),
  parent: null,
  indexes: [],
};

function resolveImage(name: string): Image {
  const known = /^(docker\.io\/library\/)?busybox(:latest)?$/.test(name) || image.id.includes(name);
  if (!known) throw noSuch("image", name);
  return image;
}

const fakeUsage = {
  addBuiltIndex: () => Promise.resolve(),
  search: () => Promise.resolve([]),
  prune: () => Promise.resolve({ deleted: [], reclaimedBytes: 0 }),
  forgetLostLayers: () => undefined,
  fetchDocuments: () => Promise.reject(new Error("no registry")),
  fetchLayer: () => Promise.reject(new Error("no registry")),
  pushCache: () => Promise.reject(new Error("no registry")),
  usage: () => ({ layersSizeBytes: 1, sharedSizeBytes: new Map() }),
  containersOf: () => 0,
  usageOf: () => {
    const mediaType = "application/vnd.oci.image.manifest.v1+json";
    const descriptor = { mediaType, digest: IMAGE_ID, size: 1 };
    const { architecture, os } = image.config;
    const manifest = {
      descriptor,
      kind: "image" as const,
      isAvailable: true,
      contentBytes: 2,
      platform: { architecture, os },
      unpackedBytes: image.sizeBytes,
      containerIds: [],
    };
    return { descriptor, manifests: [manifest], containerIds: [] };
  },
} satisfies Partial<ImageService>;

export function fakeImages(signals: AbortSignal[], loaded: number[]): ImageService {
  return {
    addBuilt: () => Promise.resolve(IMAGE_ID),
    resolve: resolveImage,
    isCalled: (id, name) => resolveImage(name).id === id,
    familyOf: (name) => new Set([resolveImage(name).id]),
    list: () => [image],
    history: () => [
      {
        id: IMAGE_ID,
        created: new Date(0),
        createdBy: "sh",
        tags: ["docker.io/library/busybox:latest"],
        sizeBytes: 1,
        comment: "",
      },
      { id: "<missing>", created: null, createdBy: "ADD", tags: [], sizeBytes: 0, comment: "" },
    ],
    tag: ({ source }) => void resolveImage(source),
    remove: ({ name }) => {
      resolveImage(name);
      return Promise.resolve([
        { untagged: "docker.io/library/busybox:latest" },
        { deleted: IMAGE_ID },
      ]);
    },
    async pull({ reference, signal, onProgress }) {
      signals.push(signal);
      if (reference.includes("denied"))
        throw new EngineError("notFound", "pull access denied for denied");
      onProgress({ status: "Pulling from library/busybox", id: "latest" });
      if (reference.includes("slow")) {
        for (let current = 0; current < 200_000 && !signal.aborted; current += 1) {
          onProgress({
            status: "Downloading",
            id: "abc",
            progressDetail: { current, total: 200_000 },
          });
          if (current % 1000 === 0) await new Promise((next) => setImmediate(next));
        }
      }
      if (reference.includes("half")) throw invalid("layer 2 of 5: digest mismatch");
      onProgress({ status: "Status: Downloaded newer image for busybox:latest" });
    },
    push: ({ onProgress }) =>
      Promise.resolve(onProgress({ status: "latest: digest: sha256:1 size: 1" })),
    async load({ archive, onProgress }) {
      let size = 0;
      for await (const chunk of archive) {
        if (size === 0 && Buffer.from(chunk).toString().startsWith("broken")) {
          throw invalid("archive/tar: invalid tar header");
        }
        size += chunk.length;
      }
      loaded.push(size);
      onProgress({ stream: "Loaded image: busybox:latest\n" });
      return [];
    },
    save(names) {
      for (const name of names) resolveImage(name);
      return streamOf([utf8.encode("tar bytes")]);
    },
    ...fakeUsage,
    commit: () => Promise.resolve(IMAGE_ID),
    async importTar({ archive }) {
      for await (const chunk of archive) loaded.push(chunk.length);
      return IMAGE_ID;
    },
  };
}

export function fakeNetworks(): Pick<
  NetworkService,
  "list" | "resolve" | "endpointsIn" | "create" | "remove" | "prune"
> {
  const predefined: NonNullable<Network["predefined"]> = {
    pools: [
      {
        family: "ipv4",
        subnet: "172.18.0.0/16",
        gateway: "172.18.0.1",
        ipRange: null,
        auxiliary: {},
      },
    ],
    options: {},
    gateways: { ipv4: null, ipv6: null },
  };
  const of = (name: Network["name"], driver: Network["driver"]): Network => ({
    id: newId(),
    name,
    driver,
    createdAt: new Date("2026-01-01T00:00:00Z"),
    subnet: driver === "bridge" ? "172.18.0.0/16" : null,
    gateway: driver === "bridge" ? "172.18.0.1" : null,
    bridge: driver === "bridge" ? "naru0" : null,
    mtu: 1500,
    custom: null,
    ...(driver === "bridge" ? { predefined } : {}),
  });
  const all = [of("bridge", "bridge"), of("host", "host"), of("none", "null")];
  return {
    list: () => all,
    resolve(name) {
      const network = all.find(
        (one) => one.name === name || (name !== "" && one.id.startsWith(name)),
      );
      if (network === undefined) throw new EngineError("notFound", `network ${name} not found`);
      return network;
    },
    endpointsIn: () => [],
    create: ({ name }) => {
      all.push(of(name, "bridge"));
      return Promise.resolve(of(name, "bridge"));
    },
    remove: (name) => {
      const text = `${name} is a pre-defined network and cannot be removed`;
      return Promise.reject(new EngineError("forbidden", text));
    },
    prune: () => Promise.resolve([]),
  };
}

export const fakeSystem = (): SystemService => ({
  id: "id",
  info: () =>
    Promise.resolve({
      id: "id",
      containers: { running: 1, paused: 0, stopped: 2 },
      images: 1,
      storage: { driver: "overlayfs", status: [["Backing Filesystem", "extfs"]] },
      memoryLimit: true,
      swapLimit: false,
      cpuCfs: true,
      cpuShares: true,
      cpuSet: true,
      pidsLimit: true,
      oomKillDisable: true,
      ipv4Forwarding: true,
      cgroupDriver: "cgroupfs",
      cgroupVersion: "1",
      kernelVersion: "6.18.0",
      operatingSystem: "Debian GNU/Linux 12",
      osVersion: "12",
      architecture: "x86_64",
      cpus: 2,
      memoryBytes: 1_000_000,
      hostname: "host",
      dataRoot: "/var/lib/naru",
      runtimes: new Map([["naru", { path: "native", args: [] }]]),
      defaultRuntime: "native",
      securityOptions: ["name=seccomp,profile=builtin"],
      insecureRegistries: ["127.0.0.0/8", "registry.local:5000"],
      registryMirrors: [],
      labels: [],
      cdiFolders: [],
      cdiDevices: [],
      addressPools: [],
      logDrivers: ["json-file"],
      authorizationPlugins: [],
      warnings: ["WARNING: No swap limit support"],
      liveRestore: true,
      debug: false,
      loggingDriver: "json-file",
      proxies: { http: "", https: "", none: "" },
      initBinary: "tini",
      initVersion: "0.19.0",
      initCommit: "",
      threads: 4,
      runtimeFeatures: new Map([["naru", "{}"]]),
      kernelMemoryTcp: true,
      descriptors: 20,
      systemTime: "2026-01-01T00:00:00Z",
    }),
  version: () => ({
    version: "0.1.0",
    apiVersion: "1.51",
    minApiVersion: "1.24",
    isExperimental: false,
    gitCommit: "abc",
    bunVersion: "1.4.5",
    os: "linux",
    architecture: "amd64",
    kernelVersion: "6.18.0",
    buildTime: "2026-01-01T00:00:00Z",
    initVersion: "0.19.0",
    initCommit: "",
  }),
});
