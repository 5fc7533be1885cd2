/** Clients that begin to send and then stand still: nobody else waits for them, and nothing is kept because of them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

let engine: Engine;
let archive: string;

beforeAll(async () => {
  engine = await startEngine();
  const tree = join(engine.root, "tree");
  mkdirSync(tree);
  writeFileSync(join(tree, "file"), crypto.getRandomValues(new Uint8Array(60_000)));
  archive = join(engine.root, "tree.tar");
  Bun.spawnSync(["tar", "-C", tree, "-cf", archive, "file"]);
});

afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

/** A request whose client has sent the first part of its archive. */
async function stalled(request: string, from = archive): Promise<Socket> {
  const bytes = await Bun.file(from).bytes();
  const half = bytes.subarray(0, bytes.length / 2);
  const socket = connect({ path: engine.daemonSocket });
  socket.on("error", () => {});
  socket.write(`${request} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`);
  socket.write(`${half.length.toString(16)}\r\n`);
  socket.write(half);
  socket.write("\r\n");
  return socket;
}

const layersOf = async (image: string): Promise<string[]> => {
  const digests = await engine.ok(["image", "inspect", "-f", "{{json .RootFS.Layers}}", image]);
  return (JSON.parse(digests) as string[]).map((digest) =>
    join(engine.dataRoot, "layers", `${digest.slice("sha256:".length)}.layer`),
  );
};

test("archives that never come to their end keep nobody waiting, and no disk that others give back", async () => {
  const arriving = () => readdirSync(join(engine.dataRoot, "layers/ingest"));
  const request = "POST /images/create?fromSrc=-&repo=stalled";
  const imports = await Promise.all(Array.from({ length: 6 }, () => stalled(request)));
  await until(() => arriving().length === imports.length);

  await engine.ok(["import", archive, "beside"]);
  const [layer = ""] = await layersOf("beside");
  expect(existsSync(layer)).toBe(true);
  await engine.ok(["save", "-o", join(engine.root, "saved.tar"), "beside"]);
  await engine.ok(["rmi", "beside"]);
  await until(() => !existsSync(layer));
  expect(await engine.ok(["load", "-i", join(engine.root, "saved.tar")])).toContain(
    "Loaded image: beside:latest",
  );
  await engine.ok(["run", "--name", "writer", "busybox", "sh", "-c", "echo text > /text"]);
  await engine.ok(["commit", "writer", "committed"]);
  const dockerfile = join(engine.root, "Dockerfile");
  writeFileSync(dockerfile, "FROM committed\nRUN cat /text > /copy\n");
  await engine.ok(["build", "-t", "built", "-f", dockerfile, engine.root], {
    env: { DOCKER_BUILDKIT: "0" },
  });
  expect(await engine.ok(["run", "--rm", "built", "cat", "/copy"])).toBe("text");
  await engine.ok(["rm", "writer"]);
  await engine.ok(["rmi", "built", "committed", "beside"]);
  await until(() => !existsSync(layer));

  expect(arriving().length).toBe(imports.length);
  for (const socket of imports) socket.destroy();
  await until(() => arriving().length === 0);
  expect(await engine.ok(["images", "-q", "stalled"])).toBe("");
});

test("copies into a stopped container that never come to their end do not keep its start waiting for each", async () => {
  // With a volume nothing of it is made before somebody wants it.
  const id = await engine.ok(["create", "-v", "/data", "busybox", "sleep", "1000"]);
  // More than an engine waits for before it begins with a copy.
  writeFileSync(join(engine.root, "large"), new Uint8Array(4_000_000));
  const large = join(engine.root, "large.tar");
  Bun.spawnSync(["tar", "-C", engine.root, "-cf", large, "large"]);
  const answers: string[] = [];
  const copies = await Promise.all(
    Array.from({ length: 8 }, async () => {
      const socket = await stalled(`PUT /containers/${id}/archive?path=/`, large);
      socket.on("data", (bytes) => answers.push(bytes.toString()));
      return socket;
    }),
  );
  // The first of them has the files open.
  await until(() => existsSync(join(engine.dataRoot, "snapshots", id, "upper")));
  await engine.ok(["start", id], { timeoutMs: 100_000 });
  await until(() => answers.length > 0);
  expect(answers[0]).toContain("503 Service Unavailable");
  expect(answers[0]).toContain("its client stood still while others waited for the container");
  // The others write to what runs now.
  expect(answers).toHaveLength(1);
  for (const socket of copies) socket.destroy();
  await engine.ok(["rm", "-fv", id]);
});

test("every answer agreed with the API definition", () => {
  expect(engine.violations()).toEqual([]);
});
