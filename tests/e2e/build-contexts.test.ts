/** `naru build --build-context`: folders of the client, OCI layouts, images, and what cannot be one. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, run, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const naru = (dockerfile: string, args: readonly string[]): Promise<Finished> =>
  engine.naru([
    "build",
    "--progress=plain",
    ...args,
    writeContext(engine, { Dockerfile: dockerfile }),
  ]);

async function built(dockerfile: string, args: readonly string[]): Promise<string> {
  const { code, stderr } = await naru(dockerfile, ["-t", "made", ...args]);
  if (code !== 0) throw new Error(stderr);
  return stderr;
}
const shown = (script: string) => engine.ok(["run", "--rm", "made", "sh", "-c", script]);

test("a folder of the client: COPY, mounts and FROM read it, without what its own ignore file names", async () => {
  const docs = writeContext(engine, {
    "a.txt": "one",
    "sub/b.txt": "two",
    "secret.key": "x",
    ".dockerignore": "*.key\n",
  });
  symlinkSync("/etc/passwd", join(docs, "link"));
  const dockerfile = [
    "FROM docs AS files",
    "FROM busybox",
    "COPY --from=docs / /copied/",
    "RUN --mount=from=docs,target=/mnt/docs cat /mnt/docs/sub/b.txt > /read",
    "COPY --from=files a.txt /from",
  ].join("\n");
  await built(dockerfile, ["--build-context", `docs=${docs}`]);
  expect(await shown("cd /copied; find . | sort; readlink link; cat /read /from")).toBe(
    ".\n./.dockerignore\n./a.txt\n./link\n./sub\n./sub/b.txt\n/etc/passwd\ntwoone",
  );
  const again = await built(dockerfile, ["--build-context", `docs=${docs}`]);
  expect(again.match(/CACHED/g)).toHaveLength(3);
  writeFileSync(join(docs, "sub/b.txt"), "three");
  await built(dockerfile, ["--build-context", `docs=${docs}`]);
  expect(await shown("cat /read")).toBe("three");
});

test("one that no step reads is not sent, and one that is not there is said", async () => {
  const docs = writeContext(engine, { "a.txt": "one" });
  await built("FROM busybox\nRUN true\n", ["--build-context", `docs=${docs}`]);
  const gone = await naru("FROM busybox\n", ["--build-context", "docs=/gone/away"]);
  expect(gone).toMatchObject({ code: 1 });
  expect(gone.stderr).toContain("/gone/away: no such file or directory");
  const target = await naru("FROM busybox\n", ["--build-context", "base=target:other"]);
  expect(target.stderr).toContain("bake file");
  const image = ["--build-context", "other=docker-image://busybox"];
  await built("FROM other\nRUN echo as-image > /said\n", image);
  expect(await shown("cat /said")).toBe("as-image");
});

/** An OCI layout as a folder, of what `docker save` writes. */
async function layoutOf(image: string): Promise<string> {
  const folder = join(engine.root, `layout-${crypto.randomUUID()}`);
  mkdirSync(folder);
  await engine.ok(["save", "-o", `${folder}.tar`, image]);
  expect((await run(["tar", "-xf", `${folder}.tar`, "-C", folder])).code).toBe(0);
  rmSync(join(folder, "manifest.json"), { force: true });
  return folder;
}

test("an OCI layout is an image: by its tag, by its digest, alone without a name", async () => {
  await built("FROM busybox\nENV FROM=layout\nRUN echo in-layout > /file\n", ["-t", "packed:v2"]);
  const folder = await layoutOf("packed:v2");
  const id = await engine.ok(["image", "inspect", "-f", "{{.Id}}", "packed:v2"]);
  await engine.ok(["rmi", "packed:v2", "made"]);
  const index = (await Bun.file(join(folder, "index.json")).json()) as {
    manifests: { digest: string; annotations?: Record<string, string> }[];
  };
  const [manifest] = index.manifests;
  const dockerfile = "FROM base\nCOPY --from=base /file /again\nRUN echo $FROM >> /again\n";
  for (const place of [folder, `${folder}@${manifest?.digest ?? ""}`]) {
    await built(dockerfile, ["--build-context", `base=oci-layout://${place}`]);
    expect(await shown("cat /again")).toBe("in-layout\nlayout");
  }
  const named = `${folder}-named`;
  cpSync(folder, named, { recursive: true });
  const other = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "v9" } };
  const document = { schemaVersion: 2, manifests: [{ ...other }] };
  writeFileSync(join(named, "index.json"), JSON.stringify(document));
  await built(dockerfile, ["--build-context", `base=oci-layout://${named}:v9`]);
  const wrong = await naru(dockerfile, ["--build-context", `base=oci-layout://${named}:v8`]);
  expect(wrong.stderr).toContain(`could not find v8 in the OCI layout ${named}`);
  // What was built on it is there; the layout itself is no image of the engine.
  expect((await engine.docker(["image", "inspect", id])).code).toBe(1);
  rmSync(join(named, "blobs"), { recursive: true });
  const broken = await naru(dockerfile, ["--build-context", `base=oci-layout://${named}:v9`]);
  expect(broken.code).toBe(1);
});
