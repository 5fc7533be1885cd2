import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";

import { type Digest, digestOf, MEDIA_TYPE, type Platform } from "#oci";

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
import { type SmallRegistry, startSmallRegistry } from "./small-registry.ts";

let lab: Lab;
let registry: SmallRegistry;
beforeEach(() => {
  lab = openLab(newLabRoot());
  registry = startSmallRegistry();
});
afterEach(async () => {
  registry[Symbol.dispose]();
  await lab.close();
});

const here = process.arch === "arm64" ? "arm64" : "amd64";
const other = here === "amd64" ? "arm64" : "amd64";
const linux = (architecture: string): Platform => ({ os: "linux", architecture });

interface Made {
  readonly index: Digest;
  readonly ids: Record<string, Digest>;
  readonly attestation: Digest;
}

/** An index of both platforms under `a/b:latest`; the first has an attestation. */
async function serveIndex(text: string, name = "a/b:latest"): Promise<Made> {
  const ids: Record<string, Digest> = {};
  const entries: object[] = [];
  const [repository = ""] = name.split(":");
  for (const architecture of [other, here]) {
    const tar = await layerTar("file", `${text} ${architecture}`);
    const config = configFor([digestOf(tar)], { architecture });
    const manifest = {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociManifest,
      config: { mediaType: MEDIA_TYPE.ociConfig, ...registry.addBlob(config) },
      layers: [{ mediaType: MEDIA_TYPE.ociLayer, ...registry.addBlob(tar) }],
    };
    ids[architecture] = manifest.config.digest;
    const digest = registry.addManifest(`${repository}:${architecture}`, manifest);
    const size = JSON.stringify(manifest).length;
    entries.push({
      mediaType: MEDIA_TYPE.ociManifest,
      digest,
      size,
      platform: linux(architecture),
    });
  }
  const about = {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: MEDIA_TYPE.ociConfig, ...registry.addBlob("{}") },
    layers: [{ mediaType: "application/vnd.in-toto+json", ...registry.addBlob(`{"t":"${text}"}`) }],
  };
  const attestation = registry.addManifest(`${repository}:about`, about);
  entries.push({
    mediaType: MEDIA_TYPE.ociManifest,
    digest: attestation,
    size: JSON.stringify(about).length,
    platform: { os: "unknown", architecture: "unknown" },
    annotations: {
      "vnd.docker.reference.type": "attestation-manifest",
      "vnd.docker.reference.digest": (entries[0] as { digest: string }).digest,
    },
  });
  const index = registry.addManifest(name, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociIndex,
    manifests: entries,
  });
  return { index, ids, attestation };
}

const pull = (architecture: string): Promise<void> =>
  lab.images.pull({
    reference: `${registry.host}/a/b`,
    platform: linux(architecture),
    signal: noSignal,
    onProgress: collector().onProgress,
  });
const idOf = (architecture?: string): Digest =>
  lab.images.resolve(`${registry.host}/a/b`, architecture ? linux(architecture) : null).id;

test("platforms of one name lie next to each other, whatever comes first", async () => {
  const { ids, index, attestation } = await serveIndex("one");
  await pull(other);
  expect(idOf()).toBe(ids[other] as Digest);
  await pull(here);
  expect(idOf()).toBe(ids[here] as Digest);
  expect(idOf(other)).toBe(ids[other] as Digest);
  expect(lab.images.list()).toHaveLength(1);
  const usage = lab.images.usageOf(lab.images.resolve(`${registry.host}/a/b`));
  expect(usage.descriptor.digest).toBe(index);
  expect(usage.manifests.map(({ kind, isAvailable }) => [kind, isAvailable])).toEqual([
    ["image", true],
    ["image", true],
    ["attestation", true],
  ]);
  expect(usage.manifests[2]?.descriptor.digest).toBe(attestation);
  // Nothing that the records name is swept.
  await lab.gc.collect();
  expect(lab.images.usageOf(lab.images.resolve(`${registry.host}/a/b`))).toEqual(usage);
});

test("a name that goes to another index leaves the old platforms as images without a tag", async () => {
  const first = await serveIndex("one");
  await pull(here);
  await pull(other);
  const second = await serveIndex("two");
  await pull(here);
  expect(idOf()).toBe(second.ids[here] as Digest);
  // The old digest still names the old index.
  const old = lab.images.resolve(`${registry.host}/a/b@${first.index}`, linux(other));
  expect(old.id).toBe(first.ids[other] as Digest);
  const dangling = lab.images.list({ dangling: true }).map(({ id }) => id);
  expect(dangling).toEqual([first.ids[here] as Digest]);
  const { deleted } = await lab.images.prune({
    danglingOnly: true,
    until: null,
    labels: [],
    withoutLabels: [],
    signal: noSignal,
  });
  const gone = deleted.map(({ deleted: id }) => id);
  expect(gone).toContain(first.ids[here] as Digest);
  expect(gone).toContain(first.ids[other] as Digest);
  expect(lab.layers.list()).toHaveLength(1);
});

test("a name taken for another image leaves the index as one image without a name", async () => {
  const { ids } = await serveIndex("one");
  await pull(here);
  await pull(other);
  const tag = { repository: "x", tag: "1" };
  lab.images.tag({ source: `${registry.host}/a/b`, ...tag });
  await lab.images.remove({ name: `${registry.host}/a/b`, force: false, prune: true });
  expect(lab.images.resolve("x:1", linux(other)).id).toBe(ids[other] as Digest);
  const layer = await layerTar("new", "image");
  const id = await lab.images.importTar({
    archive: streamOf(layer),
    reference: "x:1",
    changes: {},
    signal: noSignal,
    onProgress: collector().onProgress,
  });
  expect(lab.images.resolve("x:1").id).toBe(id);
  const dangling = lab.images.list({ dangling: true }).map(({ id: one }) => one);
  expect(dangling).toEqual([ids[here] as Digest]);
  expect(lab.images.resolve(ids[here] ?? "", linux(other)).id).toBe(ids[other] as Digest);
});

describe("an index without a name", () => {
  /** Loaded, and gone from the registry's side. */
  async function loadNameless(): Promise<Made> {
    const made = await serveIndex("one");
    await pull(here);
    await pull(other);
    const name = `${registry.host}/a/b`;
    const saved = await new Response(
      lab.images.save([lab.images.resolve(name).id], { signal: noSignal }),
    ).bytes();
    await lab.images.remove({ name, force: false, prune: true });
    expect(lab.images.list({}, { all: true })).toEqual([]);
    const { lines, onProgress } = collector();
    await lab.images.load({
      archive: streamOf(saved),
      quiet: true,
      signal: noSignal,
      onProgress,
    });
    expect(lines()).toEqual([`Loaded image ID: ${made.ids[here]}`]);
    return made;
  }

  test("is one image, asked for by an id; a name given to it stands for all platforms", async () => {
    const { ids } = await loadNameless();
    const id = ids[here] ?? "";
    expect(lab.images.list({ dangling: true }).map((image) => image.id)).toEqual([id as Digest]);
    expect(lab.images.list()[0]).toMatchObject({ references: [], repoDigests: [] });
    expect(lab.images.resolve(id, linux(other)).id).toBe(ids[other] as Digest);
    const [index = ""] = lab.images.resolve(id).indexes;
    expect(lab.images.resolve(index).id).toBe(id as Digest);
    expect([...lab.images.familyOf(id)].toSorted()).toEqual(Object.values(ids).toSorted());
    lab.images.tag({ source: id, repository: "x", tag: "1" });
    expect(lab.images.resolve("x:1", linux(other)).id).toBe(ids[other] as Digest);
    expect(lab.images.list({ dangling: true })).toEqual([]);
    await lab.images.remove({ name: "x:1", force: false, prune: true });
    expect(lab.images.list({}, { all: true })).toEqual([]);
    expect(lab.layers.list()).toEqual([]);
  });

  test("goes whole: by its default platform's id, by its own digest and by prune", async () => {
    for (const remove of [
      async (id: string) => void (await lab.images.remove({ name: id, force: false, prune: true })),
      async (id: string) => {
        const [name = ""] = lab.images.resolve(id).indexes;
        await lab.images.remove({ name, force: false, prune: true });
      },
      async () => {
        const everything = { danglingOnly: true, until: null, labels: [], withoutLabels: [] };
        const { deleted } = await lab.images.prune({ ...everything, signal: noSignal });
        expect(deleted.length).toBeGreaterThan(2);
      },
    ]) {
      const { ids } = await loadNameless();
      await remove(ids[here] ?? "");
      expect(lab.images.list({}, { all: true })).toEqual([]);
      expect(lab.layers.list()).toEqual([]);
      expect(lab.content.list()).toEqual([]);
    }
  });

  test("stays while a container uses any of its platforms", async () => {
    const { ids } = await loadNameless();
    lab.users.set(ids[other] as Digest, [{ id: "c".repeat(64), running: false }]);
    const remove = (force: boolean) =>
      lab.images.remove({ name: ids[here] ?? "", force, prune: true });
    expect(await messageOf(remove(false))).toContain("is being used by stopped container");
    expect(lab.images.resolve(ids[here] ?? "", linux(other)).id).toBe(ids[other] as Digest);
    lab.users.clear();
    await remove(false);
    expect(lab.images.list({}, { all: true })).toEqual([]);
  });
});

test("a damaged platform or a lost index harms nothing else", async () => {
  const { ids, index } = await serveIndex("one");
  await pull(here);
  await pull(other);
  writeFileSync(lab.content.pathOf(ids[other] as Digest), "{");
  const { root } = lab;
  lab.store[Symbol.dispose]();
  lab = openLab(root);
  expect(lab.images.list()).toHaveLength(1);
  expect(idOf()).toBe(ids[here] as Digest);
  await pull(other);
  expect(idOf(other)).toBe(ids[other] as Digest);
  rmSync(lab.content.pathOf(index));
  expect(lab.images.usageOf(lab.images.resolve(`${registry.host}/a/b`)).manifests).toHaveLength(1);
  await lab.images.remove({ name: `${registry.host}/a/b`, force: false, prune: true });
  expect(lab.images.list({}, { all: true })).toEqual([]);
  expect(lab.layers.list()).toEqual([]);
});

test("an attestation that the registry does not give keeps nobody from the image", async () => {
  await serveIndex("one");
  registry.intercept = (_request, url) =>
    url.pathname.endsWith(digestOf(new TextEncoder().encode(`{"t":"one"}`)))
      ? new Response("gone", { status: 404 })
      : null;
  await pull(other);
  const { manifests } = lab.images.usageOf(lab.images.resolve(`${registry.host}/a/b`));
  expect(manifests.map(({ isAvailable }) => isAvailable)).toEqual([true, false, false]);
  await lab.gc.collect();
});

test("an index of nothing, nested deeply or many times over is refused at once", async () => {
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const load = async (manifests: object[], blobs: Uint8Array[]) => {
    const index = text({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests });
    const files = blobs.map((bytes) => ({
      name: `blobs/sha256/${digestOf(bytes).slice("sha256:".length)}`,
      bytes,
    }));
    const archive = await tarOf([
      ...files.map(({ name, bytes }) => [{ name }, bytes] as const),
      [{ name: "index.json" }, index],
    ]);
    const request = { quiet: true, signal: noSignal, onProgress: collector().onProgress };
    return await messageOf(lab.images.load({ archive: streamOf(archive), ...request }));
  };
  const entry = (bytes: Uint8Array) => ({
    mediaType: MEDIA_TYPE.ociIndex,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  let inner = text({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [] });
  const blobs = [inner];
  expect(await load([entry(inner)], blobs)).toBe("no image in the archive");
  for (let depth = 0; depth < 8; depth += 1) {
    inner = text({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [entry(inner)] });
    blobs.push(inner);
  }
  expect(await load([entry(inner)], blobs)).toBe("invalid index: nested too deeply");
  // Every level lists the next one many times over.
  inner = text({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests: [] });
  const wide = [inner];
  for (let depth = 0; depth < 3; depth += 1) {
    const manifests = Array.from({ length: 300 }, () => entry(inner));
    inner = text({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociIndex, manifests });
    wide.push(inner);
  }
  expect(await load([entry(inner)], wide)).toBe("no image in the archive");
  expect(lab.images.list({}, { all: true })).toEqual([]);
});
