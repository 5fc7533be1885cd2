import { expect, test } from "bun:test";

import * as fc from "fast-check";

import { EngineError } from "#base";

import { isZip, zipEntries } from "./zip.ts";

/** Made by Python's zipfile: a directory, `a.txt` deflated, `s` stored. */
const ARCHIVE = Buffer.from(
  "UEsDBBQAAAAIACcDd10AAAAAAgAAAAAAAAAEAAAAZGlyLwMAUEsDBBQAAAAIACcDd13jUT2NCgAAABcAAAAFAAAAYS50eHTLSM3JyVfIQCcBUEsDBBQAAAAAAAAAIQAL+UNWBgAAAAYAAAABAAAAc3N0b3JlZFBLAQIUAxQAAAAIACcDd10AAAAAAgAAAAAAAAAEAAAAAAAAAAAAEAD9QQAAAABkaXIvUEsBAhQDFAAAAAgAJwN3XeNRPY0KAAAAFwAAAAUAAAAAAAAAAAAAAIABJAAAAGEudHh0UEsBAhQDFAAAAAAAAAAhAAv5Q1YGAAAABgAAAAEAAAAAAAAAAAAAAIABUQAAAHNQSwUGAAAAAAMAAwCUAAAAdgAAAAAA",
  "base64",
);
const tooLarge = () => new EngineError("invalid", "too large");

test("stored and deflated files are read, directories are left out", () => {
  expect(isZip(ARCHIVE)).toBe(true);
  const found = zipEntries(ARCHIVE).map(({ name, bytes }) => [
    name,
    bytes(100, tooLarge).toString(),
  ]);
  expect(found).toEqual([
    ["a.txt", "hello hello hello hello"],
    ["s", "stored"],
  ]);
});

test("a file larger than the limit is refused, however small it is packed", () => {
  const [file] = zipEntries(ARCHIVE);
  expect(() => file?.bytes(10, tooLarge)).toThrow("too large");
});

test("whatever is wrong with an archive is told as such", () => {
  const damaged = fc.array(fc.tuple(fc.nat(ARCHIVE.length - 1), fc.nat(255)), { maxLength: 4 });
  fc.assert(
    fc.property(fc.nat(ARCHIVE.length), damaged, (length, changes) => {
      const archive = Buffer.from(ARCHIVE);
      for (const [at, value] of changes) archive[at] = value;
      try {
        for (const { bytes } of zipEntries(archive.subarray(0, length))) bytes(1000, tooLarge);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(EngineError);
      }
    }),
    { numRuns: 500 },
  );
});
