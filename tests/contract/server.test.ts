/** The API server against the API's definition: every answer, and every page there is. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type ApiServer, createApiServer } from "../../src/servers/docker-api/index.ts";
import { fakeEngine } from "../../src/servers/docker-api/testing/fake-engine.ts";
import { operations, operationOf, violationsOf } from "./contract.ts";
import { startTap, type Tap } from "./tap.ts";

let folder: string;
let upstream: string;
let listen: string;
let server: ApiServer;
let tap: Tap;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/naru-test-contract-");
  upstream = join(folder, "api.sock");
  listen = join(folder, "tap.sock");
  server = createApiServer(fakeEngine());
  await server.listen({ path: upstream });
  tap = await startTap({ listen, upstream });
});

afterAll(async () => {
  await tap.close();
  await server.close();
  rmSync(folder, { recursive: true });
});

const call = (method: string, path: string, body?: unknown): Promise<Response> =>
  fetch(`http://localhost${path}`, {
    unix: listen,
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });

async function docker(...words: string[]): Promise<string> {
  const process = Bun.spawn(["docker", ...words], {
    env: { PATH: Bun.env["PATH"] ?? "", HOME: folder, DOCKER_HOST: `unix://${listen}` },
    stdin: new TextEncoder().encode("typed"),
    stdout: "pipe",
    stderr: "pipe",
  });
  await process.exited;
  return (await new Response(process.stdout).text()) + (await new Response(process.stderr).text());
}

test("every page of the definition is known, and answers what the definition allows", async () => {
  await call("POST", "/containers/create?name=web", {
    Image: "busybox",
    Cmd: ["sleep"],
    ExposedPorts: { "80/tcp": {} },
    HostConfig: { Binds: ["/tmp:/t:ro"], PortBindings: { "80/tcp": [{ HostPort: "1" }] } },
  });
  await call("POST", "/containers/web/start");
  const skipped = new Set(["POST /containers/{id}/wait", "GET /events", "DELETE /containers/{id}"]);
  for (const { method, template } of operations) {
    if (skipped.has(`${method} ${template}`)) continue;
    const path = template
      .replace("/images/{name}", "/images/busybox")
      .replace("/networks/{id}", "/networks/bridge")
      .replaceAll(/\{[^}]+\}/g, "web");
    const query = path.endsWith("/logs")
      ? "?stdout=1"
      : path.endsWith("/attach")
        ? "?logs=1"
        : path.endsWith("/stats")
          ? "?stream=0"
          : "";
    if (query === "?logs=1") continue;
    const response = await call(method, `/v1.51${path}${query}`);
    const text = await response.text();
    expect({ method, path, status: response.status, text }).not.toMatchObject({
      text: '{"message":"page not found"}\n',
    });
    expect([method, path, response.status === 500]).toEqual([method, path, false]);
  }
  expect(tap.violations()).toEqual([]);
  expect(tap.answers).toBeGreaterThan(60);
});

test("what the docker CLI sees on its way through the tap is as the definition says", async () => {
  const before = tap.answers;
  expect(await docker("run", "--rm", "-i", "busybox", "cat")).toBe("typed");
  await docker("run", "-d", "--name", "site", "busybox", "sleep");
  expect(await docker("exec", "-i", "site", "cat")).toBe("typed");
  expect(await docker("logs", "site")).toBe("");
  for (const words of [
    ["ps", "-as"],
    ["inspect", "-s", "site"],
    ["images"],
    ["image", "inspect", "busybox"],
    ["history", "busybox"],
    ["pull", "busybox"],
    ["load"],
    ["rmi", "busybox"],
    ["version"],
    ["info"],
    ["network", "inspect", "bridge"],
    ["events", "--since", "1", "--until", "1s"],
    ["stop", "site"],
    ["inspect", "nothing"],
  ]) {
    await docker(...words);
  }
  expect(tap.violations()).toEqual([]);
  expect(tap.answers - before).toBeGreaterThan(20);
});

test("the judge sees wrong types, missing and unknown fields, and words outside a list", () => {
  const judge = (body: unknown, status = 201) =>
    violationsOf({ method: "POST", path: "/v1.51/containers/create", status, body });
  expect(judge({ Id: "a", Warnings: [] })).toEqual([]);
  expect(judge({ Id: 1, Warnings: [] })[0]).toContain(".Id: 1 is no string");
  expect(judge({ Id: "a" })[0]).toContain("Warnings is missing");
  expect(judge({ Id: "a", Warnings: [], ID: "" })[0]).toContain("ID is not in the definition");
  expect(judge({ Id: "a", Warnings: null })[0]).toContain("null is not allowed");
  expect(judge({}, 200)[0]).toContain("no such status");
  expect(judge({ error: "x" }, 500)).toHaveLength(2);
  const list = (one: object) =>
    violationsOf({ method: "GET", path: "/containers/json", status: 200, body: [one] });
  expect(list({ State: "sleeping" })[0]).toContain("is none of created, running");
  expect(list({ Ports: [{ PrivatePort: 70_000, Type: "tcp" }] })[0]).toContain("is no uint16");
  expect(operationOf("GET", "/v1.40/images/a/b/c/json")?.template).toBe("/images/{name}/json");
  expect(operationOf("GET", "/images/json")?.template).toBe("/images/json");
});
