/** `docker tag`, `rmi`, `images` and `history`: what images are called, and who keeps them. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Digest, digestHex, digestOf } from "#oci";

import {
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
import { pathMatch } from "./list.ts";
import { barText } from "./progress.ts";

let lab: Lab;
beforeEach(() => {
  lab = openLab(newLabRoot());
});
afterEach(async () => {
  await lab.close();
});

/** Loads an image of layers with these bodies under these names. */
async function have(bodies: readonly string[], names: string[], config = {}): Promise<Digest> {
  const layers = await Promise.all(bodies.map((body, index) => layerTar(`f${index}`, body)));
  const text = configFor(layers.map(digestOf), config);
  const manifest = [
    { Config: "c", RepoTags: names, Layers: layers.map((_layer, index) => `l${index}`) },
  ];
  const archive = await tarOf([
    ...layers.map((layer, index) => [{ name: `l${index}` }, layer] as const),
    [{ name: "c" }, text],
    [{ name: "manifest.json" }, JSON.stringify(manifest)],
  ]);
  await lab.images.load({
    archive: streamOf(archive),
    quiet: true,
    signal: noSignal,
    onProgress: () => undefined,
  });
  return digestOf(text);
}
const remove = (name: string, { force = false } = {}) =>
  lab.images.remove({ name, force, prune: true });
const short = (id: Digest): string => digestHex(id).slice(0, 12);
const layerFiles = (): string[] =>
  readdirSync(join(lab.root, "layers")).filter((name) => name.endsWith(".layer"));

describe("names", () => {
  test("mean an image by tag, whole id, or the beginning of one id", async () => {
    const id = await have(["one"], ["app:latest"]);
    for (const name of [
      "app",
      "app:latest",
      "docker.io/library/app",
      id,
      digestHex(id),
      short(id),
      id.slice(0, 15),
    ]) {
      expect(lab.images.resolve(name).id).toBe(id);
    }
    expect(() => lab.images.resolve("app:2")).toThrow("No such image: app:2");
    expect(() => lab.images.resolve("x/y")).toThrow("No such image: x/y:latest");
    expect(() => lab.images.resolve(digestOf("x"))).toThrow(`No such image: ${digestOf("x")}`);
    expect(() => lab.images.resolve("App")).toThrow("must be lowercase");
  });

  test("a beginning of two ids means neither", async () => {
    const ids: Digest[] = [];
    for (let index = 0; index < 17; index += 1)
      ids.push(await have(["one"], [], { author: `${index}` }));
    const firsts = ids.map((id) => digestHex(id).slice(0, 1));
    const twice = firsts.find((digit, index) => firsts.indexOf(digit) !== index) ?? "";
    expect(() => lab.images.resolve(twice)).toThrow(/^No such image: /);
  });

  test("a tag goes to another image; bad tags are refused", async () => {
    const id = await have(["one"], ["app:latest"]);
    lab.images.tag({ source: "app", repository: "example.org:5000/team/app", tag: "v1" });
    expect(lab.images.resolve("example.org:5000/team/app:v1").id).toBe(id);
    expect(lab.images.resolve(id).lastTagged).toBeInstanceOf(Date);
    expect(() => lab.images.tag({ source: "app", repository: "x", tag: "-" })).toThrow(
      "invalid tag",
    );
    expect(() => lab.images.tag({ source: "app", repository: `x@${id}`, tag: "" })).toThrow(
      "refusing to create a tag with a digest reference",
    );
    expect(() => lab.images.tag({ source: "no", repository: "x", tag: "" })).toThrow(
      "No such image",
    );
    expect(lab.events.at(-1)).toMatchObject({ action: "tag", actorId: id });
  });
});

describe("rmi", () => {
  test("removes a name, and with the last name the image and its layers", async () => {
    const id = await have(["one", "two"], ["app:1", "app:2"]);
    expect(await remove("app:1")).toEqual([{ untagged: "app:1" }]);
    const deleted = await remove("app:2");
    expect(deleted.slice(0, 2)).toEqual([{ untagged: "app:2" }, { deleted: id }]);
    expect(deleted.length).toBe(4);
    expect(layerFiles()).toEqual([]);
    expect(lab.content.list()).toEqual([]);
    expect(lab.events.map(({ action }) => action)).toEqual(["load", "untag", "untag", "delete"]);
    expect(await messageOf(remove("app:2"))).toBe("No such image: app:2");
  });

  test("keeps the layers that another image has", async () => {
    const both = await have(["one", "two"], ["both:latest"]);
    await have(["one"], ["single:latest"]);
    const deleted = await remove(both);
    expect(deleted.length).toBe(3);
    expect(layerFiles().length).toBe(1);
  });

  test("by id refuses an image with names in two repositories, unless forced", async () => {
    const id = await have(["one"], ["a:1", "b:1"]);
    expect(await messageOf(remove(id))).toBe(
      `conflict: unable to delete ${short(id)} (must be forced) - image is referenced in multiple repositories`,
    );
    expect(await remove(short(id), { force: true })).toContainEqual({ deleted: id });
    expect(lab.images.list()).toEqual([]);
  });

  test("refuses the image of a container in Docker's words", async () => {
    const id = await have(["one"], ["app:latest"]);
    const user = "f".repeat(64);
    lab.users.set(id, [{ id: user, running: false }]);
    expect(await messageOf(remove("app"))).toBe(
      `conflict: unable to remove repository reference "app" (must force) - container ${"f".repeat(12)} is using its referenced image ${short(id)}`,
    );
    expect(await messageOf(remove(id))).toBe(
      `conflict: unable to delete ${short(id)} (must be forced) - image is being used by stopped container ${"f".repeat(12)}`,
    );
    lab.users.set(id, [{ id: user, running: true }]);
    expect(await messageOf(remove(id, { force: true }))).toBe(
      `conflict: unable to delete ${short(id)} (cannot be forced) - image is being used by running container ${"f".repeat(12)}`,
    );
    // By name and forced, the name goes and the image stays without one.
    expect(await remove("app", { force: true })).toEqual([{ untagged: "app:latest" }]);
    expect(lab.images.resolve(id).references).toEqual([]);
    expect(layerFiles().length).toBe(1);
    lab.users.clear();
    expect(await remove(id)).toContainEqual({ deleted: id });
  });

  test("works on an image whose config is damaged, which is not listed", async () => {
    const id = await have(["one"], ["app:latest"]);
    writeFileSync(lab.content.pathOf(id), "{}");
    const again = openLabAgain();
    expect(again.images.list()).toEqual([]);
    expect(() => again.images.resolve("app")).toThrow("is damaged");
    expect(await again.images.remove({ name: "app", force: false, prune: true })).toContainEqual({
      deleted: id,
    });
  });
});

/** The same folder, as a daemon that was killed and started again finds it. */
function openLabAgain(): Lab {
  lab.store[Symbol.dispose]();
  lab = openLab(lab.root);
  return lab;
}

describe("after a crash", () => {
  test("images, names and layers are as they were, and what no record names is collected", async () => {
    const id = await have(["one"], ["app:latest"]);
    const stray = await layerTar("stray", "x");
    await lab.layers.write({ source: streamOf(stray) });
    await lab.content.writeDocument(new TextEncoder().encode("stray"));
    openLabAgain();
    expect(lab.layers.list().length).toBe(2);
    const collected = await lab.gc.collect();
    expect(collected).toMatchObject({ layers: [digestOf(stray)], blobs: [digestOf("stray")] });
    expect(lab.images.resolve("app").id).toBe(id);
    expect(layerFiles().length).toBe(1);
  });
});

describe("images", () => {
  test("are listed newest first, filtered by name, label, date and dangling", async () => {
    await have(["one"], ["old:1", "team/old:2"], { created: "2020-01-01T00:00:00Z" });
    await have(["one", "two"], ["new:1"], {
      created: "2024-01-01T00:00:00Z",
      config: { Labels: { k: "v" } },
    });
    const nameless = await have(["two"], [], { created: "2022-01-01T00:00:00Z" });
    const names = (...[filters]: Parameters<typeof lab.images.list>) =>
      lab.images.list(filters).map(({ references, id }) => references.join() || short(id));
    const old = "docker.io/library/old:1,docker.io/team/old:2";
    expect(names()).toEqual(["docker.io/library/new:1", short(nameless), old]);
    expect(names({ dangling: true })).toEqual([short(nameless)]);
    expect(names({ dangling: false })).toEqual(["docker.io/library/new:1", old]);
    expect(names({ labels: ["k"] })).toEqual(["docker.io/library/new:1"]);
    expect(names({ labels: ["k=v"] })).toEqual(["docker.io/library/new:1"]);
    expect(names({ labels: ["k=w"] })).toEqual([]);
    expect(names({ references: ["*/old"] })).toEqual(["docker.io/team/old:2"]);
    expect(names({ references: ["n*:?"] })).toEqual(["docker.io/library/new:1"]);
    expect(names({ before: "new:1" })).toEqual([short(nameless), old]);
    expect(names({ since: "old:1" })).toEqual(["docker.io/library/new:1", short(nameless)]);
    expect(names({ until: new Date("2021-01-01") })).toEqual([old]);
    expect(() => names({ before: "nosuch" })).toThrow("No such image: nosuch:latest");
  });

  test("tell their history, empty layers without a size", async () => {
    const history = [
      { created: "2024-01-01T00:00:00Z", created_by: "ADD" },
      { created_by: "ENV", empty_layer: true, comment: "c" },
      { created_by: "RUN" },
    ];
    const id = await have(["one", "four"], ["app:latest"], { history });
    expect(lab.images.history("app")).toMatchObject([
      { id, createdBy: "RUN", sizeBytes: 4, tags: ["app:latest"] },
      { id: "<missing>", createdBy: "ENV", sizeBytes: 0, comment: "c" },
      { id: "<missing>", createdBy: "ADD", sizeBytes: 3, created: new Date("2024-01-01") },
    ]);
  });
});

test("patterns match as Go's path.Match does", () => {
  const cases: [string, string, boolean][] = [
    ["busybox", "busybox", true],
    ["busy*", "busybox:latest", true],
    ["*", "a/b", false],
    ["*/*", "a/b", true],
    ["a?", "ab", true],
    ["[a-c]x", "bx", true],
    ["[^a-c]x", "bx", false],
    ["a.b", "axb", false],
    ["a\\*", "a*", true],
    ["a+", "a+", true],
  ];
  for (const [pattern, text, isMatch] of cases) expect(pathMatch(pattern)(text)).toBe(isMatch);
});

test("a bar is fifty columns wide", () => {
  expect(barText(0, 1000)).toBe(`[>${" ".repeat(50)}]       0B/1kB`);
  expect(barText(500, 1000)).toBe(`[${"=".repeat(25)}>${" ".repeat(25)}]     500B/1kB`);
  expect(barText(1_234_567, 1_234_567)).toBe(`[${"=".repeat(50)}>]  1.235MB/1.235MB`);
  expect(barText(1234, 0)).toBe(" 1.234kB");
});
