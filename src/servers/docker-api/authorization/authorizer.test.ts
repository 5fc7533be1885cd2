import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { Readable } from "node:stream";

import { Authorizer } from "./authorizer.ts";

const ended: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0)) await end();
});

function folders() {
  const top = mkdtempSync("/tmp/naru-test-authz-");
  ended.push(() => rmSync(top, { recursive: true, force: true }));
  const [sockets, specs] = [join(top, "sockets"), join(top, "specs")];
  for (const folder of [sockets, specs]) mkdirSync(folder);
  return { sockets, specs: [specs] };
}

type Question = Record<string, unknown>;

/** A plugin at a socket. @returns what it was asked */
function plugin(path: string, answer: (question: Question) => Response, does = ["authz"]) {
  const asked: Question[] = [];
  const server = Bun.serve({
    unix: path,
    fetch: async (request) => {
      if (request.url.endsWith("/Plugin.Activate")) return Response.json({ Implements: does });
      const question = (await request.json()) as Question;
      asked.push(question);
      return answer(question);
    },
  });
  ended.push(() => server.stop(true));
  return asked;
}

const allow = () => Response.json({ Allow: true });

function request(body: string, headers: Record<string, string>): IncomingMessage {
  return Object.assign(Readable.from([Buffer.from(body)]), {
    method: "POST",
    headers,
    rawHeaders: Object.entries(headers).flat(),
    socket: {},
  }) as unknown as IncomingMessage;
}

const json = (body: string, more: Record<string, string> = {}) =>
  request(body, { "content-type": "application/json; charset=utf-8", ...more });

const failureOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "",
    (thrown: unknown) => String(thrown),
  );

test("plugins are asked in order, with what the handler reads and without credentials", async () => {
  const where = folders();
  const order: string[] = [];
  mkdirSync(join(where.sockets, "second"));
  const first = plugin(join(where.sockets, "first.sock"), () => (order.push("first"), allow()));
  plugin(join(where.sockets, "second/second.sock"), () => (order.push("second"), allow()));
  const authorizer = new Authorizer(() => ["first", "second"], where);
  await authorizer.check();
  const asked = json('{"a":1}', { authorization: "secret", "x-registry-auth": "x", "x-some": "y" });
  const admission = await authorizer.admit(asked, "/v1.51/containers/create");
  expect(admission.body?.toString()).toBe('{"a":1}');
  await admission.release({ status: 201, headers: { A: "b" }, body: "{}" });
  expect(order).toEqual(["first", "second", "first", "second"]);
  const RequestHeaders = { "Content-Type": "application/json; charset=utf-8", "X-Some": "y" };
  expect(first).toEqual([
    {
      RequestMethod: "POST",
      RequestUri: "/v1.51/containers/create",
      RequestBody: Buffer.from('{"a":1}').toString("base64"),
      RequestHeaders,
    },
    expect.objectContaining({ ResponseStatusCode: 201, ResponseBody: "e30=" }),
  ]);
});

test("archives and credentials are not shown", async () => {
  const where = folders();
  const asked = plugin(join(where.sockets, "one.sock"), allow);
  const authorizer = new Authorizer(() => ["one"], where);
  const tar = request("archive", { "content-type": "application/x-tar" });
  expect((await authorizer.admit(tar, "/build")).body).toBeNull();
  const login = await authorizer.admit(json('{"password":"x"}'), "/v1.51/auth");
  expect(login.body).toBeNull();
  await login.release({ status: 200, headers: {}, body: '{"IdentityToken":"x"}' });
  for (const question of asked) {
    expect(question["RequestBody"]).toBeUndefined();
    expect(question["ResponseBody"]).toBeUndefined();
  }
});

test("one refusal is enough, and what is no clear yes is none", async () => {
  const where = folders();
  const answers: Record<string, () => Response> = {
    no: () => Response.json({ Allow: false, Msg: "not you" }),
    odd: () => Response.json({ Allow: "yes" }),
    broken: () => Response.json({ Err: "it broke" }, { status: 500 }),
    old: () => new Response("as text", { status: 500 }),
    list: () => new Response("3"),
  };
  plugin(join(where.sockets, "yes.sock"), allow);
  const said: Record<string, string> = {};
  for (const [name, answer] of Object.entries(answers)) {
    plugin(join(where.sockets, `${name}.sock`), answer);
    const authorizer = new Authorizer(() => ["yes", name], where);
    said[name] = await failureOf(authorizer.admit(json("{}"), "/info"));
  }
  expect(said).toEqual({
    no: "EngineError: authorization denied by plugin no: not you",
    odd: "EngineError: authorization denied by plugin odd: ",
    broken: "Error: plugin broken failed with error: AuthZPlugin.AuthZReq: it broke",
    old: "Error: plugin old failed with error: AuthZPlugin.AuthZReq: as text",
    list: "Error: plugin list failed with error: AuthZPlugin.AuthZReq: the answer is no object",
  });
});

test("a plugin is found by its socket or its file, and by nothing else", async () => {
  const where = folders();
  const [specs = ""] = where.specs;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => Response.json({ Implements: ["authz"] }),
  });
  ended.push(() => server.stop(true));
  writeFileSync(join(specs, "text.spec"), `tcp://127.0.0.1:${server.port}\n`);
  const described = { Name: "described", Addr: `http://127.0.0.1:${server.port}` };
  writeFileSync(join(specs, "described.json"), JSON.stringify(described));
  writeFileSync(join(specs, "odd.spec"), "ftp://x");
  plugin(join(where.sockets, "volumes.sock"), allow, ["VolumeDriver"]);
  const checked = (name: string) => failureOf(new Authorizer(() => [name], where).check());
  expect(await checked("text")).toBe("");
  expect(await checked("described")).toBe("");
  expect(await checked("odd")).toContain("Error validating authorization plugin: Unknown protocol");
  expect(await checked("volumes")).toContain("Plugin does not implement the requested driver");
  for (const name of ["nosuch", "../specs/text", "..", ""]) {
    expect(await checked(name)).toContain("v1 plugin registry: plugin not found");
  }
});

test("a body that is too large is refused, not let pass unseen", async () => {
  const where = folders();
  const asked = plugin(join(where.sockets, "one.sock"), allow);
  const authorizer = new Authorizer(() => ["one"], where);
  const huge = json("x".repeat(5_000_000));
  expect(await failureOf(authorizer.admit(huge, "/containers/create"))).toContain("too large");
  expect(asked).toEqual([]);
});

test("an answer without an end is cut off, and allows nothing", async () => {
  const places = folders();
  const endless = () =>
    new Response(new ReadableStream({ pull: (out) => out.enqueue(new Uint8Array(65_536)) }));
  plugin(join(places.sockets, "endless.sock"), endless);
  const authorizer = new Authorizer(() => ["endless"], places);
  expect(await failureOf(authorizer.admit(json("{}"), "/v1.51/containers/create"))).toContain(
    "the answer is too large",
  );
});
