/** Strangers' input: a clear answer, nothing left, the daemon unharmed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const post = async (
  path: string,
  body: string,
  type = "application/json",
): Promise<{ status: number; message: string }> => {
  const answer = await engine.fetch(path, {
    method: "POST",
    body,
    headers: { "content-type": type },
  });
  const text = await answer.text();
  let message = text;
  try {
    message = JSON.parse(text).message;
  } catch {
    // not JSON: shown as it is
  }
  return { status: answer.status, message };
};

test("bodies that are empty, cut, deep, huge or not JSON are 400 with a sentence", async () => {
  const deep = `{"Image":"busybox","Labels":${"[".repeat(50_000)}${"]".repeat(50_000)}}`;
  const huge = JSON.stringify({ Image: "busybox", Cmd: ["x".repeat(6_000_000)] });
  for (const body of [
    "",
    "{",
    "[]",
    "null",
    "7",
    '"text"',
    "\0\0",
    deep,
    huge,
    '{"Image":7}',
    '{"Image":"busybox","Cmd":{"a":1}}',
    '{"Image":"busybox","HostConfig":[]}',
  ]) {
    const answer = await post("/v1.51/containers/create", body);
    expect({ body: body.slice(0, 40), status: answer.status }).toEqual({
      body: body.slice(0, 40),
      status: 400,
    });
    expect(answer.message.length).toBeGreaterThan(5);
  }
  expect(await engine.ok(["ps", "-aq"])).toBe("");
});

test("memory stays bounded under huge bodies", async () => {
  const rss = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${engine.daemonPid}/status`, "utf8"))?.[1]) /
    1024;
  const before = rss();
  const body = JSON.stringify({ Image: "x".repeat(40_000_000) });
  for (let round = 0; round < 6; round += 1)
    await post("/v1.51/containers/create", body).catch(() => undefined);
  expect(rss() - before).toBeLessThan(150);
});

test("unknown containers, paths, methods and versions are refused", async () => {
  for (const path of [
    "start",
    "stop",
    "kill",
    "pause",
    "unpause",
    "restart",
    "rename?name=x",
    "wait",
    "exec",
  ]) {
    const answer = await post(
      `/v1.51/containers/nosuch/${path}`,
      path === "exec" ? '{"Cmd":["x"]}' : "",
    );
    expect({ path, ...answer }).toEqual({
      path,
      status: 404,
      message: `${path === "kill" ? "cannot kill container: nosuch: " : ""}No such container: nosuch`,
    });
  }
  expect((await engine.fetch("/v1.51/nosuch")).status).toBe(404);
  expect(await post("/v1.20/containers/create", "{}")).toMatchObject({
    status: 400,
    message: expect.stringContaining("client version 1.20 is too old"),
  });
  expect(await post("/v1.99/containers/create", "{}")).toMatchObject({
    status: 400,
    message: expect.stringContaining("client version 1.99 is too new"),
  });
});

const JSON_BODY = { body: "{}", headers: { "Content-Type": "application/json" } };

test("what is not there yet says so with 501", async () => {
  for (const [method, path] of [
    ["POST", "/v1.51/swarm/init"],
    ["GET", "/v1.51/containers/x/checkpoints"],
  ] as const) {
    const answer = await engine.fetch(path, { method, ...(method === "POST" ? JSON_BODY : {}) });
    expect({ path, status: answer.status }).toEqual({ path, status: 501 });
    expect(((await answer.json()) as { message: string }).message.length).toBeGreaterThan(10);
  }
});

test("options that cannot be honoured are refused, not ignored", async () => {
  const create = (host: object) =>
    post(
      "/v1.51/containers/create",
      JSON.stringify({ Image: "busybox", Cmd: ["true"], HostConfig: host }),
    );
  expect((await create({ Isolation: "hyperv" })).status).toBeGreaterThanOrEqual(400);
  expect((await create({ StorageOpt: { size: "1G" } })).status).toBeGreaterThanOrEqual(400);
  expect((await create({ VolumeDriver: "nfs", Binds: ["a:/b"] })).status).toBeGreaterThanOrEqual(
    400,
  );
  expect((await create({ LogConfig: { Type: "nosuch" } })).status).toBeGreaterThanOrEqual(400);
  expect((await create({ SecurityOpt: ["nonsense=1"] })).status).toBeGreaterThanOrEqual(400);
  expect((await create({ CapAdd: ["NOSUCHCAP"] })).status).toBe(400);
  expect((await create({ Binds: ["relative/../../x:/y"] })).status).toBe(400);
  expect((await create({ Binds: ["/a:/x", "/b:/x"] })).message).toContain(
    "Duplicate mount point: /x",
  );
  expect(await engine.ok(["ps", "-aq"])).toBe("");
});

test("garbage in query parameters is never a 5xx", async () => {
  for (const path of [
    "containers/json?limit=x",
    "containers/json?filters=%7B",
    "containers/json?filters=[]",
    "containers/json?all=maybe",
    'images/json?filters={"dangling":["x"]}',
    "events?since=x",
    "containers/x/logs?tail=y",
    "images/a/../../b/json",
    "containers/%00/json",
    "images/get?names=",
  ]) {
    const answer = await engine
      .fetch(`/v1.51/${path}`, { signal: AbortSignal.timeout(2000) })
      .catch(() => null);
    if (answer === null) continue; // a stream that is waiting for events
    expect({ path, fine: answer.status < 500 }).toEqual({ path, fine: true });
    await answer.body?.cancel();
  }
  expect(await engine.ok(["run", "--rm", "busybox", "echo", "unharmed"])).toBe("unharmed");
});
