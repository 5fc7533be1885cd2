/** What is sent to a process arrives byte by byte: a program's input is no terminal, and has no keys. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
/** Far more than a pipe holds, with the sequence that leaves a terminal at its beginning, in it and at its end. */
const input = Buffer.concat([
  Buffer.from([16, 17]),
  crypto.getRandomValues(Buffer.alloc(60_000)),
  Buffer.alloc(200_000, Buffer.from([16, 17, 97, 16, 16, 17, 0, 255])),
  Buffer.from([16, 17]),
]);
const digest = `${new Bun.CryptoHasher("sha256").update(input).digest("hex")}  -`;

beforeAll(async () => {
  engine = await startEngine();
  await engine.ok(["run", "-d", "--name", "keeper", "busybox", "sleep", "1000"]);
});

afterAll(async () => {
  await engine[Symbol.asyncDispose]();
});

const clients = [
  ["docker", (args: readonly string[]) => engine.docker(args, { stdin: input })],
  ["naru", (args: readonly string[]) => engine.naru(args, { stdin: input })],
] as const;

for (const [name, client] of clients) {
  test(`${name} run -i, exec -i and attach pass every byte on`, async () => {
    const ran = await client(["run", "--rm", "-i", "busybox", "sha256sum"]);
    expect(ran).toMatchObject({ code: 0, stdout: `${digest}\n` });
    const executed = await client(["exec", "-i", "keeper", "sha256sum"]);
    expect(executed).toMatchObject({ code: 0, stdout: `${digest}\n` });
    const container = `${name}-attached`;
    await engine.ok(["create", "-i", "--name", container, "busybox", "sha256sum"]);
    const started = await client(["start", "-ai", container]);
    expect(started).toMatchObject({ code: 0, stdout: `${digest}\n` });
  });

  test(`${name} run -i gives every byte back`, async () => {
    const ran = await client([
      "run",
      "-i",
      "--name",
      `${name}-cat`,
      "busybox",
      "sh",
      "-c",
      "cat | od -v -An -tx1",
    ]);
    const hex = ran.stdout.replace(/\s/g, "");
    expect(new Bun.CryptoHasher("sha256").update(Buffer.from(hex, "hex")).digest("hex")).toBe(
      digest.slice(0, 64),
    );
  });
}

test("asking for keys does not make a program's input a terminal", async () => {
  const asked = ["run", "--rm", "-i", "--detach-keys", "a,b", "busybox", "cat"];
  expect(await engine.docker(asked, { stdin: "xaby" })).toMatchObject({ code: 0, stdout: "xaby" });
  expect(await engine.naru(asked, { stdin: "xaby" })).toMatchObject({ code: 0, stdout: "xaby" });
});
