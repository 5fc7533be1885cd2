import { expect, test } from "bun:test";

import { configOf, facts, hostOf, IMAGE_ID, LAYER, options, specDefaults } from "./fixture.ts";
import { resolveMounts } from "./mounts.ts";
import type { ContainerRecord } from "./records.ts";
import { buildSpec, capabilitiesOf, environmentOf, type SpecSurroundings } from "./spec.ts";

const around: SpecSurroundings = {
  defaults: specDefaults,
  apparmorEnabled: false,
  cgroupsPath: "/naru/x",
  files: { "/etc/hosts": "/h", "/etc/resolv.conf": "/r" },
  lowers: (layers) => layers.map((layer) => `/layers/${layer}`),
  volumePath: (name) => `/volumes/${name}/_data`,
  devices: [],
  joined: {},
  sharedMemory: null,
};

function recordOf(
  host: Parameters<typeof hostOf>[0] = {},
  config: Parameters<typeof configOf>[0] = {},
): ContainerRecord {
  const merged = hostOf({ shmSizeBytes: options.defaultShmSizeBytes, ...host });
  return {
    id: "f".repeat(64),
    name: "web",
    createdAt: "",
    imageId: IMAGE_ID,
    config: configOf({ hostname: "web", ...config }),
    host: merged,
    path: "/bin/sh",
    args: ["-c", "x"],
    layers: [LAYER],
    mounts: resolveMounts(merged.mounts, [], { newName: () => "anon", imageOf }),
    state: { status: "created" },
    process: null,
    manuallyStopped: false,
    restartCount: 0,
    ports: [],
  };
}

const specOf = (...request: Parameters<typeof recordOf>) => buildSpec(recordOf(...request), around);
const mountAt = (spec: ReturnType<typeof buildSpec>, path: string) =>
  spec.mounts.find(({ destination }) => destination === path);

const imageOf = () => ({ imageId: "sha256:aa", layers: ["sha256:bb"] }) as const;

test("a container without wishes gets Docker's defaults", () => {
  const spec = specOf();
  expect(spec.hostname).toBe("web");
  expect(spec.process).toMatchObject({
    args: ["/bin/sh", "-c", "x"],
    cwd: "/",
    noNewPrivileges: false,
    oomScoreAdj: 0,
  });
  expect(spec.process.capabilities).toMatchObject({
    bounding: ["CAP_CHOWN", "CAP_KILL"],
    inheritable: [],
    ambient: [],
  });
  expect(spec.linux.namespaces.map(({ type }) => type).toSorted()).toEqual([
    "cgroup",
    "ipc",
    "mount",
    "network",
    "pid",
    "uts",
  ]);
  expect(spec.linux.maskedPaths).toEqual(["/proc/kcore"]);
  expect(spec.linux.seccomp?.defaultAction).toBe("SCMP_ACT_ERRNO");
  expect(mountAt(spec, "/dev/shm")?.options).toContain("size=67108864");
  expect(mountAt(spec, "/etc/hosts")).toMatchObject({ source: "/h", type: "bind" });
  expect(spec.linux.resources).toEqual({ devices: [...specDefaults.deviceRules] });
});

test("the environment is the engine's, under the config's, and a bare name removes", () => {
  const config = configOf({ hostname: "web", terminal: true, environment: ["A=1", "PATH"] });
  expect(environmentOf({ config })).toEqual(["HOSTNAME=web", "TERM=xterm", "A=1"]);
});

test("capabilities are added and dropped by name or all at once", () => {
  const caps = (capAdd: string[], capDrop: string[]) =>
    capabilitiesOf({ privileged: false, capAdd, capDrop }, specDefaults);
  expect(caps(["net_admin"], ["KILL"])).toEqual(["CAP_CHOWN", "CAP_NET_ADMIN"]);
  expect(caps([], ["ALL"])).toEqual([]);
  expect(caps(["KILL"], ["all"])).toEqual(["CAP_KILL"]);
  expect(caps(["ALL"], ["KILL"])).toEqual(facts.capabilities.filter((name) => name !== "CAP_KILL"));
});

test("a privileged container is masked nowhere, filtered by nothing, and may write /sys", () => {
  const spec = specOf({ privileged: true });
  expect(spec.linux.maskedPaths).toEqual([]);
  expect(spec.linux.readonlyPaths).toEqual([]);
  expect(spec.linux.seccomp).toBeUndefined();
  expect(spec.linux.resources.devices).toEqual([{ allow: true, access: "rwm" }]);
  expect(mountAt(spec, "/sys")?.options).toContain("rw");
  expect(mountAt(spec, "/sys/fs/cgroup")?.options).not.toContain("ro");
});

test("the host's and others' namespaces are joined or left as asked", () => {
  const types = (host: Parameters<typeof hostOf>[0], joined = {}) =>
    buildSpec(recordOf(host), { ...around, joined }).linux.namespaces;
  expect(types({ networkMode: { mode: "host" } }).map(({ type }) => type)).not.toContain("network");
  expect(types({ pidMode: { mode: "container", container: "x" } }, { pid: 7 })).toContainEqual({
    type: "pid",
    path: "/proc/7/ns/pid",
  });
  expect(
    types({ networkMode: { mode: "container", container: "x" } }, { network: 8 }),
  ).toContainEqual({ type: "network", path: "/proc/8/ns/net" });
  const host = specOf({ networkMode: { mode: "host" } });
  expect(host.linux.sysctl).toEqual({});
});

test("binds, volumes and tmpfs become mounts after the system's own", () => {
  const spec = specOf({
    mounts: [
      {
        type: "bind",
        source: "/src",
        target: "/etc/hosts",
        readOnly: true,
        propagation: "rslave",
        recursive: true,
        createSource: false,
      },
      { type: "volume", name: "data", target: "/data", readOnly: false, noCopy: false },
      { type: "tmpfs", target: "/t", sizeBytes: 1024, mode: 0o1777, options: ["exec"] },
    ],
  });
  expect(spec.mounts.filter(({ destination }) => destination === "/etc/hosts")).toEqual([
    {
      destination: "/etc/hosts",
      type: "bind",
      source: "/src",
      options: ["rbind", "rro", "rslave"],
    },
  ]);
  const order = specOf({
    mounts: [{ type: "tmpfs", target: "/etc", sizeBytes: null, mode: null, options: [] }],
  }).mounts.map(({ destination }) => destination);
  expect(order.indexOf("/etc")).toBeLessThan(order.indexOf("/etc/hosts"));
  expect(mountAt(spec, "/data")?.source).toBe("/volumes/data/_data");
  expect(mountAt(spec, "/t")?.options).toEqual([
    "nosuid",
    "nodev",
    "exec",
    "size=1024",
    "mode=1777",
  ]);
  expect(spec.linux.rootfsPropagation).toBe("rslave");
});

test("limits are written in the specification's units", () => {
  const { resources } = hostOf();
  const spec = specOf({
    resources: {
      ...resources,
      memoryBytes: 1e8,
      memorySwapBytes: -1,
      nanoCpus: 15e8,
      cpusetCpus: "0",
      pidsLimit: 5,
    },
  });
  expect(spec.linux.resources).toMatchObject({
    memory: { limit: 1e8, swap: -1 },
    cpu: { period: 100_000, quota: 150_000, cpus: "0" },
    pids: { limit: 5 },
  });
});
