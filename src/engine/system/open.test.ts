import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import type { HostFacts } from "#engine/container";
import { openStore } from "#engine/store";

import { openSystemService, systemMigrations, warningsOf } from "./open.ts";

const facts: HostFacts = {
  cpus: 2,
  cpusetCpus: "0-1",
  cpusetMems: "0",
  memoryLimit: true,
  swapLimit: false,
  memoryReservation: true,
  memorySwappiness: true,
  oomKillDisable: true,
  cpuCfs: true,
  cpuShares: true,
  cpuset: true,
  pidsLimit: true,
  blkioWeight: true,
  blkioWeightDevice: true,
  blkioThrottle: true,
  cpuRealtime: true,
  kernelMemoryTcp: true,
  cgroupUnified: false,
  ipv4Forwarding: true,
  hostname: "ferry",
  capabilities: [],
  apparmor: false,
};

function open(path: string) {
  const store = openStore({ path: join(path, "naru.db"), migrations: systemMigrations });
  const system = openSystemService({
    store,
    identity: () => ({
      dataRoot: "/data",
      runtimes: new Map([["naru", { path: "native", args: [] }]]),
      defaultRuntime: "naru",
      securityOptions: [],
      insecureRegistries: [],
      registryMirrors: [],
      labels: ["a=b"],
      cdiFolders: [],
      cdiDevices: [],
      addressPools: [],
      logDrivers: ["local"],
      authorizationPlugins: [],
      warnings: ["WARNING: as configured"],
      liveRestore: true,
      debug: false,
      loggingDriver: "json-file",
      proxies: { http: "", https: "", none: "" },
      initBinary: "",
      initVersion: "",
      initCommit: null,
      cgroupVersion: "1",
      version: {
        version: "1.2.3",
        apiVersion: "1.51",
        minApiVersion: "1.24",
        isExperimental: false,
        gitCommit: "abc",
        buildTime: "",
      },
    }),
    facts,
    runtimeFeatures: async () => new Map(),
    layers: { form: "file" },
    counts: () => ({ running: 1, paused: 2, stopped: 3 }),
    countImages: () => 4,
  });
  return { store, system };
}

test("a data root has one id for ever, and info tells what is there", async () => {
  const folder = mkdtempSync("/tmp/naru-test-system-");
  try {
    const first = open(folder);
    const info = await first.system.info();
    expect(info).toMatchObject({
      containers: { running: 1, paused: 2, stopped: 3 },
      images: 4,
      cpus: 2,
      labels: ["a=b"],
      cdiFolders: [],
      cgroupVersion: "1",
      warnings: ["WARNING: as configured", "WARNING: No swap limit support"],
    });
    expect(info.memoryBytes).toBeGreaterThan(1e6);
    expect(first.system.version()).toMatchObject({ version: "1.2.3", apiVersion: "1.51" });
    first.store[Symbol.dispose]();
    const second = open(folder);
    expect((await second.system.info()).id).toBe(info.id);
    second.store[Symbol.dispose]();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("each thing the host cannot do is a warning of its own", () => {
  expect(warningsOf({ ...facts, swapLimit: true })).toEqual([]);
  expect(warningsOf({ ...facts, memoryLimit: false, ipv4Forwarding: false })).toEqual([
    "WARNING: No memory limit support",
    "WARNING: No swap limit support",
    "WARNING: IPv4 forwarding is disabled",
  ]);
  const none = { kernelMemoryTcp: false, cpuCfs: false, oomKillDisable: false };
  expect(warningsOf({ ...facts, ...none, blkioThrottle: false })).toEqual([
    "WARNING: No swap limit support",
    "WARNING: No kernel memory TCP limit support",
    "WARNING: No oom kill disable support",
    "WARNING: No cpu cfs quota support",
    "WARNING: No cpu cfs period support",
    "WARNING: No blkio throttle.read_bps_device support",
    "WARNING: No blkio throttle.write_bps_device support",
    "WARNING: No blkio throttle.read_iops_device support",
    "WARNING: No blkio throttle.write_iops_device support",
  ]);
  const unified = { ...facts, ...none, cpuCfs: true, swapLimit: true, cgroupUnified: true };
  expect(warningsOf({ ...unified, blkioWeightDevice: false })).toEqual([]);
  expect(warningsOf({ ...unified, blkioWeightDevice: false, blkioWeight: false })).toEqual([
    "WARNING: No io.weight support",
    "WARNING: No io.weight (per device) support",
  ]);
});
