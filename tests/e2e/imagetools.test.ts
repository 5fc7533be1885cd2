/** `docker buildx imagetools` and `docker manifest` on what this engine pushed, and the engine on what they made. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { addBuildx } from "./buildx.ts";
import { type Engine, startEngine } from "./engine.ts";
import { archiveOf, HERE, layoutOf, OTHER } from "./platform-images.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;
const here = `linux/${HERE}`;
const other = `linux/${OTHER}`;
/** It came in an OCI layout, and goes as it came. */
const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

beforeAll(async () => {
  engine = await startEngine();
  addBuildx(engine);
  registry = await startRegistry(engine.root);
  for (const platform of [here, other]) {
    const [, architecture = ""] = platform.split("/");
    const name = `docker.io/library/one:${architecture}`;
    const layout = await layoutOf({ name, platforms: [platform], attested: platform === here });
    await engine.ok(["load", "-q"], { stdin: archiveOf(layout) });
    await engine.ok(["tag", `one:${architecture}`, `${registry.host}/one:${architecture}`]);
    // One platform alone goes as a manifest, not as an index.
    await engine.ok(["push", "-q", "--platform", platform, `${registry.host}/one:${architecture}`]);
  }
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

interface Manifest {
  mediaType: string;
  digest: string;
  manifests?: { mediaType: string; digest: string; platform: { architecture: string } }[];
  config?: { digest: string };
}
const imagetools = (...args: string[]) => engine.ok(["buildx", "imagetools", ...args]);
const inspect = async (name: string): Promise<Manifest> =>
  JSON.parse(await imagetools("inspect", "--format", "{{json .Manifest}}", name)) as Manifest;
const architectures = ({ manifests = [] }: Manifest): string[] =>
  manifests.map(({ platform }) => platform.architecture).toSorted();

/** Pulls one name for both platforms, and runs what came. */
async function runBoth(name: string): Promise<void> {
  for (const platform of [other, here]) {
    await engine.ok(["pull", "-q", "--platform", platform, name]);
    expect(await engine.ok(["run", "--rm", "--platform", platform, name])).toBe(platform);
  }
  await engine.ok(["rmi", name]);
}

test("inspect tells of an image that was pushed what the engine tells of it", async () => {
  const name = `${registry.host}/one:${HERE}`;
  const told = await inspect(name);
  expect(told.mediaType).toBe(OCI_MANIFEST);
  const raw = JSON.parse(await imagetools("inspect", "--raw", name)) as Manifest;
  expect(raw.config?.digest).toBe(
    await engine.ok(["image", "inspect", "-f", "{{.Id}}", `one:${HERE}`]),
  );
  const config = JSON.parse(await imagetools("inspect", "--format", "{{json .Image}}", name)) as {
    architecture: string;
    config: { Labels: { for: string } };
  };
  expect([config.architecture, config.config.Labels.for]).toEqual([HERE, here]);
  const answer = await engine.fetch(`/v1.51/distribution/${name}/json`);
  expect(await answer.json()).toMatchObject({
    Descriptor: { mediaType: told.mediaType, digest: told.digest },
  });
});

test("create makes an index of two images that were pushed; the engine pulls, pushes and extends it", async () => {
  const [list, copy] = [`${registry.host}/made:1`, `${registry.host}/copied:1`];
  const sources = [HERE, OTHER].map((architecture) => `${registry.host}/one:${architecture}`);
  expect(await imagetools("create", "--dry-run", "-t", list, ...sources)).toContain("manifests");
  await imagetools("create", "-t", list, ...sources);
  const made = await inspect(list);
  expect(architectures(made)).toEqual([HERE, OTHER].toSorted());
  for (const platform of [here, other]) {
    await engine.ok(["pull", "-q", "--platform", platform, list]);
  }
  await engine.ok(["tag", list, copy]);
  await engine.ok(["push", "-q", copy]);
  // Whole, with nothing changed.
  expect(await inspect(copy)).toEqual(made);
  await engine.ok(["rmi", list, copy]);
  await runBoth(copy);
  const appended = `${registry.host}/appended:1`;
  await imagetools("create", "-t", appended, sources[0] ?? "");
  await imagetools("create", "--append", "-t", appended, sources[1] ?? "");
  await runBoth(appended);
});

test("manifest create, annotate, inspect and push do the same; imagetools copies the list", async () => {
  const list = `${registry.host}/listed:1`;
  const [own = "", foreign = ""] = [HERE, OTHER].map((one) => `${registry.host}/one:${one}`);
  await engine.ok(["manifest", "create", "--insecure", list, own, foreign]);
  await engine.ok(["manifest", "annotate", "--os-features", "x", list, own]);
  const kept = JSON.parse(await engine.ok(["manifest", "inspect", list])) as Manifest;
  expect(architectures(kept)).toEqual([HERE, OTHER].toSorted());
  const pushed = await engine.ok(["manifest", "push", "--insecure", "--purge", list]);
  const copy = `${registry.host}/listed:copy`;
  await imagetools("create", "-t", copy, list);
  const copied = await inspect(copy);
  expect(copied.digest).toBe(pushed.split("\n").at(-1) ?? "");
  expect(copied.mediaType).toBe("application/vnd.oci.image.index.v1+json");
  await runBoth(list);
});

test("an index with its attestation is inspected with what it attests", async () => {
  const name = `${registry.host}/attested:1`;
  await engine.ok(["tag", `one:${HERE}`, name]);
  await engine.ok(["push", "-q", name]);
  const { manifests = [] } = await inspect(name);
  expect(manifests).toHaveLength(2);
  expect(await imagetools("inspect", name)).toContain("vnd.docker.reference.type:");
  await engine.ok(["rmi", name]);
});
