/** `manifest`: both clients do the same with the same registry, and go on with what the other began. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";

import { comparable, wordsOf } from "./cli-compare.ts";
import { type Engine, startEngine } from "./engine.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;
beforeAll(async () => {
  engine = await startEngine();
  registry = await startRegistry(engine.root);
  for (const name of ["one:1", "two:1"]) {
    await engine.ok(["tag", "busybox", `${registry.host}/${name}`]);
    await engine.ok(["push", "-q", `${registry.host}/${name}`]);
  }
  await putAsOci("one", "1", "oci");
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

/** The same image under a manifest in the OCI's words. */
async function putAsOci(repository: string, from: string, to: string): Promise<void> {
  const manifests = `http://${registry.host}/v2/${repository}/manifests`;
  const docker = "application/vnd.docker.distribution.manifest.v2+json";
  const found = await fetch(`${manifests}/${from}`, { headers: { Accept: docker } });
  const text = (await found.text())
    .replaceAll(docker, "application/vnd.oci.image.manifest.v1+json")
    .replaceAll(
      "application/vnd.docker.container.image.v1+json",
      "application/vnd.oci.image.config.v1+json",
    )
    .replaceAll(
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.oci.image.layer.v1.tar+gzip",
    );
  const headers = { "Content-Type": "application/vnd.oci.image.manifest.v1+json" };
  const put = await fetch(`${manifests}/${to}`, { method: "PUT", body: text, headers });
  expect(put.status).toBe(201);
}

/** R is the registry; what a client keeps of lists is gone at the end. */
const LINES = [
  "manifest create --insecure R/list:1 R/one:1 R/two:1",
  "manifest create --insecure R/list:1 R/one:1",
  "manifest create --amend --insecure R/list:1 R/one:oci",
  "manifest create --insecure R/list:2 R/none:1",
  "manifest create --insecure R/list:2 R/UPPER",
  "manifest create --insecure R/UPPER R/one:1",
  "manifest create x",
  "manifest inspect R/list:1",
  "manifest inspect -v R/list:1",
  "manifest inspect R/list:1 R/one:1",
  "manifest inspect -v R/list:1 R/one:oci",
  "manifest inspect R/list:1 R/none:1",
  "manifest inspect --insecure R/one:1",
  "manifest inspect --insecure R/one:oci",
  "manifest inspect --insecure R/none:1",
  "manifest inspect",
  "manifest annotate --os linux --arch arm --variant v7 --os-features b,a --os-features a --os-version 1.2 R/list:1 R/two:1",
  "manifest annotate --arch arm64 R/list:1 R/one:oci",
  "manifest annotate --arch pdp11 R/list:1 R/one:1",
  "manifest annotate --arch arm R/list:1 R/none:1",
  "manifest annotate --arch arm R/none:1 R/one:1",
  "manifest annotate --nope R/none:1 R/one:1",
  "manifest inspect R/list:1",
  "manifest push --insecure R/list:1",
  "manifest push --insecure -p R/list:1",
  "manifest push --insecure R/list:1",
  "manifest inspect --insecure R/list:1",
  "manifest inspect --insecure -v R/list:1",
  "manifest create --insecure R/other:1 R/list:1",
  "manifest create --insecure R/one:many R/one:oci R/one:1",
  "manifest inspect R/one:many",
  "manifest push --insecure R/one:many",
  "manifest rm R/one:many R/none:1 R/UPPER",
  "manifest rm R/one:many",
  "manifest rm",
  "manifest nonsense",
];

/** A refused flag ends docker with 125, and so does it here; the words are compared by the table of the command line. */
test("every command says and does the same, step by step", async () => {
  const said: Record<"docker" | "naru", unknown[]> = { docker: [], naru: [] };
  for (const program of ["docker", "naru"] as const) {
    for (const line of LINES) {
      const words = wordsOf(line.replaceAll("R/", `${registry.host}/`));
      said[program].push([line, comparable(await engine[program](words))]);
    }
  }
  for (const [index, step] of said.naru.entries()) expect(step).toEqual(said.docker[index]);
});

test("what one client began the other goes on with, and the engine pulls the image of its platform", async () => {
  const [list, one] = [`${registry.host}/both:1`, `${registry.host}/one:1`];
  for (const [first, second] of [
    ["docker", "naru"],
    ["naru", "docker"],
  ] as const) {
    expect((await engine[first](["manifest", "create", "--insecure", list, one])).code).toBe(0);
    const annotated = await engine[second]([
      "manifest",
      "annotate",
      "--os-version",
      "1",
      list,
      one,
    ]);
    expect(annotated.code).toBe(0);
    const shown = JSON.parse((await engine[first](["manifest", "inspect", list])).stdout);
    expect(shown.manifests[0].platform).toEqual({
      architecture: "amd64",
      os: "linux",
      "os.version": "1",
    });
    const pushed = await engine[second](["manifest", "push", "--insecure", "--purge", list]);
    expect(pushed.stdout).toMatch(/\nsha256:[0-9a-f]{64}\n$/);
    expect((await engine[first](["manifest", "inspect", list, one])).code).toBe(1);
  }
  await engine.ok(["pull", "-q", list]);
  expect(await engine.ok(["run", "--rm", list, "echo", "it runs"])).toBe("it runs");
});

test("a registry that sends something else than it says is refused, and nothing is kept", async () => {
  const bodies: Record<string, string> = {
    broken: "{",
    huge: `{"layers":"${"x".repeat(5_000_000)}"}`,
    empty: "{}",
    deep: `${"[".repeat(100_000)}${"]".repeat(100_000)}`,
    listed: `{"manifests":${JSON.stringify(Array.from({ length: 5000 }, () => ({})))}}`,
  };
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      const name = new URL(request.url).pathname.split("/").at(-1) ?? "";
      const kind = name === "listed" ? "index" : "manifest";
      const headers = { "Content-Type": `application/vnd.oci.image.${kind}.v1+json` };
      return new Response(bodies[name] ?? "{}", { headers });
    },
  });
  for (const tag of Object.keys(bodies)) {
    const image = `127.0.0.1:${server.port}/bad:${tag}`;
    const made = await engine.naru(["manifest", "create", "--insecure", "bad", image]);
    expect([tag, made.code, made.stderr.split("\n").length]).toEqual([tag, 1, 2]);
    expect(made.stderr).toMatch(/manifest|index/);
  }
  expect((await engine.naru(["manifest", "inspect", "bad", "bad"])).code).toBe(1);
  expect(existsSync(`${engine.root}/client/manifests/docker.io_library_bad-latest`)).toBe(false);
});
