import { expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { readMountInfo } from "#linux/mount";

import { mountOf, namesIn, openFixture, requestOf } from "./fixture.ts";
import { ANONYMOUS_LABEL } from "./names.ts";

const TMPFS = { type: "tmpfs", device: "tmpfs", o: "size=1m" };
const mountsOn = (path: string): number =>
  readMountInfo().filter(({ target }) => target === path).length;

test("a volume is made once, and answered as it is afterwards", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const made = room.create(requestOf({ name: "data", labels: { a: "1" } }));
  expect(room.create(requestOf({ name: "data", labels: { a: "2" } }))).toEqual(made);
  expect(lstatSync(made.path).isDirectory()).toBe(true);
  expect(fixture.events).toEqual(["volume create data"]);
  const anonymous = room.create(requestOf());
  expect(anonymous.name).toMatch(/^[0-9a-f]{64}$/);
  expect(anonymous.labels).toEqual({ [ANONYMOUS_LABEL]: "" });
  expect(room.list({}).map(({ name }) => name)).toEqual([anonymous.name, "data"].toSorted());
});

test("many volumes cost no descriptors", async () => {
  await using fixture = openFixture();
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 64; i += 1) fixture.room.create(requestOf({ name: `many${i}` }));
  expect(readdirSync("/proc/self/fd").length - before).toBeLessThan(32);
});

test("names that lead elsewhere, unknown drivers and options make nothing", async () => {
  await using fixture = openFixture();
  const { room, root } = fixture;
  expect(() => room.create(requestOf({ name: "../out" }))).toThrow("invalid characters");
  expect(() => room.create(requestOf({ name: "data", driver: "nfs" }))).toThrow(
    'plugin "nfs" not found',
  );
  expect(() => room.create(requestOf({ name: "data", options: { typo: "1" } }))).toThrow(
    'create data: invalid option: "typo"',
  );
  expect(namesIn(root)).toEqual([]);
  expect(fixture.events).toEqual([]);
});

test("a volume in use is not removed, one without users is gone with its files", async () => {
  await using fixture = openFixture();
  const { room, root, users } = fixture;
  room.create(requestOf({ name: "data" }));
  users.set("data", ["c1", "c2"]);
  expect(() => room.remove("data", { force: true })).toThrow(
    "remove data: volume is in use - [c1, c2]",
  );
  users.clear();
  room.remove("data", { force: false });
  expect(() => room.get("data")).toThrow("get data: no such volume");
  expect(() => room.remove("data", { force: false })).toThrow("get data: no such volume");
  room.remove("data", { force: true });
  await room.swept();
  expect(namesIn(root)).toEqual([]);
});

test("prune takes anonymous volumes that nobody has, all of them only when asked", async () => {
  await using fixture = openFixture();
  const { room, users } = fixture;
  const [free, taken] = [room.create(requestOf()), room.create(requestOf())];
  users.set(taken.name, ["c1"]);
  room.create(requestOf({ name: "named", labels: { keep: "" } }));
  writeFileSync(join(free.path, "file"), "x".repeat(10_000));
  const first = await room.prune({ all: false, filters: {} });
  expect(first.deleted).toEqual([free.name]);
  expect(first.reclaimedBytes).toBeGreaterThanOrEqual(10_000);
  const kept = await room.prune({ all: true, filters: { "label!": ["keep"] } });
  expect(kept.deleted).toEqual([]);
  // Spared is who has all of them.
  room.create(requestOf({ name: "half", labels: { keep: "" } }));
  const both = { "label!": ["keep", "other"] };
  expect((await room.prune({ all: true, filters: both })).deleted).toEqual(["half", "named"]);
  room.create(requestOf({ name: "named", labels: { keep: "" } }));
  expect((await room.prune({ all: true, filters: {} })).deleted).toEqual(["named"]);
  expect(room.list({}).map(({ name }) => name)).toEqual([taken.name]);
});

test("a removal that a crash cut off is finished, and the name is free meanwhile", async () => {
  await using fixture = openFixture();
  const { room, root } = fixture;
  for (const name of ["cut", "again"]) {
    writeFileSync(join(room.create(requestOf({ name })).path, "old"), "");
  }
  // The record says that they go; their files never did.
  const change = room.planRemoval(["cut", "again"], {
    containerId: "c1",
    after: Promise.resolve(),
  });
  change.write();
  fixture.reopen();
  expect(fixture.room.list({})).toEqual([]);
  const made = fixture.room.create(requestOf({ name: "again" }));
  expect(namesIn(made.path)).toEqual([]);
  fixture.room.reconcile(new Map());
  await fixture.room.swept();
  expect(namesIn(root).filter((name) => !name.startsWith(".gone-"))).toEqual(["again"]);
  fixture.reopen();
  await fixture.room.swept();
  expect(namesIn(root)).toEqual(["again"]);
});

test("what a container's removal takes is only what nobody else has", async () => {
  await using fixture = openFixture();
  const { room, users } = fixture;
  for (const name of ["own", "shared"]) room.create(requestOf({ name }));
  users.set("own", ["c1"]);
  users.set("shared", ["c1", "c2"]);
  const change = room.planRemoval(["own", "shared", "none"], {
    containerId: "c1",
    after: Promise.resolve(),
  });
  change.write();
  change.done();
  await room.swept();
  expect(room.list({}).map(({ name }) => name)).toEqual(["shared"]);
});

test("a folder without a record is a volume again, a link and a stray file are not", async () => {
  await using fixture = openFixture();
  const { root, warnings } = fixture;
  fixture.reopen(() => {
    mkdirSync(join(root, "found/_data"), { recursive: true });
    writeFileSync(join(root, "found/_data/file"), "kept");
    writeFileSync(join(root, "stray"), "");
    mkdirSync(join(root, "empty"));
    symlinkSync("found", join(root, "linked"));
    mkdirSync(join(root, "half"));
    symlinkSync("../found/_data", join(root, "half/_data"));
    mkdirSync(join(root, ".hidden/_data"), { recursive: true });
  });
  expect(fixture.room.list({}).map(({ name }) => name)).toEqual(["found"]);
  expect(readFileSync(join(fixture.room.path("found"), "file"), "utf8")).toBe("kept");
  expect(warnings).toEqual(["the folder of found was on no record: it is a volume again"]);
});

test("a new volume gets the image's folder, owners, modes and links included, once", async () => {
  await using fixture = openFixture();
  const { room, lowers } = fixture;
  mkdirSync(join(lowers[1], "data/sub"), { recursive: true });
  writeFileSync(join(lowers[1], "data/sub/file"), "image");
  chownSync(join(lowers[1], "data/sub/file"), 12, 34);
  chmodSync(join(lowers[1], "data/sub/file"), 0o4751);
  // What an image links to is not followed out of it.
  symlinkSync("/etc/passwd", join(lowers[1], "data/link"));
  const { path } = room.create(requestOf({ name: "data" }));
  await room.acquire({ containerId: "c1", mounts: [mountOf("data")], lowers });
  expect(namesIn(path)).toEqual(["link", "sub"]);
  expect(lstatSync(join(path, "link")).isSymbolicLink()).toBe(true);
  const { mode, uid, gid } = lstatSync(join(path, "sub/file"));
  expect([mode & 0o7777, uid, gid]).toEqual([0o4751, 12, 34]);
  writeFileSync(join(path, "sub/file"), "changed");
  room.release("c1");
  await room.acquire({ containerId: "c2", mounts: [mountOf("data")], lowers });
  expect(readFileSync(join(path, "sub/file"), "utf8")).toBe("changed");
});

test("nothing is copied where nobody wants it, or where the image has nothing", async () => {
  await using fixture = openFixture();
  const { room, lowers } = fixture;
  mkdirSync(join(lowers[0], "data"));
  writeFileSync(join(lowers[0], "data/file"), "");
  for (const name of ["bare", "elsewhere"]) room.create(requestOf({ name }));
  await room.acquire({
    containerId: "c1",
    mounts: [mountOf("bare", { noCopy: true }), mountOf("elsewhere", { target: "/none" })],
    lowers,
  });
  expect(namesIn(room.path("bare"))).toEqual([]);
  expect(namesIn(room.path("elsewhere"))).toEqual([]);
});

test("a copy that a crash cut off is made anew, whole", async () => {
  await using fixture = openFixture();
  const { lowers, root } = fixture;
  mkdirSync(join(lowers[0], "data"));
  for (const name of ["a", "b"]) writeFileSync(join(lowers[0], "data", name), "image");
  fixture.room.create(requestOf({ name: "data" }));
  fixture.reopen(() => {
    mkdirSync(join(root, "data/filling"));
    for (const name of ["a", "junk"]) writeFileSync(join(root, "data/filling", name), "half");
  });
  await fixture.room.acquire({ containerId: "c1", mounts: [mountOf("data")], lowers });
  expect(namesIn(fixture.room.path("data"))).toEqual(["a", "b"]);
  expect(readFileSync(join(fixture.room.path("data"), "a"), "utf8")).toBe("image");
  expect(existsSync(join(root, "data/filling"))).toBe(false);
});

test("a subpath is a folder below the volume, and no link leads out of it", async () => {
  await using fixture = openFixture();
  const { room, lowers } = fixture;
  const { path } = room.create(requestOf({ name: "data" }));
  mkdirSync(join(path, "in/side"), { recursive: true });
  symlinkSync("in", join(path, "near"));
  symlinkSync("/etc", join(path, "far"));
  symlinkSync("../../..", join(path, "up"));
  const acquire = (subpath: string) =>
    room.acquire({ containerId: "c1", mounts: [mountOf("data", { subpath })], lowers });
  await acquire("in/side");
  await acquire("near/side");
  for (const subpath of ["far", "up", "in/../../..", "none"]) {
    expect(acquire(subpath)).rejects.toThrow("cannot access path");
  }
});

test("a volume's folder that became a link is refused", async () => {
  await using fixture = openFixture();
  const { room, lowers, root } = fixture;
  const { path } = room.create(requestOf({ name: "data" }));
  renameSync(path, join(root, "data/away"));
  symlinkSync("/etc", path);
  const acquired = room.acquire({ containerId: "c1", mounts: [mountOf("data")], lowers });
  expect(acquired).rejects.toThrow("the folder of volume data is a symbolic link");
});

test("the options are mounted with the first container and unmounted with the last", async () => {
  await using fixture = openFixture();
  const { room, lowers } = fixture;
  const { path } = room.create(requestOf({ name: "ram", options: TMPFS }));
  const mounts = [mountOf("ram")];
  expect(mountsOn(path)).toBe(0);
  await Promise.all(
    ["c1", "c2"].map((containerId) => room.acquire({ containerId, mounts, lowers })),
  );
  expect(mountsOn(path)).toBe(1);
  room.release("c1");
  room.release("c1");
  expect(mountsOn(path)).toBe(1);
  room.release("c2");
  expect(mountsOn(path)).toBe(0);
});

test("after a crash what nobody has is unmounted, and what somebody has stays", async () => {
  await using fixture = openFixture();
  const { lowers } = fixture;
  const mounts = ["kept", "left"].map((name) => mountOf(name));
  for (const { name } of mounts) fixture.room.create(requestOf({ name, options: TMPFS }));
  await fixture.room.acquire({ containerId: "c1", mounts, lowers });
  writeFileSync(join(fixture.room.path("kept"), "file"), "data");
  fixture.reopen();
  fixture.room.reconcile(new Map([["c1", [mountOf("kept")]]]));
  expect(mountsOn(fixture.room.path("kept"))).toBe(1);
  expect(mountsOn(fixture.room.path("left"))).toBe(0);
  expect(readFileSync(join(fixture.room.path("kept"), "file"), "utf8")).toBe("data");
  fixture.room.release("c1");
  expect(mountsOn(fixture.room.path("kept"))).toBe(0);
});

test("a mount that the kernel refuses is told, and the volume can be used and removed after", async () => {
  await using fixture = openFixture();
  const { room, lowers, root } = fixture;
  const options = { type: "none", device: "/nowhere/at/all", o: "bind" };
  room.create(requestOf({ name: "bad", options }));
  const acquired = room.acquire({ containerId: "c1", mounts: [mountOf("bad")], lowers });
  expect(acquired).rejects.toThrow("failed to mount local volume: mount /nowhere/at/all:");
  await acquired.catch(() => undefined);
  room.release("c1");
  room.remove("bad", { force: false });
  await room.swept();
  expect(namesIn(root)).toEqual([]);
});
