import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { ContentWriter } from "./content-writer.ts";

const text = (value: string) => new TextEncoder().encode(value);

function withFolder(work: (path: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "naru-test-content-"));
  try {
    work(join(folder, "data"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("files that arrive at once lie behind each other, whole", () => {
  withFolder((path) => {
    using writer = new ContentWriter(path, 1000);
    writer.push(1, 6, text("abc"));
    writer.push(2, 4, text("12"));
    writer.push(1, 6, text("def"));
    // One grew while it was sent, one shrank, one is empty.
    writer.push(2, 4, text("345678"));
    writer.push(3, 9, text("x"));
    const ended = [1, 2, 3, 4].map((index) => writer.finish(index));
    const data = readFileSync(path, "utf8");
    const read = ended.map(({ offset, sizeBytes }) => data.slice(offset, offset + sizeBytes));
    expect(read).toEqual(["abcdef", "12345678", "x", ""]);
    const digests = read.map((one) => new Bun.CryptoHasher("sha256").update(one).digest("hex"));
    expect(ended.map(({ digest }) => digest)).toEqual(digests);
  });
});

test("limits hold, whatever a file is said to be", () => {
  withFolder((path) => {
    using writer = new ContentWriter(path, 100);
    expect(() => writer.push(1, 101, text("x"))).toThrow("too large");
    writer.push(2, 1, text("x"));
    expect(() => writer.push(2, 1, new Uint8Array(100))).toThrow("too large");
    for (let index = 3; index < 66; index += 1) writer.push(index, 0, text("y"));
    expect(() => writer.push(66, 0, text("y"))).toThrow("too many files");
  });
});

test("what was there stays where it was", () => {
  withFolder((path) => {
    using first = new ContentWriter(path, 100);
    first.push(0, 3, text("old"));
    first.finish(0);
    using second = new ContentWriter(path, 100);
    second.push(0, 3, text("new"));
    expect(second.finish(0).offset).toBe(3);
    expect(readFileSync(path, "utf8")).toBe("oldnew");
  });
});
