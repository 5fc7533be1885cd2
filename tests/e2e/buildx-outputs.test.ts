/** What builds become: indexes of several platforms with what is said about them, archives, folders, caches of clients. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { buildx, buildxLab, built } from "./buildx.ts";
import { run } from "./engine.ts";

const lab = buildxLab({});
const { contextOf } = lab;

/** No RUN: every platform can be built here. */
const MANY = "FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY file /file\n";
const PLATFORMS = "--platform=linux/amd64,linux/arm64";
const json = (text: string): unknown => JSON.parse(text);

interface Listed {
  readonly manifests: readonly {
    readonly digest: string;
    readonly platform: { readonly architecture: string };
    readonly annotations?: Readonly<Record<string, string>>;
  }[];
}

test("several platforms are pushed as one index, with provenance that names each manifest", async () => {
  const context = contextOf({ Dockerfile: MANY, file: "x" });
  const name = `${lab.registry.host}/many:1`;
  const metadata = join(context, "../metadata.json");
  const annotation = ["--annotation", "index:made=here", "--annotation", "manifest:own=1"];
  const args = [PLATFORMS, "-t", name, "--push", "--metadata-file", metadata, ...annotation];
  const said = await built(lab.engine, [...args, "--provenance=mode=max", context]);
  expect(said).toContain("[linux/arm64 1/1] COPY file /file");
  const inspect = ["buildx", "imagetools", "inspect"];
  const index = json(await lab.engine.ok([...inspect, "--raw", name])) as Listed & {
    annotations: object;
  };
  expect(index.annotations).toEqual({ made: "here" });
  expect(index.manifests.map(({ platform }) => platform.architecture)).toEqual([
    "amd64",
    "unknown",
    "arm64",
    "unknown",
  ]);
  const [subject, attestation] = index.manifests;
  expect(attestation?.annotations?.["vnd.docker.reference.digest"]).toBe(subject?.digest ?? "");
  const known = json(readFileSync(metadata, "utf8")) as Record<string, unknown>;
  const digest = await lab.engine.ok([...inspect, "--format={{json .Manifest.Digest}}", name]);
  expect(known["containerimage.digest"]).toBe(json(digest));
  expect(known["containerimage.descriptor"]).toMatchObject({ digest: json(digest) });
  const provenance = await lab.engine.ok([...inspect, "--format={{json .Provenance}}", name]);
  expect(json(provenance)).toMatchObject({
    "linux/arm64": { SLSA: { buildType: "https://mobyproject.org/buildkit@v1" } },
  });
  // The statement is about the manifest that the registry has, whose layers were compressed on the way.
  const headers = { Accept: "application/vnd.oci.image.manifest.v1+json" };
  const blob = async (path: string) =>
    (await fetch(`http://${lab.registry.host}/v2/many/${path}`, { headers })).json();
  const document = (await blob(`manifests/${attestation?.digest ?? ""}`)) as {
    layers: { digest: string }[];
  };
  const statement = (await blob(`blobs/${document.layers[0]?.digest ?? ""}`)) as {
    subject: { digest: { sha256: string } }[];
  };
  expect(`sha256:${statement.subject[0]?.digest.sha256 ?? ""}`).toBe(subject?.digest ?? "");
  await lab.engine.ok(["rmi", name]);
  await lab.engine.ok(["pull", "--platform=linux/arm64", name]);
  const environment = ["image", "inspect", "-f", "{{.Config.Env}}", name];
  expect(await lab.engine.ok(environment)).toContain("ARCH=arm64");
});

test("several platforms are loaded into the lab.engine, and one of them runs", async () => {
  const dockerfile = "FROM busybox\nCOPY file /file\n";
  const context = contextOf({ Dockerfile: MANY, file: "loaded" });
  await built(lab.engine, [PLATFORMS, "-t", "many", "--load", context]);
  const tree = await lab.engine.ok(["image", "ls", "--tree", "many"]);
  for (const platform of ["linux/amd64", "linux/arm64"]) expect(tree).toContain(platform);
  await built(lab.engine, ["-t", "one", contextOf({ Dockerfile: dockerfile, file: "runs" })]);
  const cat = ["run", "--rm", "--network=none", "one", "cat", "/file"];
  expect(await lab.engine.ok(cat)).toBe("runs");
  const failed = await buildx(lab.engine, ["--platform=linux/arm64,linux/riscv64", "-"], {
    stdin: "FROM busybox\nRUN true\n",
  });
  expect(failed.code).toBe(1);
});

test("an image becomes an OCI archive, Docker's archive or a folder of blobs", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nCOPY file /file\n", file: "archived" });
  const at = (name: string) => join(context, "..", name);
  for (const type of ["oci", "docker"]) {
    const output = `type=${type},dest=${at(`${type}.tar`)},compression=gzip`;
    await built(lab.engine, ["-t", `archived:${type}`, "-o", output, context]);
    const listed = (await run(["tar", "tf", at(`${type}.tar`)])).stdout;
    expect(listed.includes("manifest.json")).toBe(type === "docker");
    await lab.engine.ok(["load", "-i", at(`${type}.tar`)]);
    const cat = ["run", "--rm", "--network=none", `archived:${type}`, "cat", "/file"];
    expect(await lab.engine.ok(cat)).toBe("archived");
  }
  const output = `type=oci,tar=false,dest=${at("layout")},compression=zstd`;
  await built(lab.engine, ["-t", "laid:out", "-o", output, context]);
  const index = json(readFileSync(at("layout/index.json"), "utf8")) as Listed;
  const blobs = readdirSync(at("layout/blobs/sha256"));
  expect(blobs).toContain((index.manifests[0]?.digest ?? "").slice("sha256:".length));
  const stdout = await lab.engine.docker(["buildx", "build", "-o", "type=tar,dest=-", context]);
  expect(stdout.stdout).toContain("archived");
});

test("platforms have folders of their own at the client, and say where they are from when asked", async () => {
  const context = contextOf({ Dockerfile: MANY, file: "split" });
  const folder = join(context, "../split");
  await built(lab.engine, [PLATFORMS, "-o", folder, "--provenance=true", context]);
  for (const name of ["linux_amd64", "linux_arm64"]) {
    expect(readFileSync(join(folder, name, "file"), "utf8")).toBe("split");
    const statement = json(readFileSync(join(folder, name, "provenance.json"), "utf8"));
    expect(statement).toMatchObject({ subject: [{ name: "file" }] });
  }
  const tar = join(context, "../split.tar");
  await built(lab.engine, [PLATFORMS, "-o", `type=tar,dest=${tar}`, context]);
  expect((await run(["tar", "tf", tar])).stdout).toContain("linux_arm64/file");
  const one = join(context, "../one");
  await built(lab.engine, ["-o", one, context]);
  expect(readdirSync(one)).toEqual(["file"]);
});

test("a client's folder keeps a build's cache, and another engine's builds begin with it", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN date +%N > /date\n" });
  const cache = join(context, "../cache");
  await built(lab.engine, ["-t", "first", `--cache-to=type=local,dest=${cache}`, context]);
  expect(existsSync(join(cache, "index.json"))).toBe(true);
  const date = ["run", "--rm", "--network=none"];
  const first = await lab.engine.ok([...date, "first", "cat", "/date"]);
  await lab.engine.ok(["rmi", "first"]);
  await lab.engine.ok(["buildx", "prune", "-af"]);
  const said = await built(lab.engine, [
    "-t",
    "again",
    `--cache-from=type=local,src=${cache}`,
    context,
  ]);
  expect(said).toContain("CACHED");
  expect(await lab.engine.ok([...date, "again", "cat", "/date"])).toBe(first);
});

test("what is not done is refused in BuildKit's words", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\n" });
  const refused: readonly (readonly [string, string])[] = [
    ["--sbom=true", "scan"],
    ["--provenance=mode=most", "invalid provenance type"],
    ["--cache-to=type=s3x,bucket=a", 'unknown cache exporter: "s3x"'],
    ["--output=type=image,compression=estargz", "unsupported layer compression type: estargz"],
    ["--output=type=nonsense", "nonsense"],
  ];
  for (const [flag, words] of refused) {
    const finished = await buildx(lab.engine, [flag, context]);
    expect([finished.code, finished.stderr]).toEqual([1, expect.stringContaining(words)]);
  }
});
