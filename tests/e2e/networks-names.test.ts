/** What a running container is called, and whom it asks, when its networks or its name change. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
  await engine.ok(["network", "create", "town"]);
  await engine.ok(["run", "-d", "--name", "shop", "--network", "town", ...SLEEP]);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const SLEEP = ["busybox", "sleep", "1000"];
const exec = (name: string, ...words: string[]) => engine.ok(["exec", name, ...words]);
const resolv = (name: string) => exec(name, "cat", "/etc/resolv.conf");

test("a container of the default bridge that joins a network asks that network's resolver", async () => {
  await engine.ok(["run", "-d", "--name", "guest", "--dns-search", "test.invalid", ...SLEEP]);
  const own = await resolv("guest");
  expect(own).not.toContain("127.0.0.11");
  await engine.ok(["network", "connect", "town", "guest"]);
  expect(await resolv("guest")).toContain("\nnameserver 127.0.0.11\nsearch test.invalid\n");
  await exec("guest", "ping", "-c", "1", "-W", "5", "shop");
  await engine.ok(["network", "disconnect", "town", "guest"]);
  expect(await resolv("guest")).toBe(own);
});

test("a file that the container has changed stays as it is", async () => {
  await engine.ok(["run", "-d", "--name", "own", ...SLEEP]);
  await exec("own", "sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf");
  await engine.ok(["network", "connect", "town", "own"]);
  expect(await resolv("own")).toBe("nameserver 192.0.2.1");
  // Nor does one without an end keep the engine.
  await exec("own", "sh", "-c", "head -c 20000000 /dev/zero | tee /etc/hosts > /etc/resolv.conf");
  await engine.ok(["network", "disconnect", "town", "own"]);
  await engine.ok(["network", "connect", "town", "own"]);
  expect((await exec("own", "wc", "-c", "/etc/resolv.conf")).split(" ")[0]).toBe("20000000");
});

test("a new name is found at once, shown at once, and the old one is not", async () => {
  await engine.ok(["run", "-d", "--name", "early", "--network", "town", ...SLEEP]);
  await engine.ok(["rename", "early", "later"]);
  const format = "{{json .NetworkSettings.Networks.town.DNSNames}}";
  const id = (await engine.ok(["inspect", "-f", "{{.Id}}", "later"])).slice(0, 12);
  expect(JSON.parse(await engine.ok(["inspect", "-f", format, "later"]))).toEqual(["later", id]);
  await exec("shop", "ping", "-c", "1", "-W", "5", "later");
  const gone = await engine.docker(["exec", "shop", "nslookup", "early"]);
  expect(gone.code).not.toBe(0);
  await engine.restartDaemon();
  expect(JSON.parse(await engine.ok(["inspect", "-f", format, "later"]))).toEqual(["later", id]);
});
