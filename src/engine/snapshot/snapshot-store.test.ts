import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  ftruncateSync,
  closeSync,
  openSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";

import { type LayerStore, openLayerStore } from "#engine/layer";
import { tarStream } from "#wire/tar";
import { createDetachedOverlay, MNT_DETACH, moveMount, unmount } from "#linux/mount";
import { FileDescriptor } from "#linux/path";
import type { Digest } from "#oci";

import { openSnapshotStore, type SnapshotStore } from "./index.ts";

let home = "";
let layers: LayerStore;
let store: SnapshotStore;
const open = () => openSnapshotStore({ root: `${home}/snapshots`, layers });

beforeAll(() => {
  home = mkdtempSync("/tmp/naru-test-snapshot-");
  layers = openLayerStore({ root: `${home}/layers`, mountRoot: `${home}/run` });
  store = open();
});
afterAll(async () => {
  for (const { diffId } of layers.list()) layers.remove(diffId);
  await layers.close();
  rmSync(home, { recursive: true, force: true });
});

const layer = async (files: Record<string, string>, root?: { mode: number; uid: number }) => {
  const source = tarStream(async (writer) => {
    if (root) await writer.add({ name: ".", type: "directory", ...root });
    for (const [name, text] of Object.entries(files)) await writer.add({ name }, text);
  });
  return (await layers.write({ source })).diffId;
};

/** Mounts a snapshot's overlay for the time of `use`. */
function mounted(id: string, stack: readonly Digest[], use: (root: string) => void): void {
  const root = `${home}/view`;
  mkdirSync(root, { recursive: true });
  const { upper, work } = store.get(id, stack);
  using overlay = new FileDescriptor(
    createDetachedOverlay({ lowers: store.lowers(stack), upper, work }),
  );
  moveMount({ fromFd: overlay.fd, toPath: root });
  try {
    use(root);
  } finally {
    unmount(root, MNT_DETACH);
  }
}

test("a container's root has what Docker's have, below what its image and the container have there", async () => {
  const stack = [await layer({ "etc/hosts": "of the image" })];
  const { upper, work } = store.create({ id: "init", layers: stack });
  const root = `${home}/view`;
  mkdirSync(root, { recursive: true });
  using overlay = new FileDescriptor(
    createDetachedOverlay({ lowers: store.rootLowers(stack), upper, work }),
  );
  moveMount({ fromFd: overlay.fd, toPath: root });
  try {
    expect(readFileSync(`${root}/etc/hosts`, "utf8")).toBe("of the image");
    expect(readFileSync(`${root}/.dockerenv`, "utf8")).toBe("");
    expect(readlinkSync(`${root}/etc/mtab`)).toBe("/proc/mounts");
    expect(readdirSync(`${root}/dev`).toSorted()).toEqual(["console", "pts", "shm"]);
    expect(readdirSync(upper)).toEqual([]);
  } finally {
    unmount(root, MNT_DETACH);
  }
  await store.remove("init");
});

test("a stack of 120 layers is one file tree, the topmost layer winning", async () => {
  const stack: Digest[] = [];
  for (let index = 0; index < 120; index += 1) {
    stack.push(await layer({ [`own-${index}`]: String(index), shared: String(index) }));
  }
  store.create({ id: "deep", layers: stack });
  mounted("deep", stack, (root) => {
    expect(readdirSync(root).length).toBe(121);
    expect(readFileSync(`${root}/own-0`, "utf8")).toBe("0");
    expect(readFileSync(`${root}/shared`, "utf8")).toBe("119");
    writeFileSync(`${root}/written`, "x");
  });
  expect(readdirSync(store.get("deep", stack).upper)).toEqual(["written"]);
  await store.remove("deep");
}, 20_000);

test("a layer that a stack holds twice, and a stack of none, are overlays too", async () => {
  const [a, b] = [await layer({ x: "a" }), await layer({ x: "b" })];
  store.create({ id: "twice", layers: [a, b, a] });
  mounted("twice", [a, b, a], (root) => expect(readFileSync(`${root}/x`, "utf8")).toBe("a"));
  store.create({ id: "scratch", layers: [] });
  mounted("scratch", [], (root) => {
    expect(readdirSync(root)).toEqual([]);
    expect(statSync(root).mode & 0o7777).toBe(0o755);
  });
  await store.remove("twice");
  await store.remove("scratch");
});

test("`/` of the container has the owner and mode that the image's has", async () => {
  const stack = [await layer({}, { mode: 0o1750, uid: 33 })];
  store.create({ id: "root", layers: stack });
  mounted("root", stack, (root) => {
    expect(statSync(root)).toMatchObject({ mode: 0o41750, uid: 33 });
  });
  await store.remove("root");
});

test("creating again is no error over the same layers and a conflict over others", async () => {
  const [a, b] = [await layer({ x: "a" }), await layer({ x: "b" })];
  const first = store.create({ id: "again", layers: [a] });
  writeFileSync(`${first.upper}/kept`, "x");
  expect(store.create({ id: "again", layers: [a] })).toEqual(first);
  expect(existsSync(`${first.upper}/kept`)).toBe(true);
  expect(() => store.create({ id: "again", layers: [b] })).toThrow("over other layers");
  expect(() => store.get("again", [b])).toThrow("over other layers");
  expect(() => store.get("missing", [a])).toThrow("does not exist");
  expect(() => store.create({ id: "../out", layers: [a] })).toThrow("invalid snapshot id");
  expect(store.list()).toEqual(["again"]);
  await store.remove("again");
  await store.remove("again");
  expect(store.list()).toEqual([]);
});

test("usage counts blocks: hard links once, holes and link targets not", async () => {
  const { upper } = store.create({ id: "usage", layers: [] });
  expect(await store.usageBytes("usage")).toBe(0);
  writeFileSync(`${upper}/file`, Buffer.alloc(100_000, 1));
  linkSync(`${upper}/file`, `${upper}/again`);
  symlinkSync("/usr", `${upper}/link`);
  mkdirSync(`${upper}/dir`);
  writeFileSync(`${upper}/dir/file`, Buffer.alloc(50_000, 1));
  const fd = openSync(`${upper}/hole`, "w");
  ftruncateSync(fd, 1e9);
  closeSync(fd);
  const usage = await store.usageBytes("usage");
  expect(usage).toBeGreaterThanOrEqual(150_000);
  expect(usage).toBeLessThan(180_000);
  await store.remove("usage");
});

test("directories nested deeper than a path can say are deleted", async () => {
  const { upper } = store.create({ id: "deep", layers: [] });
  const script =
    'for i in $(seq 60); do mkdir -p $(printf "a%.0s" $(seq 200)); cd a*; touch f; done';
  spawnSync("bash", ["-c", script], { cwd: upper });
  expect(await store.usageBytes("deep")).toBe(0);
  await store.remove("deep");
  expect(readdirSync(`${home}/snapshots`).toSorted()).toEqual([".empty", ".init"]);
});

test("a deletion that a crash interrupted is finished by the next start", async () => {
  mkdirSync(`${home}/snapshots/.trash-1/upper`, { recursive: true });
  writeFileSync(`${home}/snapshots/.trash-1/upper/file`, "x");
  store = open();
  expect(store.list()).toEqual([]);
  while (existsSync(`${home}/snapshots/.trash-1`)) {
    await new Promise((resolve) => setImmediate(resolve));
  }
});
