import { expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { KeptContexts, type OfferedEntry } from "./kept-contexts.ts";

const KEY = "0123456789abcdef".repeat(4);

function entry(path: string, stamp: string, sizeBytes: number): OfferedEntry {
  const nothing = { mode: 0o644, mtimeSec: 0, link: "", devMajor: 0, devMinor: 0 };
  return { ...nothing, type: "file", path, stamp, sizeBytes };
}

function archiveOf(files: Record<string, string>): ReadableStream<Uint8Array> {
  const parts = Object.entries(files).flatMap(([name, text]) => {
    const bytes = Buffer.from(text);
    return [encodeTarHeader({ name, sizeBytes: bytes.length }), bytes, tarPadding(bytes.length)];
  });
  return new Blob([...parts, TAR_TRAILER]).stream();
}

const never = new AbortController().signal;

test("only what has another stamp is needed; an empty file is no other file's content", async () => {
  const folder = mkdtempSync("/tmp/naru-test-kept-");
  try {
    const kept = new KeptContexts(folder);
    const entries = [entry("empty", "1", 0), entry("a", "1", 1), entry("b", "1", 1)];
    const first = kept.offer(KEY, entries);
    expect(first.needed).toEqual([0, 1, 2]);
    {
      using whole = await kept.receive(first.id, archiveOf({ empty: "", a: "A", b: "B" }), never);
      const digests = ["empty", "a", "b"].map((path) => {
        const node = whole.tree.at(path);
        return node === null ? "" : whole.tree.digestOf(path, node);
      });
      const sha = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
      expect(digests).toEqual([sha(""), sha("A"), sha("B")]);
    }
    // Another daemon, the same boot.
    const again = new KeptContexts(folder);
    const changed = [entry("empty", "1", 0), entry("a", "2", 1), entry("b", "1", 1)];
    const second = again.offer(KEY, changed);
    expect(second.needed).toEqual([1]);
    using whole = await again.receive(second.id, archiveOf({ a: "C" }), never);
    expect(readFileSync(whole.tree.path, "utf8")).toBe("ABC");
    // Whoever reads it keeps it from being thrown away.
    expect(again.list()).toMatchObject([{ key: KEY, sizeBytes: 3, uses: 2, isInUse: true }]);
    expect([again.remove(KEY), readdirSync(folder)]).toEqual([false, [KEY]]);
    whole[Symbol.dispose]();
    expect(again.list()).toMatchObject([{ key: KEY, sizeBytes: 3, uses: 2, isInUse: false }]);
    // An offer that counts on it has to be made again.
    const third = again.offer(KEY, [entry("a", "2", 1)]);
    expect(third.needed).toEqual([]);
    expect([again.remove(KEY), readdirSync(folder)]).toEqual([true, []]);
    const late: unknown = await again.receive(third.id, archiveOf({}), never).catch(String);
    expect(late).toContain("not known");
    expect(again.list()).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("an index that is broken or of another boot is not believed", async () => {
  const folder = mkdtempSync("/tmp/naru-test-kept-");
  try {
    const kept = new KeptContexts(folder);
    const { id } = kept.offer(KEY, [entry("a", "1", 1)]);
    (await kept.receive(id, archiveOf({ a: "A" }), never))[Symbol.dispose]();
    expect(kept.offer(KEY, [entry("a", "1", 1)]).needed).toEqual([]);
    const path = join(folder, KEY, "index");
    for (const text of [
      readFileSync(path, "utf8").replace(/^\["[^"]+"\]/, '["x"]'),
      "{",
      "null",
      "[]",
    ]) {
      writeFileSync(path, text);
      const next = new KeptContexts(folder);
      const offer = next.offer(KEY, [entry("a", "1", 1)]);
      expect(offer.needed).toEqual([0]);
      (await next.receive(offer.id, archiveOf({ a: "A" }), never))[Symbol.dispose]();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("an offer is good once, for what it asked for, and has limits", async () => {
  const folder = mkdtempSync("/tmp/naru-test-kept-");
  try {
    const kept = new KeptContexts(folder);
    expect(() => kept.offer(KEY, [entry("a", "1", 3 * 1024 ** 3)])).toThrow("too large");
    expect(() => kept.offer("../x", [])).toThrow("invalid key");
    const { id } = kept.offer(KEY, [entry("a", "1", 1)]);
    const said = async (files: Record<string, string>): Promise<unknown> =>
      kept.receive(id, archiveOf(files), never).catch((cause: unknown) => String(cause));
    expect(await said({ b: "B" })).toContain("not asked for");
    expect(await said({ a: "A" })).toContain("not known");
    kept.remove(KEY);
    for (let count = 0; count < 16; count += 1) kept.offer(KEY, []);
    expect(() => kept.offer(KEY, [])).toThrow("too many");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
