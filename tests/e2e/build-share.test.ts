/** Build caches that travel: `--cache-to` on one engine, `--cache-from` on another that has nothing. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { addBuildx, built } from "./buildx.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";

let first: Engine;
let second: Engine;
let registry: Registry;

beforeAll(async () => {
  first = await startEngine();
  second = await startEngine({ images: [] });
  // The same image, not the same files imported twice.
  const base = join(first.root, "busybox.tar");
  await first.ok(["save", "-o", base, "busybox"]);
  await second.ok(["load", "-i", base]);
  registry = await startRegistry(first.root);
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  for (const engine of [first, second]) {
    expect(engine.violations()).toEqual([]);
    await engine[Symbol.asyncDispose]();
  }
});

type Files = Record<string, string | Uint8Array>;

const build = (engine: Engine, files: Files, args: readonly string[]) =>
  engine.naru(["build", "--progress", "plain", ...args, writeContext(engine, files)]);

function okay({ code, stdout, stderr }: Finished): string {
  if (code !== 0) throw new Error(stdout + stderr);
  return stderr + stdout;
}

const fileIn = (engine: Engine, image: string, path: string) =>
  engine.ok(["run", "--rm", "--network", "none", image, "cat", path]);
const idOf = (engine: Engine, image: string) => engine.ok(["inspect", "-f", "{{.Id}}", image]);

/** Differs each time it is executed: the same file on two engines was made once. */
const RANDOM = "head -c 16 /dev/urandom | od -An -x";

/** A stage that the image does not contain, and one that reads it in both ways. */
const staged = (name: string): Files => ({
  Dockerfile: [
    "FROM busybox AS tools",
    `RUN ${RANDOM} > /tool; echo ${name}`,
    "FROM busybox",
    "WORKDIR /app",
    "COPY --from=tools /tool /app/tool",
    "COPY given /app/given",
    "ENV A=1",
    `RUN --mount=from=tools,target=/t cat /t/tool /app/given > /both; ${RANDOM} > /made`,
    'CMD ["cat", "/made"]',
  ].join("\n"),
  given: "given\n",
});

const layersOf = (engine: Engine): Set<string> =>
  new Set(readdirSync(join(engine.dataRoot, "layers")));

describe.each(["min", "max"] as const)("a cache of mode=%s", (mode) => {
  const places: [string, () => { to: string; from: string }][] = [
    [
      "at a registry",
      () => {
        const ref = `${registry.host}/cache:${mode}`;
        return { to: `type=registry,ref=${ref},mode=${mode}`, from: `type=registry,ref=${ref}` };
      },
    ],
    [
      "in a folder",
      () => {
        const folder = join(first.root, `cache-${mode}`);
        return { to: `type=local,dest=${folder},mode=${mode}`, from: `type=local,src=${folder}` };
      },
    ],
  ];
  test.each(places)(
    "%s: an engine that has nothing runs nothing, and makes the same image",
    async (place, refs) => {
      const tag = `app-${mode}-${place.split(" ").at(-1)}`;
      const files = staged(tag);
      const { to, from } = refs();
      okay(await build(first, files, ["-t", tag, "--cache-to", to]));
      const before = layersOf(second);
      const told = okay(await build(second, files, ["-t", tag, "--cache-from", from]));
      expect(told).not.toContain("Warning");
      expect(told.match(/ CACHED$/gm)?.length).toBe(7);
      expect(await fileIn(second, tag, "/made")).toBe(await fileIn(first, tag, "/made"));
      expect(await fileIn(second, tag, "/both")).toBe(await fileIn(first, tag, "/both"));
      expect(await idOf(second, tag)).toBe(await idOf(first, tag));
      // The other stage's layer is not even fetched.
      const own = await second.ok(["inspect", "-f", "{{json .RootFS.Layers}}", tag]);
      const fetched = [...layersOf(second)].filter((name) => !before.has(name));
      expect(fetched.length).toBeGreaterThan(0);
      for (const name of fetched) expect(own).toContain(/[0-9a-f]{64}/.exec(name)?.[0] ?? name);
    },
  );
});

/** A cache in a folder of the first engine. @returns the folder, with the documents of its newest manifest */
async function exported(name: string, files: Files, args: readonly string[] = []) {
  const folder = join(first.root, name);
  const to = `type=local,dest=${folder},mode=max`;
  okay(await build(first, files, ["-t", name, "--cache-to", to, ...args]));
  const blob = (digest: string) => join(folder, "blobs/sha256", digest.replace("sha256:", ""));
  const read = (path: string) => JSON.parse(readFileSync(path, "utf8")) as Document;
  const manifest = blob(read(join(folder, "index.json")).manifests[0]?.digest ?? "");
  return { folder, blob, manifest, config: blob(read(manifest).config.digest), read };
}
interface Document {
  manifests: { digest: string; size: number }[];
  config: { digest: string; size: number; mediaType: string };
  layers: { digest: string; size: number; mediaType: string }[];
}

const random = (name: string): Files => ({
  Dockerfile: `FROM busybox\nRUN ${RANDOM} > /made; echo ${name}\nRUN cp /made /again\nCOPY given /given\n`,
  given: "given\n",
});

test("the cache of an image, by way of the docker CLI: only what differs is made", async () => {
  const LEGACY = { env: { DOCKER_BUILDKIT: "0" } };
  const ref = `${registry.host}/inline:1`;
  const inline = ["--build-arg", "BUILDKIT_INLINE_CACHE=1"];
  const files = random("inline");
  await first.ok(["build", "-t", ref, ...inline, writeContext(first, files)], LEGACY);
  await first.ok(["push", ref]);
  const again = writeContext(second, { ...files, given: "changed\n" });
  const told = await second.ok(["build", "-t", "inline", "--cache-from", ref, again], LEGACY);
  expect(told.match(/ ---> Using cache$/gm)?.length).toBe(2);
  expect(await fileIn(second, "inline", "/again")).toBe(await fileIn(first, ref, "/made"));
  expect(await fileIn(second, "inline", "/given")).toBe("changed");
  const own = okay(await build(first, random("own"), ["-t", "own", "--cache-to", "type=inline"]));
  expect(own).toContain("Successfully tagged own:latest");
  const base = join(first.root, "own.tar");
  await first.ok(["save", "-o", base, "own"]);
  await second.ok(["load", "-i", base]);
  okay(await build(second, random("own"), ["-t", "again", "--cache-from", "own"]));
  expect(await fileIn(second, "again", "/made")).toBe(await fileIn(first, "own", "/made"));
});

test("what another engine's cache says counts in the build that names it only", async () => {
  const files = random("trust");
  const { folder } = await exported("trust", files);
  okay(await build(second, files, ["-t", "trust", "--cache-from", `type=local,src=${folder}`]));
  expect(await fileIn(second, "trust", "/made")).toBe(await fileIn(first, "trust", "/made"));
  okay(await build(second, files, ["-t", "alone"]));
  expect(await fileIn(second, "alone", "/made")).not.toBe(await fileIn(first, "trust", "/made"));
});

test("a layer that is not what the cache promised is made instead", async () => {
  const files = random("broken");
  const { folder, blob, manifest, read } = await exported("broken", files);
  for (const { digest } of read(manifest).layers) {
    const bytes = readFileSync(blob(digest));
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    writeFileSync(blob(digest), bytes);
  }
  const from = ["--cache-from", `type=local,src=${folder}`];
  const told = okay(await build(second, files, ["-t", "broken", ...from]));
  expect(told).toContain("[Warning] a cached layer could not be had");
  expect(await fileIn(second, "broken", "/given")).toBe("given");
  expect(await fileIn(second, "broken", "/made")).not.toBe(await fileIn(first, "broken", "/made"));
});

test("a cache that is missing, foreign or hostile is told, and the build goes on", async () => {
  const files = random("hostile");
  const { folder, blob, manifest, config, read } = await exported("hostile", files);
  const document = read(manifest);
  const known = JSON.parse(readFileSync(config, "utf8")) as Record<string, unknown>;
  const put = (value: object | string) => {
    const bytes = typeof value === "string" ? value : JSON.stringify(value);
    const digest = `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
    writeFileSync(blob(digest), bytes);
    return { digest, size: bytes.length };
  };
  const use = (changed: object) =>
    writeFileSync(
      join(folder, "index.json"),
      JSON.stringify({ schemaVersion: 2, manifests: [{ mediaType: MANIFEST, ...put(changed) }] }),
    );
  const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
  const withConfig = (value: object | string) => () =>
    use({ ...document, config: { ...document.config, ...put(value) } });
  const member = "dev.naru.build.cache.v1";
  const self = { steps: "x".repeat(10), inputs: [] };
  const cases: [() => void, string][] = [
    [
      () =>
        use({ ...document, config: { ...document.config, digest: `sha256:${"0".repeat(64)}` } }),
      "is not there",
    ],
    [withConfig({ layers: [], records: [] }), "the cache was written by another builder"],
    [withConfig({ ...known, [member]: self }), "invalid build cache"],
    [
      withConfig({ ...known, [member]: { steps: [["../../etc", "", 0]], inputs: [] } }),
      "a record is none",
    ],
    [withConfig("[".repeat(100_000)), "nested too deeply"],
    [withConfig("x".repeat(9 * 1024 * 1024)), "is larger than"],
    [() => writeFileSync(config, "{}"), "is not sha256:"],
    [
      () => use({ schemaVersion: 2, manifests: [], mediaType: "text/plain" }),
      "unsupported manifest",
    ],
    [() => writeFileSync(join(folder, "index.json"), "{}"), "invalid"],
  ];
  const last = cases.length - 3;
  for (const [index, [make, sentence]] of cases.entries()) {
    if (index === last) use(document);
    make();
    const from = ["--cache-from", `type=local,src=${folder}`, "--check"];
    const told = okay(await build(second, files, from.slice(0, 2)));
    expect(told).toContain(`[Warning] failed to import the build cache ${folder}`);
    expect(told).toContain(sentence);
  }
  const nowhere = ["--cache-from", `${registry.host}/none:1`, "--cache-from", "127.0.0.1:1/x"];
  const told = okay(await build(second, files, nowhere));
  expect(told.match(/failed to import the build cache/g)?.length).toBe(2);
});

test("a cache that cannot be written fails the build, unless its errors are to be ignored", async () => {
  const files = random("unwritten");
  const to = `type=registry,ref=127.0.0.1:1/nothing`;
  const failed = await build(first, files, ["--cache-to", to]);
  expect(failed.code).not.toBe(0);
  const told = okay(await build(first, files, ["--cache-to", `${to},ignore-error=true`]));
  expect(told).toContain("[Warning] failed to export the build cache");
  writeFileSync(join(first.root, "no-folder"), "");
  const local = `type=local,dest=${join(first.root, "no-folder")}`;
  expect((await build(first, files, ["--cache-to", local])).stderr).toContain("no-folder");
  for (const wrong of ["type=gha", "type=nothing", "type=registry", "type=local,dest=x,mode=all"]) {
    expect((await build(first, files, ["--cache-to", wrong])).code).not.toBe(0);
  }
});

test("buildx reads a cache at a registry, and one in an image that it made", async () => {
  for (const engine of [first, second]) addBuildx(engine);
  const ref = `${registry.host}/buildx:cache`;
  const files = random("buildx");
  const folder = (engine: Engine) => writeContext(engine, files);
  okay(await build(first, files, ["-t", "bx", "--cache-to", ref]));
  const told = await built(second, ["-t", "bx", "--cache-from", ref, folder(second)]);
  expect(told.match(/ CACHED$/gm)?.length).toBeGreaterThanOrEqual(3);
  expect(await fileIn(second, "bx", "/made")).toBe(await fileIn(first, "bx", "/made"));
  const image = `${registry.host}/buildx:image`;
  await built(first, ["-t", image, "--no-cache", "--cache-to", "type=inline", folder(first)]);
  await first.ok(["push", image]);
  await built(second, ["-t", "again", "--cache-from", image, folder(second)]);
  expect(await fileIn(second, "again", "/made")).toBe(await fileIn(first, image, "/made"));
});
