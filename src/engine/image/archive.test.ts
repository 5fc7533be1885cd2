/** `docker load`, `save` and `import`, over real stores and archives of every form. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { type Digest, digestHex, digestOf, hostPlatform, MEDIA_TYPE } from "#oci";

import {
  collector,
  configFor,
  type Lab,
  layerTar,
  messageOf,
  newLabRoot,
  noSignal,
  openLab,
  streamOf,
  tarOf,
} from "./image-lab.ts";

let lab: Lab;
beforeEach(() => {
  lab = openLab(newLabRoot());
});
afterEach(async () => {
  await lab.close();
});

async function load(archive: Uint8Array): Promise<string[]> {
  const { lines, onProgress } = collector();
  await lab.images.load({ archive: streamOf(archive), quiet: true, signal: noSignal, onProgress });
  return lines();
}
const save = async (...names: string[]): Promise<Uint8Array> =>
  await new Response(lab.images.save(names, { signal: noSignal })).bytes();
const layerFiles = (): string[] =>
  readdirSync(join(lab.root, "layers")).filter((name) => name.endsWith(".layer"));

type Form = (bytes: Uint8Array) => Uint8Array;
const forms: [string, Form][] = [
  ["plain", (bytes) => bytes],
  ["gzip", (bytes) => gzipSync(bytes)],
  ["zstd", (bytes) => zstdCompressSync(bytes)],
];

async function dockerArchive(
  name: string,
  { form = (bytes: Uint8Array) => bytes, order = "layers first" } = {},
): Promise<{ bytes: Uint8Array; id: Digest; diffIds: Digest[] }> {
  const layers = [await layerTar(`${name}-a`, "one"), await layerTar(`${name}-b`, "two")];
  const diffIds = layers.map(digestOf);
  const config = configFor(diffIds);
  const id = digestOf(config);
  const manifest = JSON.stringify([
    {
      Config: `${digestHex(id)}.json`,
      RepoTags: [`${name}:1`, `${name}:2`],
      Layers: layers.map((_layer, index) => `${index}/layer.tar`),
    },
  ]);
  const files = [
    ...layers.map((layer, index) => [{ name: `${index}/layer.tar` }, form(layer)] as const),
    [{ name: "0/VERSION" }, "1.0"] as const,
    [{ name: `${digestHex(id)}.json` }, config] as const,
    [{ name: "manifest.json" }, manifest] as const,
  ];
  const bytes = await tarOf(order === "layers first" ? files : files.toReversed());
  return { bytes, id, diffIds };
}

describe("a docker archive", () => {
  test.each(forms)("is loaded when it is %s as a whole", async (_name, form) => {
    const { bytes, id } = await dockerArchive("app");
    expect(await load(form(bytes))).toEqual(["Loaded image: app:1", "Loaded image: app:2"]);
    const image = lab.images.resolve("app:2");
    expect(image.id).toBe(id);
    expect(image.sizeBytes).toBe(6);
    expect(image.references).toEqual(["docker.io/library/app:1", "docker.io/library/app:2"]);
    expect(lab.events.map(({ action, actorId }) => [action, actorId])).toEqual([["load", id]]);
    expect(lab.events[0]?.attributes).toEqual({ color: "red", name: id });
  });

  test.each(forms)("is loaded when its layers are %s", async (_name, form) => {
    const { bytes, diffIds } = await dockerArchive("app", { form });
    await load(bytes);
    expect(
      lab.layers
        .list()
        .map(({ diffId }) => diffId)
        .sort(),
    ).toEqual([...diffIds].sort());
  });

  test("is loaded whatever the order of its files", async () => {
    const { bytes, id } = await dockerArchive("app", { order: "manifest first" });
    await load(bytes);
    expect(lab.images.resolve("app:1").id).toBe(id);
  });

  test("documents that wait on disk are found there, and what no image needs is gone", async () => {
    const layer = await layerTar("a", "one");
    const config = configFor([digestOf(layer)], { author: "x".repeat(2 * 1024 * 1024) });
    const manifest = [{ Config: "c.json", RepoTags: ["big:1"], Layers: ["l"] }];
    const unneeded = `{"x":"${"y".repeat(2 * 1024 * 1024)}"}`;
    const unknown = "\u0001of some kind";
    await load(
      await tarOf([
        [{ name: "c.json" }, config],
        [{ name: `blobs/sha256/${digestHex(digestOf(unneeded))}` }, unneeded],
        [{ name: `blobs/sha256/${digestHex(digestOf(unknown))}` }, unknown],
        [{ name: "l" }, layer],
        [{ name: "manifest.json" }, JSON.stringify(manifest)],
      ]),
    );
    expect(lab.images.resolve("big:1").id).toBe(digestOf(config));
    expect(lab.content.list().map(({ digest }) => digest)).toEqual([digestOf(config)]);
  });

  test("may link one layer to another", async () => {
    const layer = await layerTar("a", "one");
    const config = configFor([digestOf(layer), digestOf(layer)]);
    const manifest = JSON.stringify([
      { Config: "c.json", RepoTags: null, Layers: ["a/layer.tar", "b/layer.tar"] },
    ]);
    const bytes = await tarOf([
      [{ name: "b/layer.tar", type: "symlink", link: "../a/layer.tar" }],
      [{ name: "a/layer.tar" }, layer],
      [{ name: "c.json" }, config],
      [{ name: "manifest.json" }, manifest],
    ]);
    expect(await load(bytes)).toEqual([`Loaded image ID: ${digestOf(config)}`]);
  });

  test("takes a name from the image that had it, and says so", async () => {
    const first = await dockerArchive("app");
    await load(first.bytes);
    const layer = await layerTar("c", "three");
    const config = configFor([digestOf(layer)]);
    const manifest = [{ Config: "c.json", RepoTags: ["app:1"], Layers: ["l"] }];
    const lines = await load(
      await tarOf([
        [{ name: "l" }, layer],
        [{ name: "c.json" }, config],
        [{ name: "manifest.json" }, JSON.stringify(manifest)],
      ]),
    );
    expect(lines[0]).toContain("The image app:1 already exists, renaming the old one with ID");
    expect(lab.images.resolve("app:1").id).toBe(digestOf(config));
    expect(lab.images.resolve("app:2").references).toEqual(["docker.io/library/app:2"]);
  });

  const layerNamed = async (name: string, config: object) => {
    const layer = await layerTar("a", "one");
    return await tarOf([
      [{ name: "l" }, layer],
      [{ name: "c.json" }, JSON.stringify(config)],
      [{ name: "manifest.json" }, JSON.stringify([{ Config: name, RepoTags: [], Layers: ["l"] }])],
    ]);
  };

  const broken: [string, () => Promise<Uint8Array> | Uint8Array, string][] = [
    ["no archive", () => new TextEncoder().encode("hello".repeat(999)), "invalid tar header"],
    ["nothing", () => new Uint8Array(), "unrecognized image format"],
    ["bzip2", () => new TextEncoder().encode("BZh91AY".repeat(99)), "bzip2: the data is damaged"],
    ["cut gzip", () => gzipSync(new Uint8Array(90_000)).subarray(0, 50), "unexpected end of file"],
    [
      "cut in a layer",
      async () => (await dockerArchive("app")).bytes.subarray(0, 700),
      "unexpected EOF",
    ],
    ["a few bytes", () => new TextEncoder().encode("hello"), "unexpected EOF"],
    ["no documents", () => tarOf([[{ name: "x" }, "y"]]), "unrecognized image format"],
    ["a bad manifest", () => tarOf([[{ name: "manifest.json" }, "[{"]]), "not a JSON document"],
    ["a manifest of numbers", () => tarOf([[{ name: "manifest.json" }, "[1]"]]), "not a list"],
    ["a config elsewhere", () => layerNamed("../../etc/passwd", {}), "no such file or directory"],
    ["a config that is none", () => layerNamed("c.json", { rootfs: 1 }), "invalid image config"],
    [
      "other diff ids",
      () => layerNamed("c.json", { rootfs: { diff_ids: [digestOf("x")] } }),
      "invalid diffID for layer 0",
    ],
    [
      "another number of layers",
      () => layerNamed("c.json", { rootfs: { diff_ids: [] } }),
      "layers length mismatch: expected 0, got 1",
    ],
    [
      "links in a circle",
      () =>
        tarOf([
          [{ name: "manifest.json", type: "symlink", link: "b" }],
          [{ name: "b", type: "symlink", link: "manifest.json" }],
        ]),
      "too many levels of symbolic links",
    ],
  ];
  test.each(broken)("that is %s is refused and leaves nothing", async (_name, make, sentence) => {
    expect(await messageOf(load(await make()))).toContain(sentence);
    expect(lab.images.list()).toEqual([]);
    expect(lab.content.list()).toEqual([]);
    expect(layerFiles()).toEqual([]);
    expect(readdirSync(join(lab.root, "content/ingest"))).toEqual([]);
  });

  test("a layer that nobody needs does not stay", async () => {
    const { bytes } = await dockerArchive("app");
    const extra = await layerTar("unused", "x".repeat(5000));
    const both = await tarOf([[{ name: "stray.tar" }, extra]]);
    await load(new Uint8Array([...both.subarray(0, both.length - 1024), ...bytes]));
    expect(layerFiles().length).toBe(2);
  });
});

describe("an OCI layout", () => {
  async function layout(nested: boolean): Promise<{ bytes: Uint8Array; id: Digest }> {
    const layer = await layerTar("a", "one");
    const packed = new Uint8Array(gzipSync(layer));
    const config = configFor([digestOf(layer)]);
    const descriptor = (mediaType: string, bytes: Uint8Array | string) => ({
      mediaType,
      digest: digestOf(bytes),
      size: Buffer.byteLength(bytes),
    });
    const manifest = JSON.stringify({
      schemaVersion: 2,
      config: descriptor(MEDIA_TYPE.ociConfig, config),
      layers: [descriptor(MEDIA_TYPE.ociLayerGzip, packed)],
    });
    const own = { ...descriptor(MEDIA_TYPE.ociManifest, manifest), platform: hostPlatform() };
    const foreign = {
      ...descriptor(MEDIA_TYPE.ociManifest, "absent"),
      platform: { os: "linux", architecture: "s390x" },
    };
    const inner = JSON.stringify({ schemaVersion: 2, manifests: [foreign, own] });
    const annotations = { "io.containerd.image.name": "example.org/app:v1" };
    const top = nested ? descriptor(MEDIA_TYPE.ociIndex, inner) : own;
    const index = { schemaVersion: 2, manifests: [{ ...top, annotations }] };
    const blob = (bytes: Uint8Array | string) =>
      [{ name: `blobs/sha256/${digestHex(digestOf(bytes))}` }, bytes] as const;
    const bytes = await tarOf([
      blob(packed),
      blob(config),
      blob(manifest),
      blob(inner),
      [{ name: "index.json" }, JSON.stringify(index)],
      [{ name: "oci-layout" }, '{"imageLayoutVersion":"1.0.0"}'],
    ]);
    return { bytes, id: digestOf(config) };
  }

  test.each([false, true])("is loaded, its index nested: %p", async (nested) => {
    const { bytes, id } = await layout(nested);
    expect(await load(bytes)).toEqual(["Loaded image: example.org/app:v1"]);
    expect(lab.images.resolve("example.org/app:v1").id).toBe(id);
  });
});

describe("save", () => {
  test("gives back what was loaded, also under both names and after everything was removed", async () => {
    const { bytes, id, diffIds } = await dockerArchive("app");
    await load(bytes);
    const saved = await save("app");
    await lab.images.remove({ name: id, force: true, prune: true });
    expect(layerFiles()).toEqual([]);
    expect(await load(saved)).toEqual(["Loaded image: app:1", "Loaded image: app:2"]);
    expect(lab.images.resolve("app:1").config.rootfs.diff_ids).toEqual(diffIds);
    // What is here already is not read again, and gives the same archive.
    expect(await load(saved)).toEqual(["Loaded image: app:1", "Loaded image: app:2"]);
    expect(digestOf(await save("app"))).toBe(digestOf(saved));
  });

  test("writes an OCI layout that stands without Docker's manifest", async () => {
    const { bytes, id } = await dockerArchive("app");
    await load(bytes);
    const folder = join(lab.root, "unpacked");
    await Bun.write(join(lab.root, "saved.tar"), await save("app:1", id));
    Bun.spawnSync(["mkdir", folder]);
    Bun.spawnSync(["tar", "-C", folder, "-xf", join(lab.root, "saved.tar")]);
    expect(readdirSync(folder).sort()).toEqual([
      "blobs",
      "index.json",
      "manifest.json",
      "oci-layout",
      "repositories",
    ]);
    for (const hex of readdirSync(join(folder, "blobs/sha256"))) {
      const bytes = await Bun.file(join(folder, "blobs/sha256", hex)).bytes();
      expect(digestHex(digestOf(bytes))).toBe(hex);
    }
    const layout = Bun.spawnSync([
      "tar",
      "-C",
      folder,
      "-c",
      "blobs",
      "index.json",
      "oci-layout",
    ]).stdout;
    await lab.images.remove({ name: id, force: true, prune: true });
    expect(await load(layout)).toEqual(["Loaded image: app:1"]);
    expect(lab.images.resolve("app:1").id).toBe(id);
  });

  test("of what is not there is refused before a byte", () => {
    expect(() => lab.images.save(["nosuch"], { signal: noSignal })).toThrow(
      "No such image: nosuch:latest",
    );
  });
});

describe("import", () => {
  const importTar = (archive: Uint8Array, reference?: string) =>
    lab.images.importTar({
      archive: streamOf(archive),
      changes: { Cmd: ["/bin/sh"] },
      ...(reference === undefined ? {} : { reference }),
      message: "made here",
      signal: noSignal,
      onProgress: () => undefined,
    });

  test.each(forms)("makes an image of a file tree, %s", async (_name, form) => {
    const tar = await layerTar("etc/motd", "hi");
    const id = await importTar(form(tar), "made");
    const image = lab.images.resolve("made");
    expect(image.id).toBe(id);
    expect(image.config.config).toEqual({ Cmd: ["/bin/sh"] });
    expect(image.config.rootfs.diff_ids).toEqual([digestOf(tar)]);
    expect(lab.images.history("made")).toMatchObject([{ id, comment: "made here", sizeBytes: 2 }]);
  });

  test("of a cut tar is refused and leaves nothing", async () => {
    const tar = await layerTar("big", "x".repeat(100_000));
    expect(await messageOf(importTar(tar.subarray(0, 50_000), "made"))).toContain("unexpected EOF");
    expect(await messageOf(importTar(tar, "Made"))).toContain("must be lowercase");
    expect(lab.images.list()).toEqual([]);
    expect(layerFiles()).toEqual([]);
  });
});
