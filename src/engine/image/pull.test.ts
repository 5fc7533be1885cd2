/** `docker pull` and `docker push` over real stores and a registry in memory. */
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

interface Published {
  readonly id: Digest;
  readonly digest: Digest;
  readonly blobs: Digest[];
}

/** Puts an image of layers with these bodies into the registry. */
async function publish(
  name: string,
  bodies: readonly string[],
  { pack = (bytes: Uint8Array): Uint8Array => gzipSync(bytes), config = {} } = {},
): Promise<Published> {
  const tars = await Promise.all(bodies.map((body, index) => layerTar(`file-${index}`, body)));
  const packed = tars.map((tar) => registry.addBlob(pack(tar)));
  const configBlob = registry.addBlob(configFor(tars.map(digestOf), config));
  const digest = registry.addManifest(name, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.dockerManifest,
    config: { mediaType: MEDIA_TYPE.dockerConfig, ...configBlob },
    layers: packed.map((blob) => ({ mediaType: MEDIA_TYPE.dockerLayerGzip, ...blob })),
  });
  return { id: configBlob.digest, digest, blobs: packed.map((blob) => blob.digest) };
}

async function pull(
  name: string,
  more: {
    platform?: { os: string; architecture: string };
    signal?: AbortSignal;
    all?: boolean;
  } = {},
): Promise<string[]> {
  const { lines, onProgress } = collector();
  const reference = `${registry.host}/${name}`;
  await lab.images.pull({ reference, signal: noSignal, onProgress, ...more });
  return lines();
}
const isClean = (): void => {
  expect(lab.images.list()).toEqual([]);
  expect(lab.content.list()).toEqual([]);
  expect(readdirSync(join(lab.root, "layers")).filter((name) => name.endsWith(".layer"))).toEqual(
    [],
  );
};

describe("pull", () => {
  test("says what Docker says, first for a new image, then for one that is up to date", async () => {
    const { id, digest, blobs } = await publish("team/app:1", ["one"]);
    const short = digestHex(blobs[0] ?? digest).slice(0, 12);
    expect(await pull("team/app:1")).toEqual([
      "1: Pulling from team/app",
      `${short}: Pulling fs layer`,
      `${short}: Downloading`,
      `${short}: Verifying Checksum`,
      `${short}: Download complete`,
      `${short}: Extracting`,
      `${short}: Pull complete`,
      `Digest: ${digest}`,
      `Status: Downloaded newer image for ${registry.host}/team/app:1`,
    ]);
    expect(await pull("team/app:1")).toEqual([
      "1: Pulling from team/app",
      `Digest: ${digest}`,
      `Status: Image is up to date for ${registry.host}/team/app:1`,
    ]);
    const image = lab.images.resolve(`${registry.host}/team/app:1`);
    expect(image).toMatchObject({
      id,
      references: [`${registry.host}/team/app:1`],
      repoDigests: [`${registry.host}/team/app@${digest}`],
      sizeBytes: 3,
    });
    expect(lab.images.resolve(`${registry.host}/team/app@${digest}`).id).toBe(id);
    expect(lab.events[0]).toMatchObject({
      action: "pull",
      actorId: `${registry.host}/team/app:1`,
      attributes: { name: `${registry.host}/team/app`, color: "red" },
    });
  });

  test("by digest leaves no tag", async () => {
    const { id, digest } = await publish("app:1", ["one"]);
    const lines = await pull(`app@${digest}`);
    expect(lines[0]).toBe(`${registry.host}/app@${digest}: Pulling from app`);
    expect(lab.images.resolve(id).references).toEqual([]);
  });

  test("chooses the platform from an index and shows the index's digest", async () => {
    const { id, digest } = await publish("app:own", ["one"]);
    const own = registry.manifests.get("app:own")?.bytes.length;
    const index = registry.addManifest("app:latest", {
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.ociIndex,
      manifests: [
        {
          mediaType: MEDIA_TYPE.ociManifest,
          digest: digestOf("x"),
          size: 1,
          platform: { os: "linux", architecture: "s390x" },
        },
        { mediaType: MEDIA_TYPE.dockerManifest, digest, size: own, platform: hostPlatform() },
      ],
    });
    expect(await pull("app")).toContain(`Digest: ${index}`);
    expect(lab.images.resolve(id).repoDigests).toEqual([`${registry.host}/app@${index}`]);
    const platform = { os: "linux", architecture: "riscv64" };
    expect(await messageOf(pull("app", { platform }))).toBe(
      "no matching manifest for linux/riscv64 in the manifest list entries",
    );
  });

  test("of all tags takes each", async () => {
    await publish("app:1", ["one"]);
    await publish("app:2", ["one", "two"]);
    registry.intercept = (_request, url) =>
      url.pathname.endsWith("/tags/list") ? Response.json({ tags: ["1", "2"] }) : null;
    await pull("app", { all: true });
    expect(
      lab.images
        .list()
        .flatMap(({ references }) => references)
        .sort(),
    ).toEqual([`${registry.host}/app:1`, `${registry.host}/app:2`]);
  });

  test("takes zstd and plain layers, several at once, the same layer once", async () => {
    const bodies = Array.from({ length: 8 }, (_value, index) => `body ${index}`);
    await publish("zstd:latest", bodies, { pack: (bytes) => zstdCompressSync(bytes) });
    await publish("plain:latest", bodies, { pack: (bytes) => bytes });
    await Promise.all([pull("zstd"), pull("plain")]);
    expect(registry.fetched.length).toBe(8 + 2);
    expect(lab.layers.list().length).toBe(8);
  });

  test("moves a tag and keeps the old image without a name", async () => {
    const first = await publish("app:latest", ["one"]);
    await pull("app");
    const second = await publish("app:latest", ["one", "two"]);
    expect((await pull("app")).at(-1)).toStartWith("Status: Downloaded newer image");
    expect(lab.images.resolve("sha256:" + digestHex(first.id)).references).toEqual([]);
    expect(lab.images.resolve(`${registry.host}/app`).id).toBe(second.id);
  });

  test("two pulls of one image share its layers, and one of them giving up harms nobody", async () => {
    const { blobs, id } = await publish("app:latest", ["x".repeat(200_000)]);
    const gate = Promise.withResolvers<void>();
    let asked = 0;
    registry.intercept = async (request, url) => {
      if (request.method !== "GET" || !url.pathname.endsWith(blobs[0] ?? "")) return null as never;
      asked += 1;
      await gate.promise;
      return new Response(registry.blobs.get(blobs[0] ?? "") as Uint8Array<ArrayBuffer>);
    };
    const abort = new AbortController();
    const waits = Promise.withResolvers<void>();
    const { onProgress } = collector();
    const first = lab.images.pull({
      reference: `${registry.host}/app`,
      signal: abort.signal,
      onProgress: ({ status }) => {
        if (status === "Pulling fs layer") waits.resolve();
      },
    });
    await waits.promise;
    const joined = Promise.withResolvers<void>();
    const second = lab.images.pull({
      reference: `${registry.host}/app`,
      signal: noSignal,
      onProgress: (message) => {
        onProgress(message);
        if (message.status === "Pulling fs layer") joined.resolve();
      },
    });
    await joined.promise;
    abort.abort(new Error("context canceled"));
    expect(await messageOf(first)).toBe("context canceled");
    gate.resolve();
    await second;
    expect(asked).toBe(1);
    expect(lab.images.resolve(`${registry.host}/app`).id).toBe(id);
  });

  test("given up leaves nothing", async () => {
    const { blobs } = await publish("app:latest", ["one", "two"]);
    const abort = new AbortController();
    registry.intercept = (request, url) => {
      if (request.method !== "GET" || !url.pathname.endsWith(blobs[1] ?? "")) return null;
      abort.abort(new Error("context canceled"));
      return new Response(new ReadableStream({ pull: () => new Promise(() => null) }));
    };
    expect(await messageOf(pull("app", { signal: abort.signal }))).toBe("context canceled");
    await lab.gc.collect();
    isClean();
  });

  test("repairs a layer and a config that are damaged here", async () => {
    const { id } = await publish("app:latest", ["one"]);
    await pull("app");
    const [layer] = lab.layers.list();
    if (layer) lab.layers.remove(layer.diffId);
    await Bun.write(lab.content.pathOf(id), "{}");
    await pull("app");
    expect(lab.layers.list().map(({ diffId }) => diffId)).toEqual(layer ? [layer.diffId] : []);
    expect(lab.content.readDocument(id, 1_000_000).length).toBeGreaterThan(2);
  });

  type Spoil = (published: Published) => void;
  const withManifest =
    (change: (manifest: Record<string, unknown>) => object): Spoil =>
    () => {
      const bytes = registry.manifests.get("app:latest")?.bytes;
      const manifest = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
      registry.addManifest("app:latest", change(manifest));
    };
  const hostile: [string, Spoil, string][] = [
    [
      "a layer with other bytes",
      ({ blobs: [blob = ""] }) => {
        const bytes = registry.blobs.get(blob)?.slice() ?? new Uint8Array();
        bytes[bytes.length - 12] = (bytes[bytes.length - 12] ?? 0) ^ 0xff;
        registry.blobs.set(blob, bytes);
      },
      "",
    ],
    [
      "a layer that is another one",
      ({ blobs: [one = "", two = ""] }) => {
        registry.blobs.set(one, registry.blobs.get(two) ?? new Uint8Array());
      },
      "",
    ],
    [
      "a config with other bytes",
      ({ id }) => {
        const bytes = registry.blobs.get(id)?.slice() ?? new Uint8Array();
        bytes[5] = 0x20;
        registry.blobs.set(id, bytes);
      },
      "verification failed for digest",
    ],
    ["no such layer", ({ blobs: [blob = ""] }) => registry.blobs.delete(blob), "blob unknown"],
    [
      "fewer layers than the config says",
      withManifest((manifest) => ({ ...manifest, layers: (manifest["layers"] as []).slice(1) })),
      "layers from manifest don't match image configuration",
    ],
    [
      "a layer of an unknown type",
      withManifest((manifest) => ({
        ...manifest,
        layers: (manifest["layers"] as object[]).map((layer) => ({ ...layer, mediaType: "x/y" })),
      })),
      'unsupported layer media type "x/y"',
    ],
    [
      "a config that is none",
      withManifest((manifest) => ({
        ...manifest,
        config: {
          ...(manifest["config"] as object),
          mediaType: "application/vnd.cncf.helm.config.v1+json",
        },
      })),
      'Encountered remote "application/vnd.cncf.helm.config.v1+json"(unknown) when fetching',
    ],
    [
      "schema 1",
      () =>
        registry.addManifest("app:latest", {
          schemaVersion: 1,
          mediaType: MEDIA_TYPE.dockerSchema1Signed,
        }),
      "schema 1 support has been removed",
    ],
    [
      "an index that names itself",
      () => {
        const index = {
          schemaVersion: 2,
          mediaType: MEDIA_TYPE.ociIndex,
          manifests: [] as object[],
        };
        const inner = registry.addManifest("app:inner", index);
        const size = registry.manifests.get("app:inner")?.bytes.length;
        const entry = {
          mediaType: MEDIA_TYPE.ociIndex,
          digest: inner,
          size,
          platform: hostPlatform(),
        };
        registry.addManifest("app:latest", { ...index, manifests: [entry] });
      },
      "an index inside an index",
    ],
    [
      "a manifest that is none",
      () => registry.addManifest("app:latest", { hello: "world" }),
      "unsupported schemaVersion null",
    ],
    [
      "no such tag",
      () => registry.manifests.clear(),
      "not found: manifest unknown: manifest unknown",
    ],
  ];
  test.each(hostile)("of %s is refused and leaves nothing", async (_name, spoil, sentence) => {
    spoil(await publish("app:latest", ["one", "two"]));
    const message = await messageOf(pull("app"));
    expect(message).not.toBe("no failure");
    expect(message).toContain(sentence);
    await lab.gc.collect();
    isClean();
  });

  test("onto a full disk says so, leaves nothing half-made, and what is here still works", async () => {
    await lab.close();
    const root = newLabRoot();
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=4m", "naru-test", root]);
    lab = openLab(root);
    try {
      await publish("small:latest", ["one"]);
      await pull("small");
      const big = crypto.getRandomValues(new Uint8Array(65536)).toHex().repeat(60);
      await publish("big:latest", [big], { pack: (bytes) => bytes });
      expect(await messageOf(pull("big"))).toContain("no space left on device");
      await lab.gc.collect();
      expect(lab.images.list().length).toBe(1);
      await pull("small");
      await lab.images.remove({ name: `${registry.host}/small`, force: false, prune: true });
      isClean();
    } finally {
      await lab.layers.close();
      lab.store[Symbol.dispose]();
      Bun.spawnSync(["umount", "-l", root]);
      lab = openLab(root);
    }
  });

  test("of an image for another system is refused", async () => {
    await publish("app:latest", ["one"], { config: { os: "windows" } });
    expect(await messageOf(pull("app"))).toBe(
      'cannot download image with operating system "windows" when requested "linux"',
    );
    await publish("arm:latest", ["one"], { config: { architecture: "mips" } });
    const platform = { os: "linux", architecture: "riscv64" };
    expect(await messageOf(pull("arm", { platform }))).toContain(
      "was found but its platform (linux/mips) does not match the specified platform (linux/riscv64)",
    );
  });
});

describe("push", () => {
  const push = async (name: string): Promise<string[]> => {
    const { lines, onProgress } = collector();
    const reference = `${registry.host}/${name}`;
    await lab.images.push({ reference, signal: noSignal, onProgress });
    return lines();
  };
  const tag = (source: string, target: string) =>
    lab.images.tag({
      source: `${registry.host}/${source}`,
      repository: `${registry.host}/${target}`,
      tag: "",
    });

  test("of a pulled image to where it came from sends nothing and keeps its digest", async () => {
    const { digest, id } = await publish("app:latest", ["one"]);
    await pull("app");
    tag("app", "app:again");
    registry.intercept = (request) =>
      request.method === "PATCH" ? new Response("sent", { status: 500 }) : null;
    const lines = await push("app:again");
    const diffId = lab.images.resolve(id).config.rootfs.diff_ids[0] ?? id;
    expect(lines).toContain(`The push refers to repository [${registry.host}/app]`);
    expect(lines).toContain(`${digestHex(diffId).slice(0, 12)}: Layer already exists`);
    expect(lines).toContain(
      `again: digest: ${digest} size: ${registry.manifests.get("app:again")?.bytes.length}`,
    );
  });

  test("to another repository has its layers mounted, to an empty registry sends them", async () => {
    const { id } = await publish("app:latest", ["one", "two"]);
    await pull("app");
    tag("app", "copy");
    registry.intercept = (request, url) =>
      request.method === "HEAD" && url.pathname.includes("/copy/")
        ? new Response(null, { status: 404 })
        : null;
    expect((await push("copy")).filter((line) => line.endsWith("Mounted from app")).length).toBe(2);
    registry.intercept = () => null;
    registry.blobs.clear();
    registry.manifests.clear();
    expect((await push("copy")).filter((line) => line.endsWith(": Pushed")).length).toBe(2);
    await lab.images.remove({ name: id, force: true, prune: true });
    await lab.gc.collect();
    isClean();
    await pull("copy");
    expect(lab.images.resolve(`${registry.host}/copy`).id).toBe(id);
    const pushed = lab.images.resolve(`${registry.host}/copy`);
    expect(pushed.repoDigests.length).toBe(1);
  });

  test("of what is not here is refused in Docker's words", async () => {
    expect(await messageOf(push("nosuch"))).toBe(
      `An image does not exist locally with the tag: ${registry.host}/nosuch`,
    );
    expect(await messageOf(push(`x@${digestOf("x")}`))).toBe("cannot push a digest reference");
  });
});

test("where registries have layers is known as long as an image or the store has them", async () => {
  await publish("app:latest", ["one"]);
  await pull("app");
  const kept = lab.images.resolve(`${registry.host}/app`).config.rootfs.diff_ids;
  const tar = await layerTar("file", "cached");
  const cached = digestOf(tar);
  const source = new Blob([tar]).stream();
  const lease = lab.gc.lease();
  lease.keep({ layers: [cached] });
  await lab.layers.write({ source, diffId: cached });
  await lab.images.pushCache({
    reference: `${registry.host}/cache:1`,
    diffIds: [cached],
    encode: () => {
      const config = new TextEncoder().encode("{}");
      const manifest = new TextEncoder().encode('{"schemaVersion":2}');
      return { manifest, config, mediaType: MEDIA_TYPE.ociManifest };
    },
    signal: noSignal,
    onProgress: () => undefined,
  });
  const known = () =>
    lab.store
      .query<{ diff_id: Digest }>("SELECT DISTINCT diff_id FROM layer_blobs")
      .all()
      .map((row) => row.diff_id)
      .toSorted();
  lab.images.forgetLostLayers();
  expect(known()).toEqual([...kept, cached].toSorted());
  lease[Symbol.dispose]();
  await lab.gc.collect();
  lab.images.forgetLostLayers();
  expect(known()).toEqual([...kept]);
});
