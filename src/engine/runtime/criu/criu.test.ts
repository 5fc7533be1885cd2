import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  MOUNT_ATTR_NOEXEC,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  parseMountInfo,
} from "#linux/mount";

import { defaultSpec } from "../test-container.ts";
import { dumpArguments } from "./dump.ts";
import { type Manifest, readManifest, writeManifest } from "./manifest.ts";
import { confinedOf, nameOf, outsideMounts, refusalOf, streamOf } from "./outside.ts";
import { withoutPipes } from "./pipe-data.ts";
import { lastError } from "./program.ts";
import { restoreArguments } from "./restore.ts";

const MOUNTS = parseMountInfo(`100 1 0:50 / / rw - overlay overlay rw
101 100 0:51 / /proc rw - proc proc rw
102 101 0:51 /sys /proc/sys ro - proc proc rw
103 101 0:5 /null /proc/kcore ro - devtmpfs devtmpfs rw
104 100 0:52 / /dev rw - tmpfs tmpfs rw
105 100 0:53 / /sys/fs/cgroup ro - tmpfs tmpfs rw
106 105 0:30 /naru/x /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu
107 100 8:1 /var/data /data rw - ext4 /dev/sda1 rw
108 107 0:60 / /data/tmp rw - tmpfs tmpfs rw
109 100 0:24 / /run/host rw - tmpfs tmpfs rw
110 100 0:25 /shm /mine rw - tmpfs tmpfs rw
`);

test("the host's mounts are told from a container's own, with all that is below them", () => {
  const binds = new Map([
    [107, "/data"],
    [109, "/run/host"],
  ]);
  const isNull = (target: string) => target === "/proc/kcore";
  const found = outsideMounts(MOUNTS, { binds, isNull });
  expect(found.map(({ key, target, source }) => [key, target, source])).toEqual([
    ["m0", "/proc/kcore", { kind: "null" }],
    ["m1", "/sys/fs/cgroup/cpu,cpuacct", { kind: "cgroup", hierarchy: "cpu,cpuacct" }],
    ["m2", "/data", { kind: "bind", destination: "/data", below: "" }],
    ["m3", "/data/tmp", { kind: "bind", destination: "/data", below: "/tmp" }],
    ["m4", "/run/host", { kind: "bind", destination: "/run/host", below: "" }],
  ]);
});

test("how a mount is confined is kept with it", () => {
  const [mount] = parseMountInfo("1 0 0:1 / /x ro,nosuid,noexec,relatime - tmpfs tmpfs rw\n");
  expect(mount === undefined ? null : confinedOf(mount)).toEqual({
    target: "/x",
    attributes: MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
  });
});

test("streams are known by the supervisor's paths, closed ones and strangers are not", () => {
  const streams = "/run/naru/containers/x";
  expect(
    ["stdin", "stdout", "stderr"].map((name) => streamOf(`${streams}/${name}`, streams)),
  ).toEqual(["stdin", "stdout", "stderr"]);
  expect(streamOf("/dev/null", streams)).toBe("null");
  expect(streamOf(`${streams}/stdin (deleted)`, streams)).toBe("ended");
  expect(streamOf(`${streams}/stdout (deleted)`, streams)).toBeNull();
  expect(streamOf(`${streams}y/stdout`, streams)).toBeNull();
  expect(nameOf({ mountId: 255, inode: 4096 })).toBe("file[ff:1000]");
});

const manifest: Manifest = {
  version: 1,
  mounts: [{ key: "m0", target: "/proc/kcore", attributes: 1, source: { kind: "null" } }],
  files: [{ key: "file[1:2]", stream: "stdout" }],
  network: true,
  points: ["/proc"],
  confined: [],
};

test("criu is told what is outside by one key for both ways", () => {
  const dumped = dumpArguments({
    pid: 42,
    images: "/i",
    leaveRunning: true,
    manifest,
    network: 4026531840,
  });
  expect(dumped).toContain("--leave-running");
  expect(dumped).toContain("--external=mnt[/proc/kcore]:m0");
  expect(dumped).toContain("--external=file[1:2]");
  expect(dumped).toContain("--external=net[4026531840]:extRootNetNS");
  expect(
    dumpArguments({ pid: 42, images: "/i", leaveRunning: false, manifest, network: null }),
  ).not.toContain("--leave-running");
  const restored = restoreArguments({
    images: "/i",
    folder: "/s/criu",
    rootfs: "/s/rootfs",
    outside: ["mnt[m0]:/dev/null"],
    inherited: [{ fd: 17, key: "file[1:2]" }],
  });
  expect(restored).toContain("--external=mnt[m0]:/dev/null");
  expect(restored).toContain("--inherit-fd=fd[17]:file[1:2]");
  expect(restored).toContain("--root=/s/rootfs");
});

test("the first error of a log is the cause, without its time", () => {
  const log = `(00.000900) Error (criu/tun.c:85): tun: Unable to create tun: Operation not permitted
(00.001000) Warn  (criu/kerndat.c:1): no
(00.002000)      1: Error (criu/files-reg.c:2273): File /x has bad size 3 (expect 2)
(00.003000) Error (criu/cr-restore.c:2536): Restoring FAILED.
`;
  expect(lastError(log)).toBe("Error (criu/files-reg.c:2273): File /x has bad size 3 (expect 2)");
  expect(lastError("all is well\n")).toBeNull();
  expect(lastError(`Error (${"x".repeat(5000)}`)?.length).toBe(1000);
});

const record = (pipe: number[], bytes: number) => {
  const message = Buffer.from([0x08, ...pipe, 0x10, bytes, 0x18, 0x80, 0x80, 0x04]);
  const head = Buffer.alloc(4);
  head.writeUInt32LE(message.length);
  return Buffer.concat([head, message, Buffer.alloc(bytes, "x")]);
};
const MAGIC = Buffer.from("magicmag");

test("what the supervisor reads by itself is taken out of an image, and nothing else", () => {
  // 300 in protobuf's numbers.
  const image = Buffer.concat([MAGIC, record([7], 5), record([0xac, 0x02], 9), record([8], 0)]);
  expect(withoutPipes(image, new Set([300]))).toEqual(
    Buffer.concat([MAGIC, record([7], 5), record([8], 0)]),
  );
  expect(withoutPipes(image, new Set())).toEqual(image);
  const cut = image.subarray(0, image.length - 3);
  expect(withoutPipes(cut, new Set([7]))).toEqual(cut);
  expect(withoutPipes(Buffer.concat([image, Buffer.from([1])]), new Set([7])).length).toBe(
    image.length + 1,
  );
});

test("a folder without a manifest, or with another one, is no checkpoint", () => {
  const folder = mkdtempSync("/tmp/naru-test-manifest-");
  try {
    expect(() => readManifest(folder)).toThrow("is no checkpoint of this engine");
    for (const text of ["", "null", "7"]) {
      writeFileSync(join(folder, "naru.json"), text);
      expect(() => readManifest(folder)).toThrow("is ");
    }
    writeFileSync(join(folder, "naru.json"), '{"version":2}');
    expect(() => readManifest(folder)).toThrow("of another version");
    writeManifest(folder, manifest);
    expect(readManifest(folder)).toEqual(manifest);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("what shares namespaces that cannot be made anew is refused", () => {
  const spec = (change: (spec: ReturnType<typeof defaultSpec>) => void) => {
    const made = defaultSpec("a".repeat(64), ["true"]);
    change(made);
    return refusalOf(made);
  };
  expect(spec(() => undefined)).toBeNull();
  expect(spec(({ process }) => (process.terminal = true))).toContain("terminals");
  expect(spec(({ linux }) => linux.namespaces.push({ type: "user" }))).toContain("user");
  expect(
    spec(({ linux }) => (linux.namespaces = linux.namespaces.filter(({ type }) => type !== "pid"))),
  ).toContain("PID");
});
