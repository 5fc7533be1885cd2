/** What the engine keeps of images, through the real docker CLI: prune, filters, disk use, platforms, trees. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

let engine: Engine;
let folder: string;

beforeAll(async () => {
  engine = await startEngine();
  folder = mkdtempSync("/tmp/naru-test-store-");
});
afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

/** A small image of its own content. */
async function makeImage(name: string, ...flags: string[]): Promise<string> {
  const file = join(folder, "content");
  writeFileSync(file, crypto.randomUUID().repeat(1000));
  const tar = Bun.spawnSync(["tar", "-C", folder, "-c", "content"]).stdout;
  const id = await engine.ok(["import", ...flags, "-", ...(name === "" ? [] : [name])], {
    stdin: new Uint8Array(tar),
  });
  return id.split("\n").at(-1) ?? "";
}
const names = async (...args: string[]): Promise<string[]> =>
  (await engine.ok(["images", "--format", "{{.Repository}}", ...args]))
    .split("\n")
    .filter((name) => name !== "")
    .toSorted();

describe("prune", () => {
  /** A container that keeps its image from being pruned. */
  let keeper = "";

  test("takes dangling images, with -a all that no container uses, and tells the bytes", async () => {
    const dangling = await makeImage("");
    await makeImage("unused");
    await makeImage("used", "--change", "CMD x");
    const container = await engine.ok(["create", "used", "/content"]);
    const first = await engine.ok(["image", "prune", "-f"]);
    expect(first).toContain(`deleted: ${dangling}`);
    expect(first).toContain("Total reclaimed space: 36kB");
    expect(await names()).toEqual(["busybox", "unused", "used"]);
    expect(await engine.ok(["image", "prune", "-f"])).toBe("Total reclaimed space: 0B");
    keeper = await engine.ok(["create", "busybox", "true"]);
    const preview = await engine.naru(["image", "prune", "-a", "--dry-run"]);
    expect(preview.stdout).toStartWith("Would delete Images:\nunused:latest\n\nTotal space");
    expect(await names()).toEqual(["busybox", "unused", "used"]);
    const second = await engine.ok(["image", "prune", "-af"]);
    expect(second).toContain("untagged: unused:latest");
    expect(await names()).toEqual(["busybox", "used"]);
    await engine.ok(["rm", container]);
    await engine.ok(["rmi", "used"]);
  });

  test("label, label! and until choose", async () => {
    await makeImage("red", "--change", "LABEL colour=red");
    await makeImage("blue", "--change", "LABEL colour=blue");
    const prune = (...filters: string[]) =>
      engine.ok(["image", "prune", "-af", ...filters.flatMap((text) => ["--filter", text])]);
    await prune("until=10m");
    await prune("label=colour=green");
    expect(await names()).toEqual(["blue", "busybox", "red"]);
    await prune("label=colour", "label!=colour=blue");
    expect(await names()).toEqual(["blue", "busybox"]);
    await prune("label=colour=blue");
    expect(await names()).toEqual(["busybox"]);
    await engine.ok(["rm", keeper]);
    const refused = await engine.docker(["image", "prune", "-f", "--filter", "size=1"]);
    expect(refused.stderr).toContain("invalid filter 'size'");
  });
});

describe("list", () => {
  test("filters by dangling, label, reference, before, since and until", async () => {
    await makeImage("first", "--change", "LABEL a=1");
    await makeImage("second");
    const dangling = await makeImage("");
    const ids = (...args: string[]) => engine.ok(["images", "-q", "--no-trunc", ...args]);
    expect(await ids("-f", "dangling=true")).toBe(dangling);
    expect(await names("-f", "dangling=false")).toEqual(["busybox", "first", "second"]);
    expect(await names("-f", "label=a=1")).toEqual(["first"]);
    expect(await names("-f", "reference=*irs*")).toEqual(["first"]);
    expect(await names("-f", "since=first", "-f", "dangling=false")).toEqual(["second"]);
    expect(await names("-f", "before=first")).toEqual(["busybox"]);
    expect(await names("-f", "until=1h")).toEqual([]);
    await engine.ok(["rmi", "first", "second", dangling]);
  });

  test("--tree shows each image with its platform, its containers and what it takes", async () => {
    const container = await engine.ok(["create", "busybox", "true"]);
    const tree = await engine.ok(["image", "ls", "--tree"]);
    expect(tree).toContain("busybox:latest");
    expect(tree).toMatch(/linux\/(amd64|arm64)/);
    const answer = await engine.fetch("/v1.51/images/json?manifests=1&shared-size=1");
    const [image] = (await answer.json()) as Record<string, unknown>[];
    expect(image).toMatchObject({
      Containers: 1,
      SharedSize: 0,
      Manifests: [{ Available: true, Kind: "image", ImageData: { Containers: [container] } }],
    });
    await engine.ok(["rm", container]);
  });
});

describe("platforms", () => {
  test("inspect, history, save and load choose one, and refuse another in Docker's words", async () => {
    const here = process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
    const path = join(folder, "saved.tar");
    await engine.ok(["image", "inspect", "--platform", here, "busybox"]);
    await engine.ok(["history", "--platform", here, "busybox"]);
    await engine.ok(["save", "--platform", here, "-o", path, "busybox"]);
    for (const command of [
      ["image", "inspect", "--platform", "linux/s390x", "busybox"],
      ["history", "--platform", "linux/s390x", "busybox"],
      ["save", "--platform", "linux/s390x", "-o", join(folder, "none.tar"), "busybox"],
    ]) {
      const refused = await engine.docker(command);
      expect(refused.code).toBe(1);
      expect(refused.stderr).toContain("linux/s390x");
    }
    const wrong = await engine.docker(["load", "--platform", "linux/s390x", "-i", path]);
    expect(wrong.stdout + wrong.stderr).toContain("linux/s390x");
    await engine.ok(["load", "--platform", here, "-i", path]);
    await engine.ok(["tag", "busybox", "mine:1"]);
    const other = await engine.docker(["rmi", "--platform", "linux/s390x", "mine:1"]);
    expect(other.stderr).toContain("does not match the specified platform (linux/s390x)");
    const two = encodeURIComponent('{"os":"linux","architecture":"amd64"}');
    const both = await engine.fetch(`/v1.51/images/mine:1?platforms=${two}&platforms=${two}`, {
      method: "DELETE",
    });
    expect(both.status).toBe(400);
    const rmi = await engine.ok(["rmi", "--platform", here, "mine:1"]);
    expect(rmi).toBe("Untagged: mine:1");
  });
});

describe("archives", () => {
  test("bzip2 and xz are read by import, load and cp", async () => {
    const saved = join(folder, "plain.tar");
    await engine.ok(["save", "-o", saved, "busybox"]);
    const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
    writeFileSync(join(folder, "packed"), "packed content");
    for (const program of ["bzip2", "xz"]) {
      const small = Bun.spawnSync(["tar", "-C", folder, "-c", "packed"]).stdout;
      const stdin = Uint8Array.from(Bun.spawnSync([program, "-c"], { stdin: small }).stdout);
      await engine.ok(["import", "-", `from-${program}`], { stdin });
      await engine.ok(["exec", id, "mkdir", `/${program}`]);
      await engine.ok(["cp", "-", `${id}:/${program}`], { stdin });
      expect(await engine.ok(["exec", id, "cat", `/${program}/packed`])).toBe("packed content");
      await engine.ok(["rmi", `from-${program}`]);
      await run([program, "-kf", saved]);
      const loaded = await engine.ok(["load", "-i", `${saved}.${program === "xz" ? "xz" : "bz2"}`]);
      expect(loaded).toContain("Loaded image: busybox:latest");
    }
    await engine.ok(["rm", "-f", id]);
  });
});

describe("search", () => {
  test("asks the registry that is named, and tells when it has no search", async () => {
    const asked: string[] = [];
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        const url = new URL(request.url);
        if (url.pathname !== "/v1/search") return new Response("{}", { status: 404 });
        asked.push(url.search);
        if (url.searchParams.get("q") === "nothing") return new Response("", { status: 404 });
        const one = { name: "team/web", description: "a web server", star_count: 7 };
        return Response.json({
          results: [one, { ...one, name: "web", is_official: true, star_count: 1 }],
        });
      },
    });
    const host = `127.0.0.1:${server.port}`;
    const format = ["--format", "{{.Name}} {{.Description}} {{.StarCount}} {{.IsOfficial}}"];
    expect(await engine.ok(["search", ...format, "--limit", "5", `${host}/web`])).toBe(
      "team/web a web server 7 \nweb a web server 1 [OK]",
    );
    expect(asked).toEqual(["?q=web&n=5"]);
    expect(await engine.ok(["search", ...format, "-f", "stars=3", `${host}/web`])).not.toContain(
      "OK",
    );
    expect(
      await engine.ok(["search", ...format, "-f", "is-official=true", `${host}/web`]),
    ).toStartWith("web");
    const none = await engine.docker(["search", `${host}/nothing`]);
    expect(none.stderr).toContain("Unexpected status code 404");
    for (const words of [[], ["--no-trunc"], ["--format", "json"], ["-f", "is-official=true"]]) {
      const command = ["search", ...words, `${host}/web`];
      const [docker, ours] = [await engine.docker(command), await engine.naru(command)];
      expect(ours.stdout).toBe(docker.stdout);
    }
    const much = await engine.docker(["search", "--limit", "1000", `${host}/web`]);
    expect(much.stderr).toContain("outside the range of [1, 100]");
  });
});

describe("system df", () => {
  test("tells what images, containers and volumes take, shared layers once", async () => {
    const id = await engine.ok([
      "run",
      "-d",
      "-v",
      "kept:/data",
      "busybox",
      "sh",
      "-c",
      "dd if=/dev/zero of=/big bs=1M count=2 2>/dev/null; dd if=/dev/zero of=/data/v bs=1M count=3 2>/dev/null; sync; sleep 1000",
    ]);
    await engine.ok(["exec", id, "sh", "-c", "until [ -s /data/v ] && sync; do :; done; sync"]);
    await engine.ok(["commit", id, "child"]);
    const table = await engine.ok(["system", "df"]);
    expect(table).toMatch(/^Images +2 +1 /m);
    expect(table).toMatch(/^Containers +1 +1 +2\.\d+MB/m);
    expect(table).toMatch(/^Local Volumes +1 +1 +3\.\d+MB/m);
    expect(table).toMatch(/^Build Cache +0 +0 +0B/m);
    const usage = (await (await engine.fetch("/v1.51/system/df")).json()) as {
      LayersSize: number;
      Images: { RepoTags: string[]; Size: number; SharedSize: number; Containers: number }[];
      Containers: { SizeRw: number; SizeRootFs: number }[];
    };
    const of = (name: string) => usage.Images.find(({ RepoTags: tags }) => tags.includes(name));
    const [base, child] = [of("busybox:latest"), of("child:latest")];
    expect(base?.SharedSize).toBe(base?.Size ?? -1);
    expect(child?.SharedSize).toBe(base?.Size ?? -1);
    expect(usage.LayersSize).toBe(child?.Size ?? -1);
    expect([base?.Containers, child?.Containers]).toEqual([1, 0]);
    const [container] = usage.Containers;
    expect((container?.SizeRootFs ?? 0) - (container?.SizeRw ?? 0)).toBe(base?.Size ?? -1);
    for (const words of [
      ["system", "df"],
      ["system", "df", "-v"],
      ["system", "df", "--format", "{{.Type}}: {{.Reclaimable}}"],
      ["system", "df", "--format", "json"],
    ]) {
      // A size that changes between the two calls would be a container that writes: it does not.
      const [docker, ours] = [await engine.docker(words), await engine.naru(words)];
      const ages = (text: string) =>
        text.replaceAll(/Less than a second|About a minute|\d+ (?:seconds?|minutes?)/g, "a while");
      expect(ages(ours.stdout).replaceAll(/ +/g, " ")).toBe(
        ages(docker.stdout).replaceAll(/ +/g, " "),
      );
    }
    const one = await (await engine.fetch("/v1.51/system/df?type=volume")).json();
    expect(Object.keys(one as object)).toEqual(["Volumes"]);
    expect((await engine.fetch("/v1.51/system/df?type=nonsense")).status).toBe(400);
    expect(await engine.ok(["ps", "-s", "--format", "{{.Size}}"])).toMatch(/^2\.\d+MB \(virtual /);
    expect(Number(await engine.ok(["inspect", "-s", "-f", "{{.SizeRw}}", id]))).toBeGreaterThan(
      2e6,
    );
    await engine.ok(["rm", "-fv", id]);
    await engine.ok(["rmi", "child"]);
  });
});

test("the JSON of every answer was Docker's", () => {
  expect(engine.violations()).toEqual([]);
});
