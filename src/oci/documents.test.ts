import { describe, expect, test } from "bun:test";

import { parseImageConfig, parseManifestDocument } from "./documents.ts";
import { MEDIA_TYPE } from "./media-types.ts";
import { chooseManifest, formatPlatform, parsePlatform } from "./platform.ts";

const digest = (digit: string): `sha256:${string}` => `sha256:${digit.repeat(64)}`;
const bytes = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

const manifest = {
  schemaVersion: 2,
  mediaType: MEDIA_TYPE.dockerManifest,
  config: { mediaType: MEDIA_TYPE.dockerConfig, digest: digest("a"), size: 10 },
  layers: [{ mediaType: MEDIA_TYPE.dockerLayerGzip, digest: digest("b"), size: 20 }],
};

describe("manifests", () => {
  test("are told apart by declared type, own type or members", () => {
    expect(parseManifestDocument(bytes(manifest), MEDIA_TYPE.dockerManifest).kind).toBe("manifest");
    expect(parseManifestDocument(bytes(manifest), "text/plain").kind).toBe("manifest");
    const { mediaType: _type, ...untyped } = manifest;
    expect(parseManifestDocument(bytes(untyped)).kind).toBe("manifest");
    expect(parseManifestDocument(bytes({ schemaVersion: 2, manifests: [] })).kind).toBe("index");
    expect(parseManifestDocument(bytes({ schemaVersion: 1, history: [] })).kind).toBe("schema1");
  });

  const refused: [string, unknown, string][] = [
    ["not JSON", "{", "not a JSON document"],
    ["an array", [], "not a JSON object"],
    ["an unknown version", { schemaVersion: 3 }, "unsupported schemaVersion 3"],
    ["both kinds at once", { ...manifest, manifests: [] }, "a manifest and an index at once"],
    ["a bad digest", { ...manifest, config: { ...manifest.config, digest: "sha256:x" } }, "digest"],
    ["sha512", { ...manifest, config: { ...manifest.config, digest: "sha512:ab" } }, "unsupported"],
    ["a negative size", { ...manifest, config: { ...manifest.config, size: -1 } }, "size"],
    ["a huge size", { ...manifest, config: { ...manifest.config, size: 1e300 } }, "size"],
    ["layers that are no list", { ...manifest, layers: {} }, "layers is not a list"],
    ["too many layers", { ...manifest, layers: Array(500).fill(manifest.config) }, "max depth"],
    ["deep nesting", `{"a":${"[".repeat(100)}${"]".repeat(100)}}`, "nested too deeply"],
    ["an unknown type", { schemaVersion: 2, mediaType: "application/x" }, "unsupported manifest"],
  ];
  test.each(refused)("refuse %s", (_name, value, sentence) => {
    expect(() => parseManifestDocument(bytes(value))).toThrow(sentence);
  });

  test("refuse a manifest that was declared an index", () => {
    expect(() => parseManifestDocument(bytes(manifest), MEDIA_TYPE.ociIndex)).toThrow(
      "mediaType in manifest should be",
    );
  });

  test("take Docker's manifest for what it is where the OCI's was declared, as crane's indexes do", () => {
    expect(parseManifestDocument(bytes(manifest), MEDIA_TYPE.ociManifest)).toMatchObject({
      kind: "manifest",
      mediaType: manifest.mediaType,
    });
  });
});

describe("image configs", () => {
  test("keep what they say and get an empty list of layers where there is none", () => {
    const config = parseImageConfig(bytes({ os: "linux", architecture: "amd64", rootfs: {} }));
    expect(config.rootfs.diff_ids).toEqual([]);
  });

  test("lose the nulls that Docker writes for what is not there", () => {
    const text = { rootfs: {}, history: null, config: { Cmd: null, User: "" } };
    const config = parseImageConfig(bytes(text));
    expect(config.history).toBeUndefined();
    expect(config.config).toEqual({ User: "" });
  });

  const refused: [string, unknown][] = [
    ["no rootfs", { os: "linux" }],
    ["a foreign rootfs", { rootfs: { type: "windows" } }],
    ["bad diff ids", { rootfs: { diff_ids: ["x"] } }],
    ["an Env that is no list of texts", { rootfs: {}, config: { Env: [1] } }],
    ["Labels that are no texts", { rootfs: {}, config: { Labels: { a: 1 } } }],
    ["a history of numbers", { rootfs: {}, history: [1] }],
  ];
  test.each(refused)("refuse %s", (_name, value) => {
    expect(() => parseImageConfig(bytes(value))).toThrow("invalid");
  });
});

describe("platforms", () => {
  const of = (text: string, digit: string) => ({
    mediaType: MEDIA_TYPE.ociManifest,
    digest: digest(digit),
    size: 1,
    platform: parsePlatform(text),
  });
  const all = [
    of("linux/386", "1"),
    of("linux/arm/v6", "2"),
    of("linux/arm/v7", "3"),
    of("linux/amd64", "4"),
    of("windows/amd64", "5"),
    of("linux/arm64/v8", "6"),
  ];
  const cases: [string, string | null][] = [
    ["linux/amd64", "4"],
    ["linux/x86_64", "4"],
    ["amd64", "4"],
    ["linux/arm64", "6"],
    ["linux/arm", "3"],
    ["linux/arm/v6", "2"],
    ["linux/arm/v5", null],
    ["linux/s390x", null],
    ["windows/amd64", "5"],
  ];
  test.each(cases)("%s", (text, digit) => {
    const chosen = chooseManifest(all, parsePlatform(text));
    expect(chosen?.digest ?? null).toBe(digit === null ? null : digest(digit));
  });

  test("an arm64 machine takes arm where there is nothing better, amd64 takes 386", () => {
    expect(chooseManifest(all.slice(0, 3), parsePlatform("arm64"))?.digest).toBe(digest("3"));
    expect(chooseManifest(all.slice(0, 3), parsePlatform("amd64"))?.digest).toBe(digest("1"));
  });

  test("are written as they are read, and nonsense is refused", () => {
    expect(formatPlatform(parsePlatform("LINUX/aarch64"))).toBe("linux/arm64");
    expect(() => parsePlatform("a/b/c/d")).toThrow("invalid");
    expect(() => parsePlatform("linux/a b")).toThrow("invalid");
  });
});
