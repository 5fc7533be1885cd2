import { describe, expect, test } from "bun:test";

import {
  CACHE_CONFIG_TYPE,
  type Descriptor,
  digestOf,
  type ImageConfig,
  MEDIA_TYPE,
  parseManifestDocument,
} from "#oci";

import {
  decodeCache,
  encodeCache,
  inlineCacheIn,
  inlineMember,
  type SharedCache,
} from "./shared-cache.ts";

const key = (letter: string): string => letter.repeat(64);
const [lower, upper] = [digestOf("lower"), digestOf("upper")];
const cache: SharedCache = {
  steps: new Map([
    [key("a"), { layer: lower, createdMs: 1_700_000_000_123 }],
    [key("b"), { layer: null, createdMs: 0 }],
    // Known, and not in the document's layers.
    [key("c"), { layer: digestOf("elsewhere"), createdMs: 1 }],
  ]),
  inputs: new Map([[key("d"), key("e")]]),
};
const layer = (name: string): Descriptor => ({
  mediaType: MEDIA_TYPE.ociLayerGzip,
  digest: digestOf(name),
  size: 7,
});

function manifestIn(bytes: Uint8Array) {
  const document = parseManifestDocument(bytes);
  if (document.kind !== "manifest") throw new Error("no manifest");
  return document.manifest;
}

test("a cache is an OCI manifest with a config of BuildKit's type, and says what it was told", () => {
  const layers = [layer("lower.gz"), layer("upper.gz")];
  const { manifest: bytes, config } = encodeCache(cache, [lower, upper], layers);
  const manifest = manifestIn(bytes);
  expect(manifest.config).toMatchObject({ mediaType: CACHE_CONFIG_TYPE, digest: digestOf(config) });
  expect(manifest.layers).toEqual(layers);
  const decoded = decodeCache(manifest, config);
  expect(decoded.cache).toEqual(cache);
  expect([...decoded.blobs]).toEqual([
    [lower, layers[0]],
    [upper, layers[1]],
  ] as [typeof lower, Descriptor][]);
});

test("an image carries a cache in its config, and the image's layers are the cache's", () => {
  const image: ImageConfig = {
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: [lower] },
  };
  const config = new TextEncoder().encode(JSON.stringify({ ...image, ...inlineMember(cache) }));
  const { mediaType } = { mediaType: MEDIA_TYPE.dockerConfig };
  const manifest = {
    config: { mediaType, digest: digestOf(config), size: config.length },
    layers: [layer("lower.gz")],
  };
  const decoded = decodeCache(manifest, config);
  expect(decoded.cache).toEqual(cache);
  expect([...decoded.blobs.keys()]).toEqual([lower]);
  expect(inlineCacheIn({ ...image, ...inlineMember(cache) })).toEqual(cache);
  expect(inlineCacheIn(image)).toBeNull();
  const plain = new TextEncoder().encode(JSON.stringify(image));
  expect(() => decodeCache(manifest, plain)).toThrow("no inline cache");
});

describe("a document of a stranger", () => {
  const member = "dev.naru.build.cache.v1";
  const decode = (value: unknown, layers: unknown = []) => {
    const config = new TextEncoder().encode(JSON.stringify({ layers, [member]: value }));
    const about = { mediaType: CACHE_CONFIG_TYPE, digest: digestOf(config), size: config.length };
    return decodeCache({ config: about, layers: [layer("x")] }, config);
  };
  const good = { steps: [[key("a"), "", 0]], inputs: [] };
  const record = (...fields: unknown[]) => ({ ...good, steps: [fields] });
  test.each([
    ["no object", 7],
    ["no lists", {}],
    ["a list in a list that is none", { ...good, steps: [7] }],
    ["a key that is none", record("../x", "", 0)],
    ["a layer that is no digest", record(key("a"), "sha256:x", 0)],
    ["a time that is none", record(key("a"), "", 1e300)],
    ["an input that is none", { ...good, inputs: [[key("a"), 7]] }],
    ["too many records", { ...good, inputs: Array.from({ length: 50_001 }, () => 7) }],
  ])("is refused with %s", (_, value) => {
    expect(() => decode(value)).toThrow("invalid build cache");
  });
  test("is not asked for blobs of a form that no layer has, or that it does not list", () => {
    expect(decode(good).blobs.size).toBe(0);
    const config = new TextEncoder().encode(
      JSON.stringify({
        layers: [{ blob: digestOf("x"), parent: 0, annotations: { diffID: lower } }],
        [member]: good,
      }),
    );
    const about = { mediaType: CACHE_CONFIG_TYPE, digest: digestOf(config), size: config.length };
    const foreign = { ...layer("x"), mediaType: "text/plain" };
    expect(decodeCache({ config: about, layers: [foreign] }, config).blobs.size).toBe(0);
    expect(decodeCache({ config: about, layers: [layer("x")] }, config).blobs.size).toBe(1);
  });
});
