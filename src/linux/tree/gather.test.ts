import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";

import { Gather } from "./gather.ts";

const taken = (out: Gather): Uint8Array[] => {
  out.flush();
  const pieces: Uint8Array[] = [];
  for (let piece = out.take(); piece; piece = out.take()) pieces.push(piece);
  return pieces;
};

test("headers, zeros and files come out one behind the other, across the ends of pieces", () => {
  const folder = mkdtempSync("/tmp/naru-test-gather-");
  try {
    const bytes = crypto.getRandomValues(new Uint8Array(50_000));
    writeFileSync(`${folder}/file`, bytes);
    const fd = openSync(`${folder}/file`, "r");
    const out = new Gather();
    const expected: Uint8Array[] = [];
    for (let round = 0; round < 20; round += 1) {
      const header = crypto.getRandomValues(new Uint8Array(513 + round * 1000));
      out.add(header);
      out.read(fd, bytes.length);
      out.zeros(511);
      expected.push(header, bytes, new Uint8Array(511));
    }
    closeSync(fd);
    const pieces = taken(out);
    expect(pieces.length).toBeGreaterThan(5);
    expect(Buffer.concat(pieces).equals(Buffer.concat(expected))).toBe(true);
    expect(taken(out)).toEqual([]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a file that has become shorter is filled up with zeros", () => {
  const folder = mkdtempSync("/tmp/naru-test-gather-");
  try {
    writeFileSync(`${folder}/file`, "short");
    const fd = openSync(`${folder}/file`, "r");
    const out = new Gather();
    out.read(fd, 300_000);
    closeSync(fd);
    const all = Buffer.concat(taken(out));
    expect(all.length).toBe(300_000);
    expect(all.subarray(0, 6).toString("latin1")).toBe("short\0");
    expect(all.subarray(5).every((byte) => byte === 0)).toBe(true);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
