/** What is said of builds, and what they leave for others: scanners' statements, provenance, caches of many platforms. */
import { beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { leftByBuilds, untilNothingLeft } from "./build-left.ts";
import { buildx, buildxLab, built, leftAt } from "./buildx.ts";
import { run } from "./engine.ts";

const lab = buildxLab({});
const { contextOf } = lab;
/** A scanner: says of each place which files it found, and whether it could have changed them. */
const SCAN = `#!/bin/sh
set -e
scan() {
  touch "$1/changed" 2>/dev/null && changed=yes || changed=no
  files=$(cd "$1" && find . -maxdepth 1 -type f | sort | tr '\\n' ' ')
  predicate="{\\"files\\":\\"$files\\",\\"changed\\":\\"$changed\\",\\"mode\\":\\"$BUILDKIT_SCAN_mode\\"}"
  printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":%s}' \\
    "$predicate" > "$BUILDKIT_SCAN_DESTINATION/$(basename "$1").spdx.json"
}
echo scanning >&2
date > /tmp/x
scan "$BUILDKIT_SCAN_SOURCE"
for one in \${BUILDKIT_SCAN_SOURCE_EXTRAS:+"$BUILDKIT_SCAN_SOURCE_EXTRAS"/*}; do scan "$one"; done
`;

beforeAll(async () => {
  const scanner = 'FROM busybox\nCOPY --chmod=755 scan /scan\nENTRYPOINT ["/scan"]\n';
  await built(lab.engine, ["-t", "scanner", contextOf({ Dockerfile: scanner, scan: SCAN })]);
});

const json = (text: string): unknown => JSON.parse(text);
const inspected = async (name: string, what: string): Promise<unknown> =>
  json(await lab.engine.ok(["buildx", "imagetools", "inspect", `--format={{json ${what}}}`, name]));
const SBOM = "--attest=type=sbom,generator=scanner,mode=fast";

test("a scanner's image looks at the result, and what it says goes to a registry beside the image", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN echo 1 > /own\n" });
  const name = `${lab.registry.host}/scanned:1`;
  const said = await built(lab.engine, ["-t", name, "--push", SBOM, "--provenance=true", context]);
  expect(said).toContain("] generating sbom using docker.io/library/scanner:latest");
  expect(said).toContain("scanning");
  const sbom = (await inspected(name, ".SBOM")) as { SPDX: Record<string, string> };
  expect(sbom.SPDX["files"]?.split(" ")).toContain("./own");
  expect(sbom.SPDX).toMatchObject({ changed: "no", mode: "fast" });
  const provenance = JSON.stringify(await inspected(name, ".Provenance"));
  expect(provenance).toContain("pkg:docker/scanner@latest");
  // The image itself is what it was: nothing of a scanner is in it.
  await lab.engine.ok(["rmi", name]);
  await lab.engine.ok(["pull", name]);
  const ls = ["run", "--rm", "--network=none", name, "sh", "-c", "ls -d /run/src /own; cat /own"];
  expect((await lab.engine.docker(ls)).stdout).toBe("/own\n1\n");
  const again = await built(lab.engine, ["-t", name, SBOM, "--provenance=true", context]);
  expect(again).toMatch(/generating sbom using .*\n#\d+ CACHED/);
});

test("stages and the context are scanned where the Dockerfile says so, for each platform in its folder", async () => {
  const dockerfile = [
    "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true",
    "FROM busybox AS build",
    "ARG BUILDKIT_SBOM_SCAN_STAGE=true",
    "COPY file /built",
    "FROM busybox AS other",
    "RUN true",
    "FROM scratch",
    "COPY --from=build /built /final",
    "COPY --from=other /bin/true /true",
  ].join("\n");
  const context = contextOf({ Dockerfile: dockerfile, file: "x", ".dockerignore": "ignored\n" });
  const folder = join(context, "../scans");
  await built(lab.engine, ["-o", folder, SBOM, "--provenance=false", context]);
  const found = readdirSync(folder).filter((name) => name.endsWith(".json"));
  expect(found.toSorted()).toEqual([
    "sbom-build.spdx.json",
    "sbom-context.spdx.json",
    "sbom.spdx.json",
  ]);
  const filesIn = (name: string) =>
    (json(readFileSync(join(folder, name), "utf8")) as { predicate: { files: string } }).predicate
      .files;
  expect(filesIn("sbom.spdx.json").trim().split(" ")).toEqual(["./final", "./true"]);
  expect(filesIn("sbom-build.spdx.json")).toContain("./built");
  expect(filesIn("sbom-context.spdx.json")).toContain("./file");
  const statement = json(readFileSync(join(folder, "sbom.spdx.json"), "utf8"));
  expect(statement).toMatchObject({ subject: [{ name: "final" }, { name: "true" }] });
  const many = join(context, "../many-scans");
  const plain = contextOf({ Dockerfile: "FROM scratch\nCOPY file /file\n", file: "x" });
  const platforms = "--platform=linux/amd64,linux/arm64";
  await built(lab.engine, ["-o", many, platforms, SBOM, "--provenance=false", plain]);
  for (const name of ["linux_amd64", "linux_arm64"]) {
    expect(readdirSync(join(many, name)).toSorted()).toEqual(["file", "sbom.spdx.json"]);
  }
});

test("a scanner that fails, says nonsense or is not there fails the build", async () => {
  const make = (name: string, dockerfile: string, files: Record<string, string> = {}) =>
    built(lab.engine, [
      "-t",
      name,
      contextOf({ Dockerfile: `FROM busybox\n${dockerfile}\n`, ...files }),
    ]);
  await make("bad-scanner", 'CMD ["sh", "-c", "echo no luck; exit 7"]');
  await make("nonsense", 'CMD ["sh", "-c", "echo nonsense > $BUILDKIT_SCAN_DESTINATION/x"]');
  const said = '{"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}';
  const copy = 'COPY said /said\nCMD ["sh", "-c", "cp /said $BUILDKIT_SCAN_DESTINATION"]';
  await make("forged", copy, { said });
  await make("linked", 'CMD ["ln", "-s", "/etc/passwd", "/run/out/passwd.json"]');
  await make("silent", "CMD []");
  const context = contextOf({ Dockerfile: "FROM busybox\n" });
  for (const [generator, words] of [
    ["bad-scanner", "did not complete successfully: exit code: 7"],
    ["nonsense", "cannot decode in-toto statement"],
    ["forged", "frontend may not bundle provenance attestations"],
    ["linked", "is no file"],
    ["silent", "does not have cmd"],
    [`${lab.registry.host}/none:1`, "none"],
    ["UPPER", "failed to parse sbom generator"],
  ] as const) {
    const finished = await buildx(lab.engine, [
      `--attest=type=sbom,generator=${generator}`,
      context,
    ]);
    expect([generator, finished.code, finished.stderr]).toEqual([
      generator,
      1,
      expect.stringContaining(words),
    ]);
  }
});

test("a client that goes away while its build is scanned takes the scanner with it", async () => {
  const dockerfile = 'FROM busybox\nCMD ["sh", "-c", "echo it scans; sleep 1000"]\n';
  await built(lab.engine, ["-t", "sleeper", contextOf({ Dockerfile: dockerfile })]);
  const args = [
    "--attest=type=sbom,generator=sleeper",
    contextOf({ Dockerfile: "FROM busybox\n" }),
  ];
  const { said } = await leftAt(lab.engine, args, { line: "it scans", signal: "SIGKILL" });
  expect(said).toContain("it scans");
  await untilNothingLeft(lab.engine);
  expect(leftByBuilds(lab.engine)).toEqual([]);
});

const MANY = "FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY file /$TARGETARCH\n";
const ACCEPT = {
  Accept: [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
  ].join(", "),
};

test("the cache of several platforms goes to one place, in each of its forms, and comes back", async () => {
  const context = contextOf({ Dockerfile: MANY, file: "many" });
  const platforms = "--platform=linux/amd64,linux/arm64";
  const local = join(context, "../many-cache");
  const ref = (tag: string) => `type=registry,ref=${lab.registry.host}/cache:${tag}`;
  const forms: readonly (readonly [string, string])[] = [
    [`type=local,dest=${local},mode=max`, `type=local,src=${local}`],
    [`type=local,dest=${local}-z,compression=zstd`, `type=local,src=${local}-z`],
    [`${ref("plain")},mode=max`, ref("plain")],
    [`${ref("index")},image-manifest=false`, ref("index")],
    [`${ref("docker")},image-manifest=false,oci-mediatypes=false`, ref("docker")],
    [`${ref("zstd")},compression=zstd,compression-level=5,force-compression=true`, ref("zstd")],
  ];
  for (const [to, from] of forms) {
    await built(lab.engine, [platforms, "--cache-to", to, context]);
    await lab.engine.ok(["buildx", "prune", "-af"]);
    const said = await built(lab.engine, [platforms, "-t", "many", "--cache-from", from, context]);
    expect([to, said.match(/CACHED/g)?.length]).toEqual([to, 2]);
    await lab.engine.ok(["rmi", "many"]);
    await lab.engine.ok(["buildx", "prune", "-af"]);
  }
  const typeOf = async (tag: string) =>
    (
      await fetch(`http://${lab.registry.host}/v2/cache/manifests/${tag}`, { headers: ACCEPT })
    ).json();
  expect(await typeOf("plain")).toMatchObject({
    mediaType: "application/vnd.oci.image.manifest.v1+json",
  });
  const docker = (await typeOf("docker")) as { manifests: { mediaType: string }[] };
  expect(docker.manifests.map(({ mediaType }) => mediaType).toSorted()).toEqual([
    "application/vnd.buildkit.cacheconfig.v0",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
  ]);
  const zstd = (await typeOf("zstd")) as { layers: { mediaType: string }[] };
  for (const { mediaType } of zstd.layers) expect(mediaType).toEndWith("+zstd");
});

test("a cache that cannot be written fails the build, unless that is to be ignored; what makes no sense is refused", async () => {
  const context = contextOf({ Dockerfile: MANY, file: "lost" });
  const nowhere = "type=registry,ref=127.0.0.1:1/none:1";
  for (const platforms of [[], ["--platform=linux/amd64,linux/arm64"]]) {
    expect((await buildx(lab.engine, [...platforms, "--cache-to", nowhere, context])).code).toBe(1);
    const ignored = ["--cache-to", `${nowhere},ignore-error=true`];
    const said = await built(lab.engine, [...platforms, ...ignored, context]);
    expect(said).toContain("failed to export the build cache");
  }
  for (const [option, words] of [
    ["mode=most", "invalid cache mode"],
    ["oci-mediatypes=false,image-manifest=true", "OCI mediatypes are required"],
    ["compression=estargz", "unsupported layer compression type: estargz"],
    ["compression=gzip,compression-level=11", "compression-level"],
    ["nonsense=1", "nonsense"],
  ] as const) {
    const finished = await buildx(lab.engine, ["--cache-to", `${nowhere},${option}`, context]);
    expect([finished.code, finished.stderr]).toEqual([1, expect.stringContaining(words)]);
  }
});

interface Described {
  readonly manifests?: readonly { readonly digest: string }[];
  readonly layers?: readonly { readonly mediaType: string; readonly digest: string }[];
}

const history = (...words: string[]) => lab.engine.ok(["buildx", "history", ...words]);

test("what a build was made from is in its metadata file and in its record, and outlives the engine", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN echo traced > /traced\n" });
  const file = join(context, "../recorded.json");
  await built(lab.engine, ["-t", "recorded", SBOM, "--metadata-file", file, context]);
  const metadata = json(readFileSync(file, "utf8")) as Record<string, unknown>;
  expect(metadata["buildx.build.provenance"]).toMatchObject({
    buildType: "https://mobyproject.org/buildkit@v1",
    materials: [
      { uri: expect.stringContaining("pkg:docker/busybox@latest") },
      { uri: expect.stringContaining("pkg:docker/scanner@latest") },
    ],
  });
  const ref = String(metadata["buildx.build.ref"]).split("/").at(-1) ?? "";
  await lab.engine.restartDaemon();
  const record = json(await history("inspect", "--format=json", ref)) as {
    Materials: { URI: string }[];
    Attachments: { Digest: string; Type: string; Platform?: string }[];
  };
  expect(record.Materials.map(({ URI: uri }) => uri)[0]).toContain("pkg:docker/busybox@latest");
  const types = record.Attachments.map(({ Type: type }) => type);
  expect(types).toContain("https://spdx.dev/Document");
  expect(types).toContain("https://slsa.dev/provenance/v0.2");
  expect(types).toContain("application/vnd.oci.image.index.v1+json");
  const provenance = json(await history("inspect", "attachment", "--type=provenance", ref));
  expect(provenance).toMatchObject({ metadata: { buildInvocationID: ref } });
  const sbom = json(await history("inspect", "attachment", "--type=sbom", ref));
  expect(sbom).toMatchObject({ changed: "no" });
  const [first] = record.Attachments;
  expect((await history("inspect", "attachment", ref, first?.Digest ?? "")).length).toBeGreaterThan(
    9,
  );
  const none = ["buildx", "history", "inspect", "attachment", ref, `sha256:${"0".repeat(64)}`];
  expect((await lab.engine.docker(none)).stderr).toContain("not found");
});

test("a record is exported with what was said and how long it took, and fails with the lines of its Dockerfile", async () => {
  const dockerfile = "FROM busybox\nRUN echo to be exported; exit 4\n";
  expect((await buildx(lab.engine, [contextOf({ Dockerfile: dockerfile })])).code).toBe(1);
  const [ref = ""] = (await history("ls", "--format={{.Ref}}")).split("\n");
  const inspect = await history("inspect", ref);
  expect(inspect).toContain("   2 | >>> RUN echo to be exported; exit 4");
  const bundle = join(lab.engine.root, "exported.dockerbuild");
  const folder = mkdtempSync(join(lab.engine.root, "exported-"));
  await history("export", "-o", bundle, ref);
  expect((await run(["tar", "xzf", bundle, "-C", folder])).code).toBe(0);
  const blob = (digest: string) =>
    readFileSync(join(folder, "blobs", ...digest.split(":")), "utf8");
  const index = json(readFileSync(join(folder, "index.json"), "utf8")) as Described;
  const manifest = json(blob(index.manifests?.[0]?.digest ?? "")) as Described;
  const layers = new Map(manifest.layers?.map(({ mediaType, digest }) => [mediaType, digest]));
  expect([...layers.keys()].toSorted()).toEqual([
    "application/vnd.buildkit.otlp.json.v0",
    "application/vnd.buildkit.status.v0",
    "application/vnd.googeapis.google.rpc.status+proto",
  ]);
  expect(blob(layers.get("application/vnd.buildkit.status.v0") ?? "")).toContain("to be exported");
  // buildx reads each span of the trace and writes it again.
  const trace = blob(layers.get("application/vnd.buildkit.otlp.json.v0") ?? "");
  expect(trace).toContain('"Name": "moby.buildkit.v1.Control/Solve"');
  expect(trace).toContain('"Name": "[2/2] RUN echo to be exported; exit 4"');
  const all = join(lab.engine.root, "all.dockerbuild");
  await history("export", "--all", "-o", all);
  expect((await run(["tar", "tzf", all])).code).toBe(0);
  expect((await history("logs", ref)).length).toBeGreaterThanOrEqual(0);
  await history("rm", ref);
  expect((await lab.engine.docker(["buildx", "history", "inspect", ref])).code).toBe(1);
});

test("of several platforms each has its own record of what it was made from", async () => {
  const context = contextOf({ Dockerfile: MANY, file: "each" });
  const platforms = "--platform=linux/amd64,linux/arm64";
  await built(lab.engine, ["-t", "each", platforms, context]);
  const [ref = ""] = (await history("ls", "--format={{.Ref}}")).split("\n");
  const attachment = ["inspect", "attachment", "--type=provenance"];
  for (const platform of ["linux/amd64", "linux/arm64"]) {
    const provenance = await history(...attachment, `--platform=${platform}`, ref);
    expect(json(provenance)).toMatchObject({ metadata: { buildInvocationID: ref } });
  }
});
