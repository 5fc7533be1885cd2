import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { digestOf } from "#oci";

import { openContentStore } from "./index.ts";

const folders: string[] = [];
const folder = (): string => {
  const path = mkdtempSync("/tmp/naru-test-content-");
  folders.push(path);
  return path;
};
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true });
});

const bytesOf = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const streamOf = (...texts: string[]): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      for (const text of texts) controller.enqueue(bytesOf(text));
      controller.close();
    },
  });
const failureOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "no failure",
    (thrown: unknown) => String(thrown),
  );

test("what was streamed in is there under its digest, also after opening again", async () => {
  const root = folder();
  const { digest, sizeBytes } = await openContentStore(root).write(streamOf("hel", "lo"));
  expect(digest).toBe(digestOf("hello"));
  expect(sizeBytes).toBe(5);
  const again = openContentStore(root);
  expect(again.list()).toEqual([{ digest, sizeBytes: 5 }]);
  expect(new TextDecoder().decode(again.readDocument(digest, 10))).toBe("hello");
});

test("bytes that are not what was promised are refused and leave nothing", async () => {
  const root = folder();
  const store = openContentStore(root);
  const digest = digestOf("hello");
  expect(await failureOf(store.write(streamOf("hullo"), { digest }))).toContain("digest");
  expect(await failureOf(store.write(streamOf("hell"), { sizeBytes: 5 }))).toContain("size 4");
  expect(await failureOf(store.write(streamOf("hell", "oo"), { sizeBytes: 5 }))).toContain(
    "larger",
  );
  expect(await failureOf(store.write(streamOf("hello"), { limitBytes: 4 }))).toContain("larger");
  const broken = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.error(new Error("cut")),
  });
  expect(await failureOf(store.write(broken))).toContain("cut");
  expect(store.list()).toEqual([]);
  expect(readdirSync(join(root, "ingest"))).toEqual([]);
});

test("a document larger than the limit is not read, a damaged one is an error and can be repaired", async () => {
  const store = openContentStore(folder());
  const { digest } = await store.writeDocument(bytesOf("hello"));
  expect(() => store.readDocument(digest, 4)).toThrow("larger than 4");
  writeFileSync(store.pathOf(digest), "hullo");
  expect(() => store.readDocument(digest, 10)).toThrow("damaged");
  await store.writeDocument(bytesOf("hello"));
  expect(store.readDocument(digest, 10).length).toBe(5);
});

test("a kept ingest goes on where it stopped", async () => {
  const store = openContentStore(folder());
  const digest = digestOf("hello world");
  {
    using ingest = store.ingest({ name: "layer-1", digest });
    ingest.append(bytesOf("hello "));
    ingest.keep();
  }
  using ingest = store.ingest({ name: "layer-1", digest });
  expect(ingest.sizeBytes).toBe(6);
  ingest.append(bytesOf("world"));
  await ingest.commit();
  expect(store.sizeOf(digest)).toBe(11);
});

test("what a killed process left arriving is gone after the next open, blobs stay", async () => {
  const root = folder();
  const { digest } = await openContentStore(root).write(streamOf("hello"));
  writeFileSync(join(root, "ingest", "left"), "half");
  expect(openContentStore(root).list()).toEqual([{ digest, sizeBytes: 5 }]);
  expect(readdirSync(join(root, "ingest"))).toEqual([]);
});

test("removing twice is no error", async () => {
  const store = openContentStore(folder());
  const { digest } = await store.write(streamOf("hello"));
  store.remove(digest);
  store.remove(digest);
  expect(store.sizeOf(digest)).toBeNull();
  expect(() => store.readDocument(digest, 10)).toThrow("not found");
});

test("a full disk is said in the words people search for, and leaves no ingest", async () => {
  const mountPoint = folder();
  Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=256k", "naru-test", mountPoint]);
  try {
    const store = openContentStore(mountPoint);
    const big = "x".repeat(400 * 1024);
    expect(await failureOf(store.write(streamOf(big)))).toContain("no space left on device");
    expect(readdirSync(join(mountPoint, "ingest"))).toEqual([]);
    await store.write(streamOf("small"));
  } finally {
    Bun.spawnSync(["umount", mountPoint]);
  }
});
