import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";

import { openContentStore } from "#engine/content";
import { type Digest, digestOf } from "#oci";

import { type GarbageCollector, openGarbageCollector } from "./index.ts";

const folders: string[] = [];
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

async function open(): Promise<{
  gc: GarbageCollector;
  blobs: () => Digest[];
  layers: Set<Digest>;
  snapshots: Set<string>;
  a: Digest;
  b: Digest;
}> {
  const folder = mkdtempSync("/tmp/naru-test-gc-");
  folders.push(folder);
  const content = openContentStore(folder);
  const { digest: a } = await content.writeDocument(new TextEncoder().encode("a"));
  const { digest: b } = await content.writeDocument(new TextEncoder().encode("b"));
  const layers = new Set([a, b]);
  const snapshots = new Set(["one", "two"]);
  const info = { tarSizeBytes: 0, contentSizeBytes: 0, entries: 0 };
  const gc = openGarbageCollector({
    content,
    layers: {
      list: () => [...layers].map((diffId) => ({ diffId, ...info })),
      has: (diffId) => layers.has(diffId),
      remove: (diffId) => void layers.delete(diffId),
    },
    snapshots: {
      list: () => [...snapshots],
      remove: (id) => {
        snapshots.delete(id);
        return Promise.resolve();
      },
    },
    owners: ["image", "container"],
  });
  const blobs = () => content.list().map(({ digest }) => digest);
  return { gc, blobs, layers, snapshots, a, b };
}

test("what nobody refers to is deleted, what a root or a lease refers to stays", async () => {
  const { gc, blobs, layers, snapshots, a, b } = await open();
  gc.addRoots("image", () => ({ blobs: [a] }));
  gc.addRoots("container", () => ({ snapshots: ["one"] }));
  {
    using lease = gc.lease();
    lease.keep({ layers: [b] });
    expect(await gc.collect()).toEqual({ blobs: [b], layers: [a], snapshots: ["two"] });
    expect(blobs()).toEqual([a]);
    expect([...layers]).toEqual([b]);
  }
  await gc.collect();
  expect([...layers]).toEqual([]);
  expect([...snapshots]).toEqual(["one"]);
});

test("nothing is deleted before every expected room has told what it needs", async () => {
  const { gc, blobs, layers } = await open();
  gc.addRoots("image", () => ({}));
  const failure = await gc.collect().then(() => "deleted", String);
  expect(failure).toContain("roots of container are registered");
  expect(() => gc.release({ layers })).toThrow("roots of container");
  expect(blobs().length).toBe(2);
  expect(layers.size).toBe(2);
});

test("a hold puts every sweep off until it ends", async () => {
  const { gc, layers, a, b } = await open();
  gc.addRoots("image", () => ({ layers: [b] }));
  gc.addRoots("container", () => ({}));
  const hold = gc.hold();
  gc.release({ layers: [a, b] });
  const collected = gc.collect();
  expect(layers.size).toBe(2);
  hold[Symbol.dispose]();
  hold[Symbol.dispose]();
  expect([...layers]).toEqual([b]);
  expect((await collected).layers).toEqual([]);
});

test("releasing what is needed or not there is no error", async () => {
  const { gc, layers, a } = await open();
  gc.addRoots("image", () => ({ layers: [a] }));
  gc.addRoots("container", () => ({}));
  gc.release({ layers: [a, digestOf("c")], blobs: [digestOf("c")] });
  expect(layers.has(a)).toBe(true);
});
