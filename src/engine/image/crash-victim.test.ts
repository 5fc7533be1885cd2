/** SIGKILL at every step of a pull and a load: afterwards an image is whole or not there, and nothing is left over. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { digestHex, digestOf, MEDIA_TYPE } from "#oci";

import { configFor, type Lab, layerTar, newLabRoot, openLab, tarOf } from "./image-lab.ts";
import { type SmallRegistry, startSmallRegistry } from "./small-registry.ts";

let root: string;
let registry: SmallRegistry;
beforeEach(() => {
  root = newLabRoot();
  registry = startSmallRegistry();
});
afterEach(() => {
  registry[Symbol.dispose]();
});

const BODIES = ["a", "b", "c"].map((letter) => letter.repeat(400_000));

/** Runs the victim, kills it when its `fatalLine`th line comes, and tells whether it had come to its end. */
async function killAt(fatalLine: number, work: "pull" | "load", subject: string): Promise<boolean> {
  const victim = Bun.spawn(
    [process.execPath, join(import.meta.dir, "crash-victim.ts"), root, work, subject],
    { stdout: "pipe", stderr: "inherit" },
  );
  let count = 0;
  let isDone = false;
  const decoder = new TextDecoder();
  reading: for await (const chunk of victim.stdout) {
    for (const line of decoder.decode(chunk).split("\n").filter(Boolean)) {
      count += 1;
      isDone = line === "done";
      if (count >= fatalLine || isDone) break reading;
    }
  }
  victim.kill("SIGKILL");
  await victim.exited;
  return isDone;
}

/** What a daemon that starts again must find. */
async function check(lab: Lab): Promise<void> {
  await lab.gc.collect();
  const images = lab.images.list();
  const needed = new Set(images.flatMap(({ config }) => config.rootfs.diff_ids));
  for (const diffId of needed) {
    const bytes = await new Response(lab.layers.tar(diffId)).bytes();
    expect(digestOf(bytes)).toBe(diffId);
  }
  const files = readdirSync(join(root, "layers")).filter((name) => name.endsWith(".layer"));
  expect(files.sort()).toEqual([...needed].map((diffId) => `${digestHex(diffId)}.layer`).sort());
  expect(readdirSync(join(root, "content/ingest"))).toEqual([]);
  expect(lab.content.list().length).toBeLessThanOrEqual(images.length * 2);
}

async function everyStep(
  work: "pull" | "load",
  subject: string,
  isFinished: (lab: Lab) => boolean,
): Promise<void> {
  for (let fatalLine = 1; ; fatalLine += 1) {
    const isDone = await killAt(fatalLine, work, subject);
    const lab = openLab(root);
    await check(lab);
    if (isDone) {
      expect(isFinished(lab)).toBe(true);
      await lab.close();
      return;
    }
    for (const { id } of lab.images.list()) {
      await lab.images.remove({ name: id, force: true, prune: true });
    }
    await lab.layers.close();
    lab.store[Symbol.dispose]();
  }
}

test("a pull", async () => {
  const tars = await Promise.all(BODIES.map((body, index) => layerTar(`f${index}`, body)));
  const layers = tars.map((tar) => registry.addBlob(gzipSync(tar)));
  registry.addManifest("app:latest", {
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.dockerManifest,
    config: {
      mediaType: MEDIA_TYPE.dockerConfig,
      ...registry.addBlob(configFor(tars.map(digestOf))),
    },
    layers: layers.map((blob) => ({ mediaType: MEDIA_TYPE.dockerLayerGzip, ...blob })),
  });
  const name = `${registry.host}/app`;
  await everyStep(
    "pull",
    name,
    (lab) => lab.images.resolve(name).config.rootfs.diff_ids.length === 3,
  );
}, 60_000);

test("a load", async () => {
  const tars = await Promise.all(BODIES.map((body, index) => layerTar(`f${index}`, body)));
  const manifest = [
    { Config: "c", RepoTags: ["app:1"], Layers: tars.map((_tar, index) => `l${index}`) },
  ];
  const archive = await tarOf([
    ...tars.map((tar, index) => [{ name: `l${index}` }, tar] as const),
    [{ name: "c" }, configFor(tars.map(digestOf))],
    [{ name: "manifest.json" }, JSON.stringify(manifest)],
  ]);
  const path = join(root, "archive.tar");
  await Bun.write(path, archive);
  await everyStep("load", path, (lab) => lab.images.resolve("app:1").references.length === 1);
}, 60_000);
