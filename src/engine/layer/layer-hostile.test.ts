import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createGzip, gzipSync } from "node:zlib";

import * as fc from "fast-check";

import { mount } from "#linux/mount";
import { encodeTarHeader, TAR_TRAILER, tarStream } from "#wire/tar";

import { openLayerStore, type LayerStore } from "./index.ts";
import { failureOf, makeTree, gnuTar, streamOf, tarOf } from "./layer-fixtures.ts";
import { listTree } from "./tree-listing.ts";

let home = "";
let files: LayerStore;
let directories: LayerStore;

beforeAll(() => {
  home = mkdtempSync("/tmp/naru-test-hostile-");
  files = openLayerStore({ root: `${home}/f`, mountRoot: `${home}/run`, form: "file" });
  directories = openLayerStore({ root: `${home}/d`, mountRoot: `${home}/run`, form: "directory" });
});
afterAll(async () => {
  for (const store of [files, directories]) {
    for (const { diffId } of store.list()) store.remove(diffId);
    await store.close();
  }
  rmSync(home, { recursive: true, force: true });
});

const rawName = (max: number) =>
  fc
    .uint8Array({ minLength: 1, maxLength: max })
    .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 47 ? 65 : byte)))
    .filter((bytes) => !/^\.+$/.test(Buffer.from(bytes).toString("latin1")))
    .filter((bytes) => !Buffer.from(bytes).toString("latin1").startsWith(".wh."));
const size = fc.oneof(fc.nat(1100), fc.constantFrom(0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000));
const owner = {
  uid: fc.nat(0xffff_fffe),
  gid: fc.nat(0xffff_fffe),
  mtimeSec: fc.integer({ min: 0, max: 2 ** 33 }),
};
const xattrs = fc
  .dictionary(
    fc.constantFrom("user.a", "trusted.b", "security.naru"),
    fc.uint8Array({ maxLength: 700 }),
  )
  .map((values) => new Map(Object.entries(values)));
const anyEntry = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant("file" as const),
      size,
      mode: fc.nat(0o7777),
      xattrs,
      ...owner,
    }),
  },
  fc.record({
    type: fc.constant("directory" as const),
    size: fc.constant(0),
    mode: fc.nat(0o7777),
    xattrs,
    ...owner,
  }),
  fc.record({
    type: fc.constant("symlink" as const),
    size: fc.constant(0),
    link: rawName(4000),
    ...owner,
  }),
  fc.record({
    type: fc.constant("fifo" as const),
    size: fc.constant(0),
    mode: fc.nat(0o777),
    ...owner,
  }),
);

test("any tree looks the same mounted by the kernel and extracted to a directory", async () => {
  const named = fc.tuple(fc.array(rawName(60), { maxLength: 3 }), rawName(255), anyEntry);
  await fc.assert(
    fc.asyncProperty(fc.array(named, { maxLength: 60 }), fc.boolean(), async (entries, zipped) => {
      const directoriesOf = new Map<string, Uint8Array>();
      const tar = await tarOf(
        entries.map(([parents, name, { size, ...entry }]) => {
          // One of a few directories of its own kind, so that files never stand where directories must.
          const top = Buffer.from(parents.map(() => "d").join("/") || "d");
          directoriesOf.set(top.toString(), top);
          const path = Buffer.concat([top, Buffer.from("/x"), Buffer.from(name).subarray(0, 254)]);
          return [{ ...entry, name: path }, Buffer.alloc(entry.type === "file" ? size : 0, name)];
        }),
      );
      const bytes = zipped ? gzipSync(tar) : tar;
      const [a, b] = await Promise.all(
        [files, directories].map((store) => store.write({ source: streamOf(bytes) })),
      );
      expect(a).toEqual(b);
      if (!a) return;
      try {
        expect(listTree(files.mount(a.diffId))).toEqual(listTree(directories.mount(a.diffId)));
      } finally {
        files.remove(a.diffId);
        directories.remove(a.diffId);
      }
    }),
    { numRuns: 40 },
  );
}, 60_000);

test("a damaged archive is refused, or is a tree the kernel can read to its end", async () => {
  makeTree(`${home}/tree`);
  gnuTar("-C", `${home}/tree`, "--sparse", "--format=pax", "-cf", `${home}/t.tar`, ".");
  const good = readFileSync(`${home}/t.tar`).subarray(0, 200_000);
  // Headers are what matters: damage goes to places where one starts.
  const starts = Array.from({ length: good.length / 512 }, (_, block) => block * 512).filter(
    (at) => good.toString("latin1", at + 257, at + 262) === "ustar",
  );
  const fixed = (bytes: Buffer, at: number) => {
    bytes.fill(0x20, at + 148, at + 156);
    let sum = 0;
    for (const byte of bytes.subarray(at, at + 512)) sum += byte;
    bytes.write(`${sum.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
  };
  const change = fc.tuple(fc.constantFrom(...starts), fc.nat(511), fc.nat(255));
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(good);
      for (const [start, at, value] of changes) {
        bytes[start + at] = value;
        fixed(bytes, start);
      }
      const write = files.write({ source: streamOf(Buffer.concat([bytes, TAR_TRAILER])) });
      const failure = await write.then(
        ({ diffId }) => {
          try {
            listTree(files.mount(diffId));
          } finally {
            files.remove(diffId);
          }
          return null;
        },
        (error: { kind?: string }) => error,
      );
      if (failure) expect(failure.kind).toBe("invalid");
    }),
    { numRuns: 120 },
  );
}, 60_000);

test("100,000 entries in one directory and 20,000 directories are indexed and found", async () => {
  const many = tarStream(async (writer) => {
    for (let index = 0; index < 100_000; index += 1)
      await writer.add({ name: `many/file-${index}` });
    for (let index = 0; index < 20_000; index += 1)
      await writer.add({ name: `deep-${index % 100}/d${index}`, type: "directory" });
  });
  const { diffId, entries } = await files.write({ source: many });
  expect(entries).toBe(120_000);
  const root = files.mount(diffId);
  expect(readdirSync(`${root}/many`).length).toBe(100_000);
  expect(statSync(`${root}/many/file-77777`).isFile()).toBe(true);
  expect(statSync(`${root}/many`).nlink).toBe(2);
  expect(statSync(`${root}/deep-5`).nlink).toBe(202);
}, 30_000);

test("a gigabyte of zeros that arrives as a megabyte takes neither memory nor disk", async () => {
  const bytes = 2 ** 30;
  const gzip = createGzip();
  const chunks: Buffer[] = [];
  gzip.on("data", (chunk: Buffer) => chunks.push(chunk));
  gzip.write(encodeTarHeader({ name: "zeros", sizeBytes: bytes }));
  const zeros = Buffer.alloc(1 << 20);
  for (let written = 0; written < bytes; written += zeros.length) {
    await new Promise((resolve) => gzip.write(zeros, resolve));
  }
  const ended = new Promise((resolve) => gzip.on("end", resolve));
  gzip.end(TAR_TRAILER);
  await ended;
  const before = process.memoryUsage.rss();
  const { diffId } = await files.write({ source: streamOf(Buffer.concat(chunks), 65536) });
  expect(process.memoryUsage.rss() - before).toBeLessThan(150 * 2 ** 20);
  expect(statSync(`${home}/f/${diffId.slice(7)}.layer`).blocks * 512).toBeLessThan(2 ** 21);
  expect(statSync(`${files.mount(diffId)}/zeros`).size).toBe(bytes);
}, 30_000);

test("a full disk is an error with the kernel's words; nothing is left and the next write works", async () => {
  const target = `${home}/small`;
  mkdirSync(target);
  const disk = mount({ target, type: "tmpfs", data: "size=8m" });
  const store = openLayerStore({
    root: `${target}/layers`,
    mountRoot: `${home}/run`,
    form: "file",
  });
  try {
    const large = await tarOf([[{ name: "large" }, Buffer.alloc(20 << 20, 7)]]);
    const { kind, message } = await failureOf(store.write({ source: streamOf(large, 1 << 20) }));
    expect([kind, message]).toEqual(["internal", "write layer: no space left on device"]);
    expect(readdirSync(`${target}/layers/ingest`)).toEqual([]);
    const small = await tarOf([[{ name: "small" }, "fits"]]);
    expect((await store.write({ source: streamOf(small) })).entries).toBe(1);
  } finally {
    await store.close();
    disk[Symbol.dispose]();
  }
});
