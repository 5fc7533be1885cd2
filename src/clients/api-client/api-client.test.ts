import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";

import * as fc from "fast-check";

import { sentenceOf } from "#base";

import { ApiClient, encodeName } from "./client.ts";
import { listContainers, runExec } from "./containers.ts";
import { endpointText, parseHost } from "./endpoint.ts";
import { ApiError, ConnectionError } from "./errors.ts";
import { jsonLines } from "./json-lines.ts";

const root = mkdtempSync("/tmp/naru-test-api-");
let servers: Server[] = [];
afterEach(() => {
  for (const server of servers) server.close();
  servers = [];
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const failureOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "no failure",
    (cause: unknown) => sentenceOf(cause),
  );

/** A server that answers every connection by `script`, byte for byte. */
async function serve(script: (socket: Socket) => void): Promise<ApiClient> {
  const path = `${root}/${servers.length}-${Math.random()}.sock`;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    script(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return new ApiClient({ endpoint: parseHost(`unix://${path}`) });
}

const once = (answer: string | Uint8Array) => (socket: Socket) => {
  socket.once("data", () => socket.end(answer));
};

describe("answers", () => {
  test("any cut of a chunked answer is read as the same text", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ minLength: 1, maxLength: 40 }), { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 40 }),
        async (texts, cuts) => {
          const chunks = texts.map((text) => Buffer.from(text));
          const body = chunks.map((chunk) =>
            Buffer.concat([
              Buffer.from(`${chunk.length.toString(16)};x=y\r\n`),
              chunk,
              Buffer.from("\r\n"),
            ]),
          );
          const whole = Buffer.concat([
            Buffer.from(
              "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            ...body,
            Buffer.from("0\r\nTrailer: x\r\n\r\n"),
          ]);
          const client = await serve((socket) => {
            socket.once("data", () => {
              let at = 0;
              for (const cut of cuts) {
                socket.write(whole.subarray(at, at + cut));
                at += cut;
              }
              socket.end(whole.subarray(at));
            });
          });
          const response = await client.request({ method: "GET", path: "/x" });
          expect(await response.text()).toBe(texts.join(""));
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each([
    ["with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello more"],
    ["until the end", "HTTP/1.1 200 OK\r\n\r\nhello"],
  ])("%s", async (_, answer) => {
    const client = await serve(once(answer));
    expect(await (await client.request({ method: "GET", path: "/x" })).text()).toBe("hello");
  });

  test("a truncated answer is an error, never a short text", async () => {
    const client = await serve(once("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"));
    const response = await client.request({ method: "GET", path: "/x" });
    expect(await failureOf(response.text())).toMatch("unexpected EOF");
  });

  test.each([
    ["garbage", "hello world\r\n\r\n"],
    ["nothing", ""],
    ["an endless head", `HTTP/1.1 200 OK\r\n${"x: y\r\n".repeat(20_000)}`],
    ["a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
  ])("%s is an error of the connection", async (_, answer) => {
    const client = await serve(once(answer));
    const text = async () => (await client.request({ method: "GET", path: "/x" })).text();
    expect(await failureOf(text())).toMatch(/HTTP|chunk/);
  });

  test("an answer larger than its limit is refused", async () => {
    const client = await serve(once(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(100_000)}`));
    const response = await client.request({ method: "GET", path: "/x" });
    expect(await failureOf(response.text(1000))).toMatch("larger than 1000 bytes");
  });

  test("an error carries the server's own sentence and its kind", async () => {
    const body = JSON.stringify({ message: "No such container: x" });
    const client = await serve(
      once(`HTTP/1.1 404 Not Found\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
    );
    const failure = await listContainers(client).catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(ApiError);
    expect(failure).toMatchObject({
      kind: "notFound",
      status: 404,
      message: "No such container: x",
    });
  });

  test("lines of JSON are split whatever the chunks", async () => {
    const client = await serve((socket) => {
      socket.once("data", () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n{"a":1}\n{"a"');
        setImmediate(() => socket.end(':2}\r\n\n{"a":3}'));
      });
    });
    const found: unknown[] = [];
    const response = await client.request({ method: "GET", path: "/events" });
    for await (const line of jsonLines(response)) found.push(line);
    expect(found).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
  });
});

describe("connections", () => {
  test("one connection carries request after request", async () => {
    let connections = 0;
    const client = await serve((socket) => {
      connections += 1;
      socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"));
    });
    await listContainers(client);
    await listContainers(client);
    expect(connections).toBe(1);
    client.close();
  });

  test("a socket that is not there, and one that refuses, are no running daemon", async () => {
    const client = new ApiClient({ endpoint: parseHost("unix:///nope.sock") });
    const failure = await listContainers(client).catch((cause: unknown) => cause);
    expect(failure).toBeInstanceOf(ConnectionError);
    expect(failure).toMatchObject({
      failure: "notRunning",
      message:
        "Cannot connect to the Naru daemon at unix:///nope.sock. Is the naru daemon running?",
    });
  });

  test("an abort ends a wait with its reason", async () => {
    const client = await serve(() => undefined);
    const controller = new AbortController();
    const waiting = client.request({ method: "GET", path: "/x", signal: controller.signal });
    controller.abort(new Error("enough"));
    expect(await failureOf(waiting)).toMatch("enough");
  });

  test("an offered stream is taken, left aside on the same connection, refused, or too new", async () => {
    const asked: string[] = [];
    const answers = [
      '400 x\r\nContent-Length: 66\r\n\r\n{"message":"too new. Maximum supported API version is 1.43 or so"}',
      '201 Created\r\nContent-Length: 13\r\n\r\n{"Id":"abcd"}',
      "101 UPGRADED\r\nUpgrade: naru-exec\r\nNaru-Exec-Id: 12\r\n\r\nrest",
    ];
    let connections = 0;
    const client = await serve((socket) => {
      connections += 1;
      socket.on("data", (chunk: Buffer) => {
        const [first = ""] = chunk.toString().split("\r\n");
        asked.push(`${first}${chunk.includes("Upgrade: naru-exec") ? " offered" : ""}`);
        socket.write(`HTTP/1.1 ${answers.shift() ?? "404 x\r\nContent-Length: 0\r\n\r\n"}`);
      });
    });
    expect(await runExec(client, "c", { Cmd: ["true"] })).toEqual({ Id: "abcd" });
    const taken = await runExec(client, "c", { Cmd: ["true"] });
    expect("wire" in taken && taken.headers.get("naru-exec-id")).toBe("12");
    expect("wire" in taken && Buffer.from((await taken.wire.read()) ?? []).toString()).toBe("rest");
    // What was left aside leaves the connection as good as it was; a refusal ends it.
    expect(connections).toBe(2);
    expect(await failureOf(runExec(client, "c", { Cmd: ["true"] }))).toContain("404");
    const line = (version: string) => `POST /v${version}/containers/c/exec HTTP/1.1 offered`;
    expect(asked).toEqual(["1.51", "1.43", "1.43", "1.43"].map(line));
    if ("wire" in taken) taken.wire.close();
  });

  test("a hijacked connection is a stream in both directions with half-close", async () => {
    const client = await serve((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst ");
        let received = "";
        socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
        socket.on("end", () => socket.end(`got ${received}`));
      });
    });
    const { wire } = await client.hijack({ method: "POST", path: "/attach" });
    await wire.write("abc");
    wire.finish();
    let text = "";
    for (let chunk = await wire.read(); chunk; chunk = await wire.read()) text += chunk.toString();
    expect(text).toBe("first got abc");
  });

  test("a large stream is not held in memory: the server has to wait for the reader", async () => {
    let sent = 0;
    const client = await serve((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        const block = Buffer.alloc(256 * 1024);
        const more = () => {
          while (sent < 64 * 1024 * 1024) {
            sent += block.length;
            if (!socket.write(block)) {
              socket.once("drain", more);
              return;
            }
          }
          socket.end();
        };
        more();
      });
    });
    const response = await client.request({ method: "GET", path: "/x" });
    let read = (await response.read())?.length ?? 0;
    // Every chance for the server, which lives in this loop too, to run ahead.
    for (let turn = 0; turn < 500; turn += 1) await new Promise(setImmediate);
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    for (let chunk = await response.read(); chunk; chunk = await response.read()) {
      read += chunk.length;
    }
    expect(read).toBe(64 * 1024 * 1024);
  });

  test("an upload stops at the server's refusal, which is what the caller sees", async () => {
    const body = JSON.stringify({ message: "no space left on device" });
    const client = await serve((socket) => {
      socket.on("data", (chunk: Buffer) => {
        if (chunk.toString().startsWith("HEAD")) {
          socket.write("HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\n\r\n");
        } else if (chunk.toString().startsWith("POST")) {
          socket.write(`HTTP/1.1 500 x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
        }
      });
    });
    async function* endless() {
      for (;;) {
        yield new Uint8Array(65536);
        await new Promise(setImmediate);
      }
    }
    const upload = client.request({ method: "POST", path: "/images/load", body: endless() });
    expect(await failureOf(upload)).toMatch("no space left on device");
  });
});

describe("hosts", () => {
  test.each([
    ["unix:///run/x.sock", "unix:///run/x.sock"],
    ["tcp://host:1", "tcp://host:1"],
    ["tcp://host", "tcp://host:2375"],
    ["host", "tcp://host:2375"],
    [":5", "tcp://localhost:5"],
    ["tcp://[::1]:5", "tcp://[::1]:5"],
    ["http://h", "tcp://h:2375"],
  ])("%s", (host, text) => expect(endpointText(parseHost(host))).toBe(text));

  test.each([
    ["foo://x", "invalid bind address format: foo://x"],
    ["unix://relative", "unable to parse docker host"],
    ["tcp://h:99999", "unable to parse docker host"],
    ["ssh://", "ssh host connection is not valid: no host specified"],
    ["ssh://me:secret@h", "plain-text password is not supported"],
    ["ssh://-oProxyCommand=x", "ssh host connection is not valid: invalid host"],
    ["ssh://h?x", "extra query after the host"],
    ["npipe://h", "the npipe:// scheme is not implemented"],
  ])("%s is refused", (host, message) => expect(() => parseHost(host)).toThrow(message));

  test("TLS has its own port", () => {
    expect(endpointText(parseHost("tcp://h", { verify: true }))).toBe("tcp://h:2376");
  });
});

test("names keep their slashes and lose everything that could leave the path", () => {
  expect(encodeName("localhost:5000/a/b:1@x")).toBe("localhost:5000/a/b:1@x");
  expect(encodeName("a?b#c d%2e")).toBe("a%3Fb%23c%20d%252e");
});
