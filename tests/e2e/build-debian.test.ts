/** The Dockerfile that every introduction to Docker shows, on a real Debian: apt-get, pip, a web application. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let context: string;

beforeAll(async () => {
  engine = await startEngine({ images: ["debian"] });
  context = mkdtempSync("/tmp/naru-test-build-");
  const files = {
    Dockerfile: [
      "FROM debian",
      "RUN apt-get update -y",
      "RUN apt-get install -y --no-install-recommends python3-minimal",
      "COPY . /app",
      "WORKDIR /app",
      'ENTRYPOINT ["python3"]',
      'CMD ["app.py"]',
    ].join("\n"),
    "app.py": [
      "import socket",
      "server = socket.socket()",
      "server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)",
      "server.bind(('0.0.0.0', 80))",
      "server.listen()",
      "print('serving', flush=True)",
      "while True:",
      "    client, _ = server.accept()",
      "    client.recv(4096)",
      "    client.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhello')",
      "    client.close()",
    ].join("\n"),
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(context, name), `${text}\n`);
}, 300_000);
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(context, { recursive: true, force: true });
}, 60_000);

test("a Python application is built with apt-get, listed, and answers at its published port", async () => {
  const finished = await engine.docker(["build", context, "-t", "my-app"], {
    env: { DOCKER_BUILDKIT: "0" },
    timeoutMs: 240_000,
  });
  expect({ ...finished, stdout: finished.stdout.slice(-1500) }).toMatchObject({ code: 0 });
  expect(finished.stdout).toContain("Successfully tagged my-app:latest\n");
  expect(await engine.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"])).toContain(
    "my-app:latest",
  );
  const id = await engine.ok(["run", "-d", "-p", "127.0.0.1::80", "my-app"]);
  const address = await engine.ok(["port", id, "80"]);
  const deadline = Date.now() + 20_000;
  while (!(await engine.ok(["logs", id])).includes("serving") && Date.now() < deadline) {
    await Bun.sleep(20);
  }
  expect(await (await fetch(`http://${address}/`)).text()).toBe("hello");
  await engine.ok(["rm", "-f", id]);
}, 300_000);
