/**
 * Every endpoint of the API's definition with what no client would send: wrong types, missing and unknown fields, deep
 * and huge bodies, odd queries, paths, methods and encodings. Each is answered with a sentence and never with 5xx
 * (503 and 501 where that is Docker's own answer), nothing hangs, and the engine is as well as before.
 *
 * The seed is the same in every run, so that nobody's work is refused for what chance found; to look for more:
 *
 *   NARU_FUZZ_SEED=7 NARU_FUZZ_RUNS=200   another seed, more cases each
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import * as fc from "fast-check";

import { type Engine, startEngine } from "../e2e/engine.ts";
import { operations, requests, resolveSchema, type Schema } from "./contract.ts";

const SEED = Number(process.env["NARU_FUZZ_SEED"] ?? 20_261_122);
const RUNS = Number(process.env["NARU_FUZZ_RUNS"] ?? 20);
const ANSWER_LIMIT_MS = 100_000;
const MEMORY_LIMIT_MIB = 200;

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
  // It ends at the first signal, so that no odd stop waits for its patience.
  const script = "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done";
  await engine.ok(["run", "-d", "--name", "web", "busybox", "sh", "-c", script]);
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

/** Text that parsers trip over. */
const ODD_TEXTS = [
  "",
  " ",
  "0",
  "-1",
  "1e99",
  "99999999999999999999",
  "NaN",
  "true",
  "null",
  "{}",
  "[]",
  "{",
  '{"a":[1]}',
  '{"label":{"x":1}}',
  '{"name":["["]}',
  "../../etc/passwd",
  "/proc/self/fd/1",
  "a b",
  "a\0b",
  "a\nb",
  "%",
  "%zz",
  "é漢字🚢",
  "\u202e",
  "web",
  "busybox",
  "sha256:zz",
  "localhost:1/x",
  "x".repeat(5000),
];
const oddText = fc.oneof(fc.constantFrom(...ODD_TEXTS), fc.string({ maxLength: 12 }));
const oddValue = fc.oneof(
  oddText,
  fc.constantFrom(null, true, 0, -1, 1.5, 1e308, 2 ** 53, [], {}, [[]], [null], { "": null }),
  fc.json({ maxDepth: 3 }).map((text): unknown => JSON.parse(text)),
);

/** A value as the schema wants it, or now and then another. */
function valueOf(schema: Schema, depth = 0): fc.Arbitrary<unknown> {
  const wanted = wantedOf(resolveSchema(schema), depth);
  return fc.oneof({ arbitrary: wanted, weight: 9 }, { arbitrary: oddValue, weight: 1 });
}

function wantedOf(schema: Schema, depth: number): fc.Arbitrary<unknown> {
  const { type, items, properties = {}, additionalProperties: rest, allOf } = schema;
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (depth > 4) return fc.constant(null);
  if (allOf !== undefined) {
    return fc
      .tuple(...allOf.map((part) => wantedOf(resolveSchema(part), depth)))
      .map((parts) => Object.assign({}, ...parts) as unknown);
  }
  switch (type) {
    case "integer":
    case "number":
      return fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 40, 1.5));
    case "boolean":
      return fc.boolean();
    case "array":
      return fc.array(valueOf(items ?? {}, depth + 1), { maxLength: 3 });
    case "string":
      return oddText;
    case undefined:
    case "object": {
      const fields = Object.entries(properties).map(([name, field]) =>
        fc.tuple(fc.constant(name), valueOf(field, depth + 1)),
      );
      // Few at a time: of many, one is always refused, and the others are never looked at.
      const known = fc
        .subarray(fields, { maxLength: Math.min(fields.length, 3) })
        .chain((some) => fc.tuple(...some));
      const more = typeof rest === "object" ? valueOf(rest, depth + 1) : oddValue;
      const others = fc.dictionary(oddText, more, { maxKeys: typeof rest === "object" ? 2 : 1 });
      return fc
        .tuple(known, fc.oneof({ arbitrary: fc.constant({}), weight: 3 }, others))
        .map(([some, other]) => ({ ...other, ...Object.fromEntries(some) }));
    }
    default:
      return oddValue;
  }
}

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body: string | null;
  readonly contentType: string | null;
}

/** Names that lead nowhere outside: a fuzzer is no port scanner. */
const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  fromImage: ["", "UPPER", "localhost:1/x", "a b", "../x", "x".repeat(300)],
  fromSrc: ["", "-", "http://127.0.0.1:1/", "file:///etc/passwd", "::", "ftp://x"],
  remote: ["", "-", "http://127.0.0.1:1/", "file:///etc/passwd", "::"],
  term: ["", "localhost:1/x", " "],
};

const pathNames = (template: string, method: string): fc.Arbitrary<string> => {
  const nowhere = ["no-such", "UPPER", "localhost:1/x:1", "..", "a b", "x".repeat(4000), "%", "\0"];
  // What the other requests need is not taken away; a name at a registry is not asked for outside.
  const safe = method === "DELETE" || /distribution|push|plugins/.test(template);
  return safe
    ? fc.constantFrom(...nowhere)
    : fc.oneof(
        fc.constantFrom("web", "web", "busybox", "bridge"),
        fc.constantFrom(...nowhere),
        oddText,
      );
};

function askedOf({ method, template }: { method: string; template: string }): fc.Arbitrary<Asked> {
  const { query, body } = requests[template]?.[method] ?? { query: {}, body: null };
  const names = (template.match(/\{[^}]+\}/g) ?? []).map(() => pathNames(template, method));
  const fields = Object.entries(query).map(([name]) => {
    const outside = OUTSIDE[name];
    const value = outside === undefined ? oddText : fc.constantFrom(...outside);
    return fc.tuple(fc.constant(name), value);
  });
  const isOutward = Object.keys(query).some((name) => name in OUTSIDE);
  const pairs =
    fields.length === 0
      ? fc.constant<[string, string][]>([])
      : isOutward
        ? fc.tuple(...fields)
        : fc.subarray(fields).chain((some) => fc.tuple(...some));
  const text =
    body === null
      ? fc.constantFrom(null, "", "{", "{}")
      : fc.oneof(
          { arbitrary: valueOf(body).map((value) => JSON.stringify(value) ?? ""), weight: 8 },
          { arbitrary: fc.constantFrom("", "{", "null", "[]", "7", "\0", '{"a":'), weight: 1 },
        );
  const types = fc.constantFrom(
    "application/json",
    "application/json",
    "application/json",
    "application/json; charset=x",
    "text/plain",
    "",
    ";;",
    null,
  );
  const parts = fc.tuple(fc.tuple(...names), pairs, text, types, fc.tuple(oddText, oddText));
  return parts.map(([chosen, given, sent, contentType, extra]) => {
    const rest = [...chosen];
    const path = template.replaceAll(/\{[^}]+\}/g, () =>
      encodeURIComponent(safeText(rest.shift())),
    );
    const search = [...given, extra]
      .map(
        ([name, value]) =>
          `${encodeURIComponent(safeText(name))}=${encodeURIComponent(safeText(value))}`,
      )
      .join("&");
    return {
      method,
      path: `/v1.51${path}?${search}`,
      body: completed(template, sent),
      contentType,
    };
  });
}

/** Half a surrogate cannot be written as a URL. */
const safeText = (text = ""): string => text.toWellFormed();

/** What an operation cannot begin without, so that the rest of its body is looked at. */
const NEEDED: Readonly<Record<string, Record<string, unknown>>> = {
  "/containers/create": { Image: "busybox", Cmd: ["true"] },
  "/containers/{id}/exec": { Cmd: ["true"] },
};

function completed(template: string, body: string | null): string | null {
  const needed = NEEDED[template];
  if (needed === undefined || body === null || !body.startsWith("{") || !body.endsWith("}")) {
    return withoutHub(template, body);
  }
  return JSON.stringify({ ...(JSON.parse(body) as object), ...needed });
}

/** A login without an address would be one at Docker Hub. */
const withoutHub = (template: string, body: string | null): string | null =>
  template !== "/auth" || body === null || !body.startsWith("{") || body === "{"
    ? body
    : body === "{}"
      ? '{"serveraddress":"localhost:1"}'
      : body.replace(/^\{/, '{"serveraddress":"localhost:1",').replace(/,"serveraddress":.*$/, "}");

/** Docker's own: no swarm, no such registry, and what is truly not there. */
const ALLOWED = new Set([501, 503]);

/** What is wrong with the answer; null when nothing is. */
async function wrongWith(asked: Asked): Promise<string | null> {
  const { method, path, body, contentType } = asked;
  const abort = AbortSignal.timeout(ANSWER_LIMIT_MS);
  const started = performance.now();
  try {
    const answer = await fetch(`http://engine${path}`, {
      unix: engine.daemonSocket,
      method,
      signal: abort,
      // A path that is not clean is answered with the clean one, and a follower would look for a host `engine`.
      redirect: "manual",
      ...(body === null || method === "GET" || method === "HEAD" ? {} : { body }),
      headers: contentType === null ? {} : { "content-type": contentType },
    });
    const { status } = answer;
    if (status < 400) {
      // Streams go on: their head is answer enough.
      await answer.body?.cancel();
      return null;
    }
    const text = method === "HEAD" ? '{"message":"HEAD"}' : await answer.text();
    const sentence = messageIn(text);
    if (status >= 500 && !ALLOWED.has(status)) return `${status} ${text.slice(0, 300)}`;
    return sentence === "" ? `${status} without a sentence: ${text.slice(0, 100)}` : null;
  } catch (thrown) {
    const ms = Math.round(performance.now() - started);
    return `no answer after ${ms} ms: ${String(thrown)}`;
  }
}

function messageIn(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === "string" ? message : "";
  } catch {
    return "";
  }
}

/** Operations whose success does not answer before something ends, and cannot be asked oddly enough to fail. */
const UNFUZZED = new Set([
  "POST /session",
  "POST /containers/{id}/wait",
  "POST /containers/{id}/attach",
]);

async function fuzz(): Promise<string[]> {
  const failures: string[] = [];
  for (const operation of operations) {
    const name = `${operation.method} ${operation.template}`;
    if (UNFUZZED.has(name)) continue;
    for (const asked of fc.sample(askedOf(operation), { seed: SEED, numRuns: RUNS })) {
      const wrong = await wrongWith(asked);
      if (wrong !== null) {
        failures.push(
          `${name}: ${wrong}\n  ${asked.path.slice(0, 300)}\n  ${(asked.body ?? "").slice(0, 600)}`,
        );
      }
    }
  }
  return failures;
}

const residentMib = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${engine.daemonPid}/status`, "utf8"))?.[1]) /
  1024;

async function expectWell(pid: number): Promise<void> {
  expect(engine.daemonPid).toBe(pid);
  expect((await engine.docker(["ps", "-a"])).code).toBe(0);
  expect(await engine.ok(["run", "--rm", "busybox", "echo", "well"])).toBe("well");
  expect(engine.daemonLog()).not.toMatch(/uncaughtException|unhandledRejection/);
}

test("no request is answered with 5xx, none hangs", async () => {
  console.log(`fuzz: seed ${SEED}, ${RUNS} requests for each of ${operations.length} operations`);
  const pid = engine.daemonPid;
  expect(await fuzz()).toEqual([]);
  await expectWell(pid);
});

test("deep and huge bodies are refused everywhere, and memory stays bounded", async () => {
  const before = residentMib();
  const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`;
  const huge = JSON.stringify({ Image: "x".repeat(12_000_000) });
  for (const { method, template } of operations) {
    if (requests[template]?.[method]?.body == null) continue;
    const path = `/v1.51${template.replaceAll(/\{[^}]+\}/g, "web")}`;
    for (const body of [deep, huge]) {
      const answer = await fetch(`http://engine${path}`, {
        unix: engine.daemonSocket,
        method,
        body,
        headers: { "content-type": "application/json" },
        signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
      }).catch(() => null);
      // One that is cut off while it still sends has been refused as well.
      if (answer === null) continue;
      const { status } = answer;
      const text = await answer.text();
      // A load has answered by the time it reads: its refusal comes in the stream.
      const isTold = status === 200 && text.includes('"errorDetail"');
      const isRefused = status >= 400 && (status < 500 || ALLOWED.has(status));
      expect([path, isTold || isRefused]).toEqual([path, true]);
      if (isRefused) expect(messageIn(text)).not.toBe("");
    }
  }
  expect(residentMib() - before).toBeLessThan(MEMORY_LIMIT_MIB);
});

/** Sends bytes and reads until the first answer or the end. "" when nothing came. */
async function raw(text: string): Promise<string> {
  let rest = Buffer.from(text);
  const { promise, resolve } = Promise.withResolvers<string>();
  let heard = "";
  const socket = await Bun.connect({
    unix: engine.daemonSocket,
    socket: {
      data: (_, chunk) => {
        heard += Buffer.from(chunk).toString("latin1");
        if (heard.includes("\r\n\r\n")) resolve(heard);
      },
      close: () => resolve(heard),
      error: () => resolve(heard),
      drain: (one) => void (rest = rest.subarray(one.write(rest))),
    },
  });
  rest = rest.subarray(socket.write(rest));
  const timer = setTimeout(() => resolve("TIMEOUT"), ANSWER_LIMIT_MS);
  const answer = await promise;
  clearTimeout(timer);
  socket.terminate();
  return answer;
}

test("odd request lines, heads and encodings are refused or cut off", async () => {
  const head = "Host: engine\r\n";
  const json = `${head}Content-Type: application/json\r\n`;
  const create = "POST /v1.51/containers/create HTTP/1.1\r\n";
  const odd = [
    "GET\r\n\r\n",
    "GET / HTTP/9.9\r\n\r\n",
    `GET  /info HTTP/1.1\r\n${head}\r\n`,
    `GET http://x/../../etc/passwd HTTP/1.1\r\n${head}\r\n`,
    `GET //v1.51//info HTTP/1.1\r\n${head}\r\n`,
    `GET /v1.51/../../info HTTP/1.1\r\n${head}\r\n`,
    `GET /v1.51/containers/%2e%2e%2f/json HTTP/1.1\r\n${head}\r\n`,
    `GET /v1.51/containers/%ff%fe/json HTTP/1.1\r\n${head}\r\n`,
    `GET /v1.51/containers/%00/json HTTP/1.1\r\n${head}\r\n`,
    `GET /v999.9/info HTTP/1.1\r\n${head}\r\n`,
    `GET /v1/info HTTP/1.1\r\n${head}\r\n`,
    `GET /v1.51/${"a/".repeat(4000)} HTTP/1.1\r\n${head}\r\n`,
    `get /info HTTP/1.1\r\n${head}\r\n`,
    `TRACE /info HTTP/1.1\r\n${head}\r\n`,
    `OPTIONS * HTTP/1.1\r\n${head}\r\n`,
    `PATCH /v1.51/containers/web/json HTTP/1.1\r\n${head}\r\n`,
    `CONNECT engine:1 HTTP/1.1\r\n${head}\r\n`,
    `${create}${json}Content-Length: -5\r\n\r\n`,
    `${create}${json}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}`,
    `${create}${json}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n`,
    `${create}${json}Transfer-Encoding: gzip\r\n\r\n{}`,
    `${create}${json}Content-Length: 2\r\nExpect: what\r\n\r\n{}`,
    `GET /info HTTP/1.1\r\n${head}X: ${"y".repeat(600_000)}\r\n\r\n`,
    `GET /v1.51/containers/web/attach HTTP/1.1\r\n${head}Connection: Upgrade\r\nUpgrade: x\r\n\r\n`,
  ];
  for (const text of odd) {
    const answer = await raw(text);
    expect([text.slice(0, 60), answer === "TIMEOUT"]).toEqual([text.slice(0, 60), false]);
    expect([text.slice(0, 60), /^HTTP\/1\.1 5(?!0[13])/.test(answer)]).toEqual([
      text.slice(0, 60),
      false,
    ]);
  }
  await expectWell(engine.daemonPid);
});
