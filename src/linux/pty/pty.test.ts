import { expect, test } from "bun:test";
import { closeSync, readSync, writeSync } from "node:fs";

import { openPty, openPtyPeer, readWindowSize, setWindowSize } from "./index.ts";

test("what is written to one end of a pty comes out of the other", () => {
  const { master, slave } = openPty({ columns: 80, rows: 24 });
  writeSync(slave, "ferry\n");
  const buffer = Buffer.alloc(64);
  expect(buffer.toString("utf8", 0, readSync(master, buffer))).toBe("ferry\r\n");
  closeSync(slave);
  closeSync(master);
});

test("both ends agree on the size, and a size too large is clamped instead of wrapped", () => {
  const { master, slave } = openPty({ columns: 132, rows: 43 });
  expect(readWindowSize(slave)).toEqual({ columns: 132, rows: 43 });
  setWindowSize(master, { columns: 70_000, rows: 5 });
  expect(readWindowSize(slave)).toEqual({ columns: 65_535, rows: 5 });
  const again = openPtyPeer(master);
  expect(readWindowSize(again)).toEqual({ columns: 65_535, rows: 5 });
  for (const end of [again, slave, master]) closeSync(end);
});

test("a file is no terminal", () => {
  expect(() => readWindowSize(-1)).toThrow("bad file descriptor");
});
