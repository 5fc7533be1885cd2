import { expect, test } from "bun:test";

import { imageOptions } from "./exporting.ts";

test("an exporter's options are read in BuildKit's words", () => {
  const options = imageOptions("image", {
    name: "a",
    push: "true",
    compression: "zstd",
    "compression-level": "19",
    "force-compression": "true",
    "annotation.a": "1",
    "annotation-index.b": "2",
    "annotation-manifest[linux/arm64/v8].c.d": "3",
  });
  expect(options).toMatchObject({
    isPushed: true,
    isOci: true,
    isArchive: true,
    compression: { type: "zstd", level: 19, isForced: true },
    annotations: [
      { on: "manifest", platform: "", name: "a", value: "1" },
      { on: "index", platform: "", name: "b", value: "2" },
      { on: "manifest", platform: "linux/arm64", name: "c.d", value: "3" },
    ],
  });
  expect(() => imageOptions("image", { store: "true", unpack: "true" })).not.toThrow();
  expect(imageOptions("docker", {}).isOci).toBe(false);
  expect(imageOptions("oci", { tar: "false" }).isArchive).toBe(false);
});

test("what is not known, or cannot be, is refused", () => {
  const refused: Record<string, string>[] = [
    { unknown: "x" },
    { compression: "estargz" },
    { compression: "gzip", "compression-level": "12" },
    { "annotation-nothing.a": "b" },
    { "push-by-digest": "true" },
    // Known, but asking for what this engine does not do.
    { store: "false" },
    { "name-canonical": "true" },
    { "registry.insecure": "true" },
    { "dangling-name-prefix": "x" },
  ];
  for (const attributes of refused) expect(() => imageOptions("image", attributes)).toThrow();
  expect(() => imageOptions("docker", { compression: "zstd" })).toThrow("zstd");
});
