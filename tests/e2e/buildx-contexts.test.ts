/** What buildx's builds stand on: OCI layouts of the client, images that only a registry has, names as they are written. */
import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";

import { Control, create, fromBinary, type MessageInitShape, toBinary } from "#wire/grpc";

import { buildx, buildxLab, built } from "./buildx.ts";

const lab = buildxLab({});
const { contextOf, shown } = lab;

/** A layout as a folder. */
async function layoutOf(dockerfile: string, args: readonly string[] = []): Promise<string> {
  const context = contextOf({ Dockerfile: dockerfile });
  const folder = join(context, "../layout-" + crypto.randomUUID());
  const output = `type=oci,tar=false,dest=${folder},name=laid:v1`;
  await built(lab.engine, ["-o", output, ...args, context]);
  return folder;
}

const indexOf = async (folder: string) =>
  (await Bun.file(join(folder, "index.json")).json()) as { manifests: { digest: string }[] };

test("an OCI layout is an image that a build stands on and copies from, and no image of the engine", async () => {
  const folder = await layoutOf("FROM busybox\nENV FROM=layout\nRUN echo in-layout > /file\n");
  const [manifest] = (await indexOf(folder)).manifests;
  const dockerfile = [
    "FROM base",
    "COPY --from=docker.io/library/base:latest /file /again",
    "RUN --mount=from=base,target=/mnt cat /mnt/file > /mounted; echo $FROM >> /again",
  ].join("\n");
  const context = contextOf({ Dockerfile: dockerfile });
  const places = [`${folder}:v1`, `${folder}@${manifest?.digest ?? ""}`];
  for (const place of places) {
    await built(lab.engine, ["--build-context", `base=oci-layout://${place}`, "-t", "on", context]);
    expect(await shown("on", "cat", "/again", "/mounted")).toBe("in-layout\nlayout\nin-layout");
  }
  const again = ["--build-context", `base=oci-layout://${folder}:v1`, context];
  expect((await built(lab.engine, again)).match(/CACHED/g)?.length).toBe(2);
  const listed = await lab.engine.ok(["images", "-a", "--format", "{{.Repository}}:{{.Tag}}"]);
  expect(listed.split("\n").toSorted()).toEqual(["busybox:latest", "on:latest"]);
});

test("of a layout of several platforms the one that is built is taken", async () => {
  const platforms = ["--platform=linux/amd64,linux/arm64"];
  const folder = await layoutOf("FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\n", platforms);
  const args = ["--build-context", `base=oci-layout://${folder}:v1`, "-t", "chosen"];
  const context = contextOf({ Dockerfile: "FROM base\nLABEL arch=$ARCH\n" });
  await built(lab.engine, [...args, "--platform=linux/arm64", context]);
  const label = ["image", "inspect", "-f", '{{.Architecture}} {{index .Config.Labels "arch"}}'];
  expect(await lab.engine.ok([...label, "chosen"])).toBe("arm64 arm64");
  await built(lab.engine, [...args, "-f", "-", context], {
    stdin: "FROM --platform=linux/amd64 base\nLABEL arch=$ARCH\n",
  });
  expect(await lab.engine.ok([...label, "chosen"])).toBe("amd64 amd64");
  const none = await buildx(lab.engine, [...args, "--platform=linux/riscv64", context]);
  expect(none.stderr).toContain("no match for platform in manifest");
});

test("a layout whose bytes are not what their names say is refused, and leaves nothing", async () => {
  const folder = await layoutOf("FROM scratch\nCOPY <<EOF /file\nhere\nEOF\n", [
    "--provenance=false",
  ]);
  const index = await indexOf(folder);
  const blobs = join(folder, "blobs/sha256");
  const nameOf = (digest: string) => join(blobs, digest.replace("sha256:", ""));
  const path = nameOf(index.manifests[0]?.digest ?? "");
  const manifest = (await Bun.file(path).json()) as { layers: { digest: string }[] };
  const layer = nameOf(manifest.layers[0]?.digest ?? "");
  const bytes = new Uint8Array(await Bun.file(layer).arrayBuffer());
  bytes[bytes.length - 12] = (bytes[bytes.length - 12] ?? 0) ^ 0xff;
  writeFileSync(layer, bytes);
  // Nothing that was built here before may stand in for it.
  await lab.engine.ok(["buildx", "prune", "-af"]);
  const args = ["--build-context", `base=oci-layout://${folder}:v1`];
  const context = contextOf({ Dockerfile: "FROM base\nCOPY --from=base /file /again\n" });
  const spoiled = await buildx(lab.engine, [...args, context]);
  expect(spoiled.code).toBe(1);
  expect(spoiled.stderr).toContain("failed to read the OCI layout");
  rmSync(layer);
  expect((await buildx(lab.engine, [...args, context])).code).toBe(1);
  const empty = join(folder, "../empty");
  mkdirSync(empty);
  const nowhere = ["--build-context", `base=oci-layout://${empty}`, context];
  expect((await buildx(lab.engine, nowhere)).code).toBe(1);
});

test("--check asks a registry for the base images that are not here, and stores nothing of them", async () => {
  const name = `${lab.registry.host}/checked:1`;
  const base = contextOf({ Dockerfile: 'FROM busybox\nENV HOMEDIR=/h\nSHELL ["sh", "-c"]\n' });
  await built(lab.engine, ["-t", name, "--push", "--provenance=false", base]);
  await lab.engine.ok(["rmi", name]);
  const known = contextOf({ Dockerfile: `FROM ${name}\nCOPY . $HOMDIR/\nCMD echo\n` });
  const found = await buildx(lab.engine, ["--check", known]);
  expect(found.stdout).toContain("Usage of undefined variable '$HOMDIR' (did you mean $HOMEDIR?)");
  // The image's own shell is meant.
  expect(found.stdout).not.toContain("JSONArgsRecommended");
  const other = await buildx(lab.engine, ["--check", "--platform=linux/arm64", known]);
  expect(other.stdout).toContain(
    `Base image ${name} was pulled with platform "linux/amd64", expected "linux/arm64"`,
  );
  expect((await lab.engine.docker(["image", "inspect", name])).code).toBe(1);
  const gone = contextOf({ Dockerfile: `FROM ${lab.registry.host}/gone:1\nWORKDIR rel\n` });
  const missing = await buildx(lab.engine, ["--check", gone]);
  expect(missing.stdout).toContain("WorkdirRelativePath");
  expect(missing.stdout + missing.stderr).toContain("failed to resolve source metadata");
  expect(missing.code).toBe(1);
  const naru = await lab.engine.naru(["build", "--check", gone]);
  expect(naru.stderr).toContain("failed to resolve source metadata");
  expect(naru.code).toBe(1);
});

interface Answered {
  readonly said: string;
  readonly response: Readonly<Record<string, string>>;
}

/** A build as `buildctl` asks for it: one call of BuildKit's control service, and no session. */
async function solve(
  request: MessageInitShape<typeof Control.method.solve.input>,
): Promise<Answered> {
  const { input, output } = Control.method.solve;
  const socket = connect(lab.engine.daemonSocket);
  socket.write("POST /grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
  const head = Promise.withResolvers<Buffer>();
  socket.once("data", head.resolve);
  expect((await head.promise).toString("latin1")).toStartWith("HTTP/1.1 101");
  const session = connectHttp2("http://x", { createConnection: () => socket });
  const stream = session.request({
    ":method": "POST",
    ":path": "/moby.buildkit.v1.Control/Solve",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const asked = toBinary(input, create(input, { ref: crypto.randomUUID(), ...request }));
  const frame = Buffer.alloc(5 + asked.length);
  frame.writeUInt32BE(asked.length, 1);
  frame.set(asked, 5);
  let said = "";
  const note = (headers: object) => {
    const { "grpc-message": message = "" } = headers as { "grpc-message"?: string };
    said += decodeURIComponent(message);
  };
  stream.on("response", note);
  stream.on("trailers", note);
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
  const ended = Promise.withResolvers<void>();
  stream.once("close", () => ended.resolve());
  stream.end(frame);
  await ended.promise;
  session.destroy();
  const bytes = Buffer.concat(chunks).subarray(5);
  return { said, response: fromBinary(output, bytes).exporterResponse };
}

test("a client without a part of its own has the Dockerfile frontend; a graph is refused in words", async () => {
  using web = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => new Response("FROM busybox\nARG WHO\nRUN echo $WHO > /who\n"),
  });
  const context = `http://127.0.0.1:${web.port}/Dockerfile`;
  const frontendAttrs = { context, "build-arg:WHO": "direct" };
  const exporters = [{ type: "image", attrs: { name: "direct" } }];
  const frontend = "dockerfile.v0";
  const answer = await solve({ frontend, frontendAttrs, exporters });
  expect(answer).toMatchObject({
    said: "",
    response: { "image.name": "docker.io/library/direct:latest" },
  });
  expect(await shown("direct", "cat", "/who")).toBe("direct");
  const failing = { ...frontendAttrs, target: "gone" };
  for (const [request, words] of [
    [{ frontend, exporters }, "no build context"],
    [{ frontend, exporters, frontendAttrs: failing }, 'target stage "gone" could not be found'],
    [{ frontend: "other.v0", exporters }, "frontend other.v0 not found"],
    [
      { definition: { def: [new Uint8Array([1])] }, exporters },
      "build graphs (LLB) of clients are",
    ],
  ] as const) {
    expect((await solve(request as never)).said).toContain(words);
  }
});
