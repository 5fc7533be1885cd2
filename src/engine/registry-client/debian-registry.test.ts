/** The client against a real registry. */
import { expect, test } from "bun:test";

import { joinBytes } from "#base";
import { MEDIA_TYPE } from "#oci";

import { startDebianRegistry } from "./debian-registry.ts";
import { blobOf } from "./fake-registry.ts";
import { openRegistryClient } from "./index.ts";

const signal = new AbortController().signal;

const streamOf = (bytes: Uint8Array): ReadableStream<Uint8Array> => {
  let offset = 0;
  return new ReadableStream({
    pull: (controller) => {
      if (offset >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(offset, offset + 65536));
      offset += 65536;
    },
  });
};

test("a manifest and its blobs go there and come back, and a blob is mounted elsewhere", async () => {
  await using registry = await startDebianRegistry({ username: "rex", password: "bone" });
  const client = openRegistryClient();
  const layer = blobOf(new Uint8Array(3_000_000).map((_value, index) => index % 253));
  const config = blobOf("{}");
  const request = {
    domain: registry.host,
    path: "a/b",
    credentials: { username: "rex", password: "bone" },
    actions: "pull,push",
    signal,
  } as const;
  const manifest = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA_TYPE.dockerManifest,
      config: { mediaType: MEDIA_TYPE.dockerConfig, digest: config.digest, size: config.size },
      layers: [{ mediaType: MEDIA_TYPE.dockerLayerGzip, digest: layer.digest, size: layer.size }],
    }),
  );
  await client.withRepository(request, async (repository) => {
    expect(await repository.blobSize(layer.digest, signal)).toBeNull();
    for (const blob of [layer, config]) {
      const sent = await repository.upload({ open: () => streamOf(blob.bytes), signal });
      expect(sent).toEqual({ digest: blob.digest, sizeBytes: blob.size });
    }
    expect(await repository.blobSize(layer.digest, signal)).toBe(layer.size);
    const { bytes } = manifest;
    const mediaType = MEDIA_TYPE.dockerManifest;
    await repository.putManifest({ tagOrDigest: "1", bytes, mediaType, signal });
  });
  await client.withRepository({ ...request, actions: "pull" }, async (repository) => {
    const fetched = await repository.manifest("1", { signal });
    expect(fetched.digest).toBe(manifest.digest);
    expect(fetched.mediaType).toBe(MEDIA_TYPE.dockerManifest);
    expect(await repository.tags(signal)).toEqual(["1"]);
    const chunks: Uint8Array[] = [];
    for await (const chunk of repository.blob(layer, signal)) chunks.push(chunk);
    expect(blobOf(joinBytes(chunks)).digest).toBe(layer.digest);
    const missing = await repository.manifest("2", { signal }).catch(String);
    expect(missing).toContain("manifest unknown: manifest unknown");
  });
  const elsewhere = { ...request, path: "c", alsoRead: ["a/b"] };
  await client.withRepository(elsewhere, async (repository) => {
    const mount = { digest: layer.digest, from: "a/b" };
    expect(await repository.mount({ ...mount, signal })).toBe(true);
    expect(await repository.blobSize(layer.digest, signal)).toBe(layer.size);
    expect(await repository.mount({ ...mount, from: "nowhere", signal })).toBe(false);
  });
});

test("login is accepted or refused as the registry says", async () => {
  await using registry = await startDebianRegistry({ username: "rex", password: "bone" });
  const client = openRegistryClient();
  const serverAddress = registry.host;
  await client.login({
    serverAddress,
    credentials: { username: "rex", password: "bone" },
    signal,
  });
  const wrong = client.login({
    serverAddress,
    credentials: { username: "rex", password: "cat" },
    signal,
  });
  const failure = await wrong.then(() => "accepted", String);
  expect(failure).toContain("401 Unauthorized");
});
