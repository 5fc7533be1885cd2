/** What every form of the layer store must do. Run by layer-store.test.ts for each. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { EngineError, readAll } from "#base";
import { createDetachedOverlay, MNT_DETACH, moveMount, readMountInfo, unmount } from "#linux/mount";
import { FileDescriptor } from "#linux/path";
import { getXattr, setXattr } from "#linux/xattr";
import { digestOf } from "#oci";

import type { TarEntrySource } from "#wire/tar";

import { openLayerStore, type LayerStore } from "./index.ts";
import { failureOf, gnuTar, makeTree, streamOf, tarOf } from "./layer-fixtures.ts";
import { listTree } from "./tree-listing.ts";

/** By a program: no library here compresses so. */
const packed = (program: string, bytes: Uint8Array): Buffer =>
  Buffer.from(Bun.spawnSync([program, "-c"], { stdin: new Uint8Array(bytes) }).stdout);

export function describeLayerStore(form: "file" | "directory"): void {
  describe(`layer store, form "${form}"`, () => {
    let home = "";
    let store: LayerStore;
    const open = () => openLayerStore({ root: `${home}/layers`, mountRoot: `${home}/run`, form });
    const all = (stream: ReadableStream<Uint8Array>) =>
      readAll(stream, { limitBytes: 1 << 30, tooLarge: () => new Error("too large") });
    const leftovers = () => [
      ...readdirSync(`${home}/layers/ingest`),
      ...readdirSync(`${home}/layers`).filter((name) => !/^ingest$|\.(layer|tree)$/.test(name)),
    ];
    /** Trees and files that are not wanted any more go in the background. */
    const nothingIsLeft = async () => {
      const end = performance.now() + 20_000;
      while (leftovers().length > 0 && performance.now() < end) await Bun.sleep(5);
      expect(leftovers()).toEqual([]);
    };
    /** Writes a tar and shows it. */
    const shown = async (tar: Uint8Array) =>
      store.mount((await store.write({ source: streamOf(tar) })).diffId);
    const refused = async (entries: [TarEntrySource, (Uint8Array | string)?][]) =>
      (await failureOf(store.write({ source: streamOf(await tarOf(entries)) }))).message;

    beforeAll(() => {
      home = mkdtempSync("/tmp/naru-test-layer-");
      store = open();
    });
    afterAll(async () => {
      for (const { diffId } of store.list()) store.remove(diffId);
      await store.close();
      rmSync(home, { recursive: true, force: true });
    });

    test("a layer shows exactly the tree that tar extracts", async () => {
      const [source, extracted, file] = [`${home}/source`, `${home}/extracted`, `${home}/a.tar`];
      makeTree(source);
      mkdirSync(extracted);
      for (const options of [
        ["--format=gnu"],
        ["--format=pax"],
        ["--format=gnu", "--sparse"],
        ["--format=pax", "--sparse"],
        ["--format=pax", "--sparse", "--sparse-version=0.1"],
      ]) {
        gnuTar("-C", source, ...options, "-cf", file, ".");
        rmSync(extracted, { recursive: true });
        mkdirSync(extracted);
        gnuTar("-C", extracted, "-xpf", file);
        const { diffId, ...info } = await store.write({ source: { path: file } });
        const tar = readFileSync(file);
        expect(diffId).toBe(digestOf(tar));
        expect(info.tarSizeBytes).toBe(tar.length);
        expect(info.arrived).toEqual({ digest: diffId, sizeBytes: tar.length });
        expect(listTree(store.mount(diffId))).toEqual(listTree(extracted));
        expect(digestOf(await all(store.tar(diffId)))).toBe(diffId);
        store.remove(diffId);
      }
    });

    test("whatever they are packed with, and in however many parts, bytes arrive as the same layer", async () => {
      const tar = await tarOf([[{ name: "file" }, "x".repeat(100_000)]]);
      const [a, b] = [tar.subarray(0, 5000), tar.subarray(5000)];
      const forms = [
        tar,
        gzipSync(tar),
        Buffer.concat([gzipSync(a), gzipSync(b)]),
        zstdCompressSync(tar),
        Buffer.concat([zstdCompressSync(a), zstdCompressSync(b)]),
        ...["bzip2", "xz"].flatMap((program) => [
          packed(program, tar),
          Buffer.concat([packed(program, a), packed(program, b)]),
        ]),
      ];
      for (const bytes of forms) {
        for (const piece of [bytes.length, 3]) {
          const progress: number[] = [];
          const written = await store.write({
            source: streamOf(bytes, piece),
            descriptor: { digest: digestOf(bytes), size: bytes.length },
            diffId: digestOf(tar),
            onProgress: (doneBytes) => progress.push(doneBytes),
          });
          expect(written).toMatchObject({
            diffId: digestOf(tar),
            contentSizeBytes: 100_000,
            entries: 1,
            arrived: { digest: digestOf(bytes), sizeBytes: bytes.length },
          });
        }
      }
      await nothingIsLeft();
    });

    test("a part of a file is a source", async () => {
      const tar = await tarOf([[{ name: "inner" }, "inner"]]);
      const file = `${home}/outer`;
      writeFileSync(file, Buffer.concat([Buffer.alloc(700), gzipSync(tar), Buffer.alloc(900, 1)]));
      const source = { path: file, offset: 700, sizeBytes: gzipSync(tar).length };
      expect((await store.write({ source })).diffId).toBe(digestOf(tar));
      const cut = await failureOf(
        store.write({ source: { path: file, offset: 700, sizeBytes: 9999 } }),
      );
      expect(cut.kind).toBe("invalid");
    });

    test("whiteouts hide and opaque directories cover, as overlayfs wants them", async () => {
      const lower = await shown(
        await tarOf([
          [{ name: "gone" }, "1"],
          [{ name: "dir/a" }, "1"],
          [{ name: "dir/b" }, "1"],
          [{ name: "opaque/old" }, "1"],
          [{ name: "replaced/old" }, "1"],
          [{ name: "kept" }, "1"],
        ]),
      );
      const upper = await shown(
        await tarOf([
          [{ name: ".wh.gone" }],
          [{ name: "dir/.wh.a" }],
          [{ name: "opaque/new" }, "2"],
          [{ name: "opaque/.wh..wh..opq" }],
          [{ name: ".wh.replaced" }],
          [{ name: "replaced/new" }, "2"],
          [{ name: ".wh..wh.plnk/1.2", type: "directory" }],
          [{ name: ".wh..wh.aufs" }],
        ]),
      );
      expect(lstatSync(`${upper}/gone`).isCharacterDevice()).toBe(true);
      expect(getXattr(`${upper}/opaque`, "trusted.overlay.opaque")).toEqual(Buffer.from("y"));
      const root = `${home}/merged`;
      mkdirSync(root);
      using overlay = new FileDescriptor(createDetachedOverlay({ lowers: [upper, lower] }));
      moveMount({ fromFd: overlay.fd, toPath: root });
      try {
        const names = readdirSync(root, { recursive: true }).map(String).sort();
        expect(names).toEqual([
          "dir",
          "dir/b",
          "kept",
          "opaque",
          "opaque/new",
          "replaced",
          "replaced/new",
        ]);
      } finally {
        unmount(root, MNT_DETACH);
      }
    });

    test("later entries win: files over directories, directories over files, attributes over attributes", async () => {
      const root = await shown(
        await tarOf([
          [{ name: "a/deep/file" }, "1"],
          [{ name: "a" }, "now a file"],
          [{ name: "b" }, "1"],
          [{ name: "b", type: "directory", mode: 0o700 }],
          [{ name: "b/c" }, "2"],
          [{ name: "b", type: "directory", mode: 0o711, uid: 5 }],
          [{ name: "d" }, "old"],
          [{ name: "d" }, "new"],
        ]),
      );
      expect(readFileSync(`${root}/a`, "utf8")).toBe("now a file");
      expect(readFileSync(`${root}/b/c`, "utf8")).toBe("2");
      expect(lstatSync(`${root}/b`)).toMatchObject({ mode: 0o40711, uid: 5 });
      expect(readFileSync(`${root}/d`, "utf8")).toBe("new");
    });

    test("names are cleaned, links on the way are followed inside, and nothing leaves", async () => {
      const root = await shown(
        await tarOf([
          [{ name: "/absolute" }, "1"],
          [{ name: "./x/../y/./z" }, "2"],
          [{ name: "link", type: "symlink", link: "../../../../usr/lib", mode: 0o600 }],
          [{ name: "link/through" }, "3"],
          [{ name: "out", type: "symlink", link: "/" }],
          [{ name: "out/etc/naru-test-evil" }, "4"],
        ]),
      );
      expect(readFileSync(`${root}/absolute`, "utf8")).toBe("1");
      expect(readFileSync(`${root}/y/z`, "utf8")).toBe("2");
      expect(readFileSync(`${root}/usr/lib/through`, "utf8")).toBe("3");
      expect(readFileSync(`${root}/etc/naru-test-evil`, "utf8")).toBe("4");
      expect(existsSync("/etc/naru-test-evil")).toBe(false);
      expect(lstatSync(`${root}/link`).mode & 0o7777).toBe(0o777);
    });

    test("what could not be extracted is refused with a sentence, and nothing is left", async () => {
      expect(await refused([[{ name: "../out" }, "x"]])).toContain(`"../out" is outside of "/"`);
      expect(
        await refused([[{ name: "a", type: "hardlink", link: "../../etc/passwd" }]]),
      ).toContain("invalid hardlink");
      expect(
        await refused([[{ name: "a", type: "hardlink", link: "later" }], [{ name: "later" }, "x"]]),
      ).toContain("link /later /a: no such file or directory");
      expect(
        await refused([[{ name: "d/x" }], [{ name: "a", type: "hardlink", link: "d" }]]),
      ).toContain("operation not permitted");
      expect(await refused([[{ name: "f" }], [{ name: "f/below" }, "x"]])).toContain(
        "not a directory",
      );
      expect(
        await refused([
          [{ name: "l1", type: "symlink", link: "l2" }],
          [{ name: "l2", type: "symlink", link: "l1" }],
          [{ name: "l1/x" }, "x"],
        ]),
      ).toContain("too many levels");
      expect(await refused([[{ name: "n".repeat(256) }]])).toContain("file name too long");
      expect(await refused([[{ name: "s", type: "symlink", link: "" }]])).toContain("no such file");
      expect(await refused([[{ name: "s", type: "symlink", link: "l".repeat(4096) }]])).toContain(
        "too long",
      );
      expect(await refused([[{ name: ".wh." }]])).toContain("invalid whiteout");
      expect(await refused([[{ name: ".wh..." }]])).toContain("invalid whiteout");
      expect(
        await refused([[{ name: "dev", type: "character", devMajor: 0x1000, devMinor: 1 }]]),
      ).toContain("invalid device number");
      await nothingIsLeft();
    });

    test("overlayfs's own attributes never come from an image", async () => {
      const xattrs = new Map([
        ["trusted.overlay.redirect", Buffer.from("/etc")],
        ["trusted.overlay.opaque", Buffer.from("y")],
        ["user.overlay.opaque", Buffer.from("y")],
        ["user.kept", Buffer.from("v")],
        ["trusted.kept", Buffer.from([0, 255])],
        ["security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex")],
      ]);
      const root = await shown(
        await tarOf([[{ name: "d", type: "directory", xattrs }], [{ name: "f", xattrs }, "x"]]),
      );
      expect(getXattr(`${root}/d`, "trusted.overlay.redirect")).toBeNull();
      expect(getXattr(`${root}/d`, "trusted.overlay.opaque")).toBeNull();
      expect(getXattr(`${root}/d`, "user.overlay.opaque")).toBeNull();
      expect(getXattr(`${root}/f`, "user.kept")).toEqual(Buffer.from("v"));
      expect(getXattr(`${root}/f`, "trusted.kept")).toEqual(Buffer.from([0, 255]));
      expect(getXattr(`${root}/f`, "security.capability")?.length).toBe(20);
    });

    test("access control lists are in force", async () => {
      const acl = Buffer.from(
        "02000000" +
          "01000600ffffffff" +
          "0200040039300000" +
          "04000000ffffffff" +
          "10000400ffffffff" +
          "20000000ffffffff",
        "hex",
      );
      const xattrs = new Map([["system.posix_acl_access", acl]]);
      const root = await shown(await tarOf([[{ name: "f", mode: 0o640, xattrs }, "secret"]]));
      spawnSync("chmod", ["755", home, `${home}/run`, `${home}/layers`]);
      const read = (uid: number) => spawnSync("cat", [`${root}/f`], { uid, gid: uid }).status;
      expect([read(12345), read(12346)]).toEqual([0, 1]);
      expect(getXattr(`${root}/f`, "system.posix_acl_access")).toEqual(acl);
      expect(
        await refused([
          [{ name: "f", xattrs: new Map([["system.posix_acl_access", Buffer.from("xx")]]) }],
        ]),
      ).toContain("malformed");
    });

    test("wrong digests and sizes, cut and foreign streams are refused, and nothing is left", async () => {
      const tar = await tarOf([[{ name: "unique-for-this-test" }, "x".repeat(50_000)]]);
      const zip = gzipSync(tar);
      const zst = zstdCompressSync(Buffer.concat([tar, Buffer.alloc(600_000)]));
      const wrong = digestOf("other");
      const write = (bytes: Uint8Array, more: object = {}) =>
        failureOf(store.write({ source: streamOf(bytes), ...more }));
      const outcomes = [
        await write(zip, { descriptor: { digest: wrong, size: zip.length } }),
        await write(tar, { descriptor: { digest: wrong, size: tar.length } }),
        await write(zip, { descriptor: { digest: digestOf(zip), size: zip.length - 1 } }),
        await write(zip, { descriptor: { digest: digestOf(zip), size: zip.length + 1 } }),
        await write(zip, { diffId: wrong }),
        await write(zip.subarray(0, zip.length - 20)),
        await write(zst.subarray(0, zst.length - 3)),
        await write(tar.subarray(0, 20_000)),
        await write(Buffer.concat([zip, Buffer.from("trailing junk")])),
        await write(Buffer.from("this is no archive at all ".repeat(100))),
        await write(Buffer.from("BZh9 and so on")),
        await write(packed("bzip2", tar).subarray(0, 90)),
        await write(packed("xz", tar).subarray(0, 90)),
        await write(packed("xz", tar).fill(1, 40, 60)),
      ];
      expect(outcomes.map(({ kind, message }) => [kind, message !== ""])).toEqual(
        outcomes.map(() => ["invalid", true]),
      );
      expect(store.has(digestOf(tar))).toBe(false);
      await nothingIsLeft();
    });

    test("a failing source fails the write with its reason; an abort ends it with the signal's", async () => {
      const head = (await tarOf([[{ name: "big" }, Buffer.alloc(3 << 20, 7)]])).subarray(
        0,
        2 << 20,
      );
      let pulled = 0;
      const broken = new ReadableStream<Uint8Array>({
        pull(controller) {
          if ((pulled += 1) > 1) throw new Error("connection reset");
          controller.enqueue(head);
        },
      });
      expect((await failureOf(store.write({ source: broken }))).message).toContain(
        "connection reset",
      );
      const damaged = new ReadableStream<Uint8Array>({
        pull: () => Promise.reject(new EngineError("invalid", "the archive is damaged")),
      });
      expect(await failureOf(store.write({ source: damaged }))).toMatchObject({
        kind: "invalid",
        message: "the archive is damaged",
      });

      const stop = new AbortController();
      let cancelled = false;
      const endless = new ReadableStream<Uint8Array>({
        pull(controller) {
          controller.enqueue(new Uint8Array(head));
          if ((pulled += 1) > 3) return new Promise(() => stop.abort(new Error("enough")));
        },
        cancel: () => {
          cancelled = true;
        },
      });
      const writing = failureOf(store.write({ source: endless, signal: stop.signal }));
      expect((await writing).message).toBe("enough");
      expect(cancelled).toBe(true);
      expect(
        (await failureOf(store.write({ source: streamOf(head), signal: stop.signal }))).message,
      ).toBe("enough");
      await nothingIsLeft();
    });

    test("writes whose sources send nothing keep no other waiting", async () => {
      const stop = new AbortController();
      const silent = Array.from({ length: 20 }, () =>
        failureOf(store.write({ source: new ReadableStream(), signal: stop.signal })),
      );
      const tar = await tarOf([[{ name: "beside the silent" }, "x"]]);
      await store.write({ source: streamOf(tar) });
      expect(store.has(digestOf(tar))).toBe(true);
      stop.abort(new Error("enough"));
      expect((await Promise.all(silent)).map(({ message }) => message)).toEqual(
        silent.map(() => "enough"),
      );
      await nothingIsLeft();
    });

    test("the same layer written many times at once is there once", async () => {
      const tar = await tarOf([[{ name: "concurrent" }, "x".repeat(300_000)]]);
      const written = await Promise.all(
        Array.from({ length: 6 }, () => store.write({ source: streamOf(tar) })),
      );
      expect(new Set(written.map(({ diffId }) => diffId)).size).toBe(1);
      expect(store.list().filter(({ diffId }) => diffId === digestOf(tar)).length).toBe(1);
      expect(listTree(store.mount(digestOf(tar))).length).toBe(1);
      await nothingIsLeft();
    });

    test("a new store finds layers and mounts of the old one, and clears what was arriving", async () => {
      const { diffId } = await store.write({
        source: streamOf(await tarOf([[{ name: "survivor" }, "x"]])),
      });
      const path = store.mount(diffId);
      await store.close();
      writeFileSync(`${home}/layers/ingest/half`, "half");
      const before = store.list();
      store = open();
      expect(store.list()).toEqual(expect.arrayContaining(before));
      expect(existsSync(`${home}/layers/ingest/half`)).toBe(false);
      expect(store.mount(diffId)).toBe(path);
      expect(readMountInfo().filter(({ target }) => target === path).length).toBe(
        form === "file" ? 1 : 0,
      );
      expect(readFileSync(`${path}/survivor`, "utf8")).toBe("x");
    });

    for (const [how, damage] of [
      ["overwritten", (fd: number) => writeSync(fd, "????", 2048)],
      ["cut off", (fd: number) => ftruncateSync(fd, fstatSync(fd).size - 512)],
    ] as const) {
      test(`a layer whose file is ${how} is no layer, and is replaced by the next write`, async () => {
        const tar = await tarOf([[{ name: "damaged" }, "x"]]);
        const { diffId } = await store.write({ source: streamOf(tar) });
        await store.close();
        const file = `${home}/layers/${diffId.slice(7)}.layer`;
        const fd = openSync(file, "r+");
        damage(fd);
        closeSync(fd);
        store = open();
        expect(store.has(diffId)).toBe(false);
        await store.write({ source: streamOf(tar) });
        expect(readFileSync(`${store.mount(diffId)}/damaged`, "utf8")).toBe("x");
      });
    }

    test("removing takes mount, directory and file away, twice without an error", async () => {
      const { diffId } = await store.write({
        source: streamOf(await tarOf([[{ name: "doomed" }, "x"]])),
      });
      const path = store.mount(diffId);
      store.remove(diffId);
      store.remove(diffId);
      expect(existsSync(path)).toBe(false);
      expect(store.has(diffId)).toBe(false);
      expect(store.info(diffId)).toBeNull();
      expect(existsSync(`${home}/layers/${diffId.slice(7)}.layer`)).toBe(false);
      expect(() => store.mount(diffId)).toThrow("does not exist");
      expect(() => store.tar(diffId)).toThrow("does not exist");
    });

    test("an overlay's upper directory becomes a layer that gives the same view", async () => {
      const base = await shown(
        await tarOf([
          [{ name: "dir/old" }, "1"],
          [{ name: "cover/old" }, "1"],
          [{ name: "gone" }, "1"],
          [{ name: "same" }, "1"],
        ]),
      );
      const [root, upper, work] = [`${home}/view`, `${home}/upper`, `${home}/work`];
      for (const path of [root, upper, work]) mkdirSync(path);
      const attached = (lowers: string[], top: object) => {
        using overlay = new FileDescriptor(createDetachedOverlay({ lowers, ...top }));
        moveMount({ fromFd: overlay.fd, toPath: root });
      };
      attached([base], { upper, work });
      rmSync(`${root}/gone`);
      rmSync(`${root}/dir/old`);
      rmSync(`${root}/cover`, { recursive: true });
      mkdirSync(`${root}/cover`);
      makeTree(`${root}/made`);
      setXattr(`${root}/dir`, "user.naru", Buffer.from([0, 1]));
      const seen = listTree(root);
      unmount(root);
      const info = await store.writeUpper({ upper });
      const again = await store.writeUpper({ upper });
      expect(again).toEqual(info);
      attached([store.mount(info.diffId), base], { readOnly: true });
      const seenAgain = listTree(root);
      unmount(root, MNT_DETACH);
      // Docker cuts times to seconds; sockets have no place in a tar.
      const comparable = (lines: string[]) =>
        lines.map((line) => line.replace(/(-?\d+)\.\d+ /, "$1 "));
      expect(comparable(seenAgain)).toEqual(comparable(seen));
      expect(digestOf(await all(store.tar(info.diffId)))).toBe(info.diffId);
    });

    test("a file over 4 GiB with data at both ends is read right", async () => {
      const file = `${home}/huge`;
      const fd = openSync(file, "w");
      writeSync(fd, "start", 0);
      writeSync(fd, "end", 5 * 2 ** 30 + 123);
      ftruncateSync(fd, 5 * 2 ** 30 + 9000);
      closeSync(fd);
      gnuTar("-C", home, "--sparse", "--format=pax", "-cf", `${home}/huge.tar`, "huge");
      const { diffId, contentSizeBytes } = await store.write({
        source: { path: `${home}/huge.tar` },
      });
      expect(contentSizeBytes).toBe(5 * 2 ** 30 + 9000);
      const shownFile = `${store.mount(diffId)}/huge`;
      expect(lstatSync(shownFile).size).toBe(5 * 2 ** 30 + 9000);
      const bytes = Buffer.alloc(8);
      const read = openSync(shownFile, "r");
      const at = (position: number) => {
        bytes.fill(1);
        readSync(read, bytes, 0, 5, position);
        return bytes.subarray(0, 5).toString("latin1");
      };
      expect([at(0), at(2 ** 32), at(5 * 2 ** 30 + 123)]).toEqual([
        "start",
        "\0\0\0\0\0",
        "end\0\0",
      ]);
      closeSync(read);
    });
  });
}
