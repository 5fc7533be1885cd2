import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { AT_RECURSIVE, FileDescriptor, O_PATH, openInRoot } from "#linux/path";

import {
  createDetachedOverlay,
  MNT_DETACH,
  mount,
  moveMount,
  MS_NODEV,
  MS_NOSUID,
  parseMountInfo,
  readMountInfo,
  unmount,
} from "./index.ts";
import { OPEN_TREE_CLONE } from "./constants.ts";
import { openTree } from "./mount.ts";
import { cloneAttached, clonePart, takesLowersOneByOne } from "./overlay-by-path.ts";

const folder = () => {
  const path = mkdtempSync("/tmp/naru-test-mount-");
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
};

test("a mount lives until it is disposed of, and unmounting nothing is no error", () => {
  using disk = folder();
  {
    using mounted = mount({
      target: disk.path,
      type: "tmpfs",
      flags: MS_NOSUID | MS_NODEV,
      data: "size=64k",
    });
    const entry = readMountInfo().find(({ target }) => target === mounted.target);
    expect(entry?.type).toBe("tmpfs");
    expect(entry?.options).toContain("nodev");
    expect(entry?.superOptions).toContain("size=64k");
  }
  expect(unmount(disk.path)).toBe(false);
});

test("an overlay of 130 lowers is made detached and attached through its descriptor", () => {
  using disk = folder();
  const lowers = Array.from({ length: 130 }, (_, index) => {
    const path = `${disk.path}/a-long-name-so-that-one-page-of-options-would-not-do-${index}`;
    mkdirSync(path);
    writeFileSync(`${path}/f${index}`, String(index));
    writeFileSync(`${path}/same`, String(index));
    return path;
  });
  for (const name of ["upper", "work", "root"]) mkdirSync(`${disk.path}/${name}`);
  const [upper, work, root] = [`${disk.path}/upper`, `${disk.path}/work`, `${disk.path}/root`];
  using overlay = new FileDescriptor(createDetachedOverlay({ lowers, upper, work }));
  expect(existsSync(`${root}/f0`)).toBe(false);
  moveMount({ fromFd: overlay.fd, toPath: root });
  try {
    expect(readFileSync(`${root}/f129`, "utf8")).toBe("129");
    expect(readFileSync(`${root}/same`, "utf8")).toBe("0");
    writeFileSync(`${root}/new`, "x");
    expect(existsSync(`${upper}/new`)).toBe(true);
  } finally {
    unmount(root, MNT_DETACH);
  }
});

test("without an upper the overlay is read-only, also with one lower alone", () => {
  using disk = folder();
  for (const name of ["a", "b", "root"]) mkdirSync(`${disk.path}/${name}`);
  const root = `${disk.path}/root`;
  for (const lowers of [[`${disk.path}/a`], [`${disk.path}/a`, `${disk.path}/b`]]) {
    using overlay = new FileDescriptor(createDetachedOverlay({ lowers, readOnly: true }));
    moveMount({ fromFd: overlay.fd, toPath: root });
    expect(() => writeFileSync(`${root}/x`, "")).toThrow("EROFS");
    unmount(root, MNT_DETACH);
  }
});

test("what the file system says about a bad option is in the error", () => {
  using disk = folder();
  expect(() => createDetachedOverlay({ lowers: ["/", disk.path], options: { naru: "1" } })).toThrow(
    takesLowersOneByOne() ? "Unknown parameter" : "invalid argument",
  );
});

test("mountinfo with escaped names, tags and several devices is read", () => {
  const line = String.raw`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue`;
  expect(parseMountInfo(`${line}\n`)).toEqual([
    {
      id: 36,
      parentId: 35,
      device: { major: 98, minor: 0 },
      root: "/mnt1",
      target: "/mnt 2",
      options: ["rw", "noatime"],
      tags: ["master:1", "shared:2"],
      type: "ext3",
      source: "/dev/root",
      superOptions: ["rw", "errors=continue"],
    },
  ]);
});

test("a part of a detached tree is a tree of its own, also where only attached ones are cloned", () => {
  using disk = folder();
  const root = disk.path;
  mkdirSync(join(root, "deep/er"), { recursive: true });
  writeFileSync(join(root, "deep/er/file"), "part");
  symlinkSync("../../..", join(root, "deep/out"));
  using from = new FileDescriptor(createDetachedOverlay({ lowers: [root], readOnly: true }));
  expect(() => clonePart(from, "deep/out")).toThrow("invalid cross-device link");
  expect(() => clonePart(from, "nosuch")).toThrow("no such file");
  const deeper = () => openTree({ dirFd: from.fd, path: "deep/er", flags: OPEN_TREE_CLONE });
  for (const clone of [() => clonePart(from, "deep/er"), () => cloneAttached(from, deeper)]) {
    using part = new FileDescriptor(clone());
    expect(readFileSync(`/proc/self/fd/${part.fd}/file`, "utf8")).toBe("part");
    expect(existsSync(`/run/naru-overlay-${process.pid}`)).toBe(false);
  }
});

test("what is mounted on a tree while it is attached goes with its clone, and nowhere else", () => {
  using disk = folder();
  for (const name of ["below/at", "volume"]) mkdirSync(join(disk.path, name), { recursive: true });
  writeFileSync(join(disk.path, "volume/file"), "of the volume");
  const recursive = OPEN_TREE_CLONE | AT_RECURSIVE;
  using bare = new FileDescriptor(
    openTree({ path: join(disk.path, "below"), flags: OPEN_TREE_CLONE }),
  );
  using volume = new FileDescriptor(
    openTree({ path: join(disk.path, "volume"), flags: OPEN_TREE_CLONE }),
  );
  const furnished = cloneAttached(bare, () => {
    using at = new FileDescriptor(openInRoot({ rootFd: bare.fd, path: "at", flags: O_PATH }));
    moveMount({ fromFd: volume.fd, toFd: at.fd });
    return openTree({ dirFd: bare.fd, path: "", flags: recursive });
  });
  using tree = new FileDescriptor(furnished);
  using file = new FileDescriptor(openInRoot({ rootFd: tree.fd, path: "at/file", flags: O_PATH }));
  expect(readFileSync(`/proc/self/fd/${file.fd}`, "utf8")).toBe("of the volume");
  expect(existsSync(join(disk.path, "below/at/file"))).toBe(false);
  expect(readMountInfo().filter(({ target }) => target.includes("naru-overlay-"))).toEqual([]);
});
