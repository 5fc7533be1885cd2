import { describe, expect, test } from "bun:test";

import { readCacheOptions, readCompression } from "./cache-options.ts";

const PLAIN = { mode: "min", ignoreError: false, compression: null } as const;
const ARTIFACT = { isIndex: false, isOci: true };

describe("a cache's options", () => {
  test.each([
    [{}, { ...PLAIN, form: ARTIFACT }],
    [
      { mode: "max", "ignore-error": "1" },
      { ...PLAIN, mode: "max", ignoreError: true, form: ARTIFACT },
    ],
    [{ "image-manifest": "false" }, { ...PLAIN, form: { isIndex: true, isOci: true } }],
    // Docker's media types have no manifest for it: then it is an index, unless that is refused.
    [{ "oci-mediatypes": "false" }, { ...PLAIN, form: { isIndex: true, isOci: false } }],
    [
      { compression: "zstd", "compression-level": "7" },
      { ...PLAIN, compression: { type: "zstd", level: 7, isForced: false }, form: ARTIFACT },
    ],
  ])("%p", (attributes, expected) => {
    expect(readCacheOptions(attributes as Record<string, string>)).toEqual(expected as never);
  });

  test.each([
    [{ mode: "some" }, 'invalid cache mode "some"'],
    [{ "ignore-error": "perhaps" }, "failed to parse ignore-error"],
    [{ "oci-mediatypes": "0", "image-manifest": "1" }, "OCI mediatypes are required"],
    [{ "oci-mediatypes": "0", compression: "zstd" }, "unsupported layer compression type: zstd"],
  ])("%p is refused", (attributes, sentence) => {
    expect(() => readCacheOptions(attributes as Record<string, string>)).toThrow(sentence);
  });
});

test("a compression is what there is a writer for, at a level that it has", () => {
  expect(readCompression({})).toBeNull();
  expect(readCompression({ "force-compression": "true" })).toEqual({
    type: "gzip",
    level: null,
    isForced: true,
  });
  for (const type of ["estargz", "lz4"]) {
    expect(() => readCompression({ compression: type })).toThrow(
      `unsupported layer compression type: ${type}`,
    );
  }
  for (const level of ["-1", "fast", "10", "1e1"]) {
    const attributes = { compression: "gzip", "compression-level": level };
    expect(() => readCompression(attributes)).toThrow("compression-level");
  }
});
