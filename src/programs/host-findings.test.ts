import { describe, expect, test } from "bun:test";

import type { CgroupAbilities } from "#linux/cgroup";

import {
  cgroupFinding,
  clockFinding,
  diskFinding,
  fileSystemsFinding,
  findingsText,
  firewallFinding,
  initFinding,
  kernelFinding,
  namespacesFinding,
  socketFinding,
} from "./host-findings.ts";

const all: CgroupAbilities = {
  memory: true,
  swap: true,
  oomKillDisable: true,
  cpuShares: true,
  cpuQuota: true,
  cpuset: true,
  pids: true,
  blkioWeight: true,
  blkioWeightDevice: true,
  blkioThrottle: true,
  cpuRealtime: true,
  kernelMemoryTcp: true,
  devices: true,
};
const GB = 1_000_000_000;
const disk = {
  path: "/var/lib",
  magic: 0xef53,
  freeBytes: 50 * GB,
  totalBytes: 100 * GB,
  freeInodes: 900,
  totalInodes: 1000,
};

describe("what an engine needs of its host", () => {
  test("a kernel of 5.14 or newer, of whatever name", () => {
    expect(kernelFinding("5.13.19").verdict).toBe("failed");
    expect(kernelFinding("5.14.0-362.el9.x86_64")).toMatchObject({ verdict: "ok", fix: null });
    expect(kernelFinding("6.12.0").found).toContain("mounted as files");
    expect(kernelFinding("nonsense").verdict).toBe("failed");
  });

  test("all namespaces; without users' and cgroups' it still runs", () => {
    const names = ["cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts"];
    expect(namespacesFinding(names).verdict).toBe("ok");
    expect(namespacesFinding(names.filter((name) => name !== "user")).verdict).toBe("warning");
    expect(namespacesFinding(names.filter((name) => name !== "net"))).toMatchObject({
      verdict: "failed",
      found: "missing: net",
    });
  });

  test("cgroups that can hold limits and devices", () => {
    expect(cgroupFinding("v2", all)).toMatchObject({ verdict: "ok", found: "v2" });
    expect(cgroupFinding("hybrid", { ...all, swap: false })).toMatchObject({
      verdict: "warning",
      fix: "boot with swapaccount=1",
    });
    expect(cgroupFinding("v1", { ...all, memory: false, pids: false }).found).toBe(
      "v1: no limits of memory, pids",
    );
    expect(cgroupFinding("v1", { ...all, devices: false }).verdict).toBe("failed");
  });

  test("overlay, and erofs for speed; a module that is not loaded yet counts", () => {
    const facts = { registered: ["nodev", "overlay", "ext4"], modules: [] };
    expect(fileSystemsFinding(facts).verdict).toBe("warning");
    expect(fileSystemsFinding({ ...facts, modules: ["erofs"] }).verdict).toBe("ok");
    expect(fileSystemsFinding({ registered: ["ext4"], modules: ["erofs"] }).verdict).toBe("failed");
  });

  test("a disk with room, on a file system that overlays can write on", () => {
    expect(diskFinding(disk)).toMatchObject({ verdict: "ok", fix: null });
    expect(diskFinding({ ...disk, freeBytes: GB / 2 }).verdict).toBe("warning");
    expect(diskFinding({ ...disk, freeBytes: 4 * GB }).verdict).toBe("warning");
    expect(diskFinding({ ...disk, freeBytes: 1000 }).verdict).toBe("failed");
    expect(diskFinding({ ...disk, freeInodes: 10 }).found).toBe(
      "10 of 1000 inodes free at /var/lib",
    );
    expect(diskFinding({ ...disk, freeInodes: 0, totalInodes: 0 }).verdict).toBe("ok");
    expect(diskFinding({ ...disk, magic: 0x6969 }).found).toContain("nfs");
    // Some libraries hand the magic number out as a signed one.
    expect(diskFinding({ ...disk, magic: 0xff534d42 | 0 }).verdict).toBe("failed");
  });

  test("a clock that is right enough for certificates", () => {
    const now = new Date("2026-11-23T09:00:00Z");
    const built = new Date("2026-11-01T00:00:00Z");
    expect(clockFinding({ now, built, synchronised: true }).verdict).toBe("ok");
    expect(clockFinding({ now, built: null, synchronised: null }).verdict).toBe("ok");
    expect(clockFinding({ now, built, synchronised: false }).verdict).toBe("warning");
    expect(clockFinding({ now: built, built: now, synchronised: true }).verdict).toBe("failed");
  });

  test("an engine that answers, or who may start one", () => {
    const path = "/run/naru/naru.sock";
    expect(socketFinding({ path, state: "answers" }).verdict).toBe("ok");
    expect(socketFinding({ path, state: "missing" }).fix).toContain("systemctl start naru");
    expect(socketFinding({ path, state: "denied" }).fix).toContain("usermod");
    expect(socketFinding({ path, state: "silent" }).verdict).toBe("failed");
  });

  test("is told a line each, with the fix below", () => {
    const text = findingsText([
      initFinding("/usr/bin/tini"),
      initFinding(null),
      firewallFinding({ reason: "nft list tables: no" }),
    ]);
    expect(text.split("\n")).toEqual([
      "ok    init      /usr/bin/tini",
      "warn  init      no program for --init",
      "                fix: install tini",
      "FAIL  firewall  nft list tables: no",
      expect.stringMatching(/^ {16}fix: install libnftables1/),
    ]);
  });
});
