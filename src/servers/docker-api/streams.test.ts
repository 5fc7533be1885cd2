/** Streams that last: hijacked connections, half-closes, slow readers, clients that go away. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { dlopen, FFIType, ptr } from "bun:ffi";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

import { FrameDecoder } from "#wire/docker";

import { type ApiServer, createApiServer } from "./index.ts";
import { type FakeEngine, fakeEngine } from "./testing/fake-engine.ts";

let folder: string;
let unix: string;
let engine: FakeEngine;
let server: ApiServer;

beforeAll(async () => {
  folder = mkdtempSync("/tmp/naru-test-api-");
  unix = join(folder, "api.sock");
  engine = fakeEngine();
  server = createApiServer(engine);
  await server.listen({ path: unix });
});

afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

const call = (method: string, path: string, body?: unknown): Promise<Response> =>
  fetch(`http://localhost${path}`, {
    unix,
    method,
    ...(body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });

async function container(config: object): Promise<string> {
  const response = await call("POST", "/containers/create", { Image: "busybox", ...config });
  return ((await response.json()) as { Id: string }).Id;
}

interface Client {
  readonly socket: Socket;
  /** Everything up to and with `marker`. */
  until(marker: string): Promise<string>;
  /** Everything to the end. */
  rest(): Promise<Buffer>;
}

/** A connection with a request already sent. */
async function client(request: string, path = unix): Promise<Client> {
  const socket = connect({ path, allowHalfOpen: true });
  await once(socket, "connect");
  let got = Buffer.alloc(0);
  let wake = () => {};
  const state = { ended: false };
  socket.on("data", (chunk: Buffer) => {
    got = Buffer.concat([got, chunk]);
    wake();
  });
  socket.once("end", () => {
    state.ended = true;
    wake();
  });
  socket.write(request);
  const more = () => new Promise<void>((resolve) => (wake = resolve));
  return {
    socket,
    async until(marker) {
      while (!got.includes(marker) && !state.ended) await more();
      const end = got.indexOf(marker) + marker.length;
      const text = got.subarray(0, end).toString();
      got = got.subarray(end);
      return text;
    },
    async rest() {
      while (!state.ended) await more();
      return got;
    },
  };
}

const UPGRADE = "Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n";
const hijack = (path: string, body = "", more = "") =>
  `POST ${path} HTTP/1.1\r\n${UPGRADE}${body === "" ? "" : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`}\r\n${body}${more}`;

function textOf(frames: Uint8Array): { stdout: string; stderr: string } {
  const text = { stdout: "", stderr: "" };
  const decoder = new FrameDecoder((stream, payload) => {
    if (stream === "stdout" || stream === "stderr") text[stream] += Buffer.from(payload).toString();
  });
  decoder.push(frames);
  decoder.end();
  return text;
}

const ATTACH = "stream=1&stdin=1&stdout=1&stderr=1";

test("attach answers 101 with the type of its stream; older clients are told raw", async () => {
  const id = await container({ Cmd: ["both"] });
  const newer = await client(hijack(`/v1.51/containers/${id}/attach?${ATTACH}`));
  expect(await newer.until("\r\n\r\n")).toBe(
    "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
  );
  const older = await client(hijack(`/v1.41/containers/${id}/attach?${ATTACH}`));
  expect(await older.until("\r\n\r\n")).toContain("application/vnd.docker.raw-stream");
  await call("POST", `/containers/${id}/start`);
  expect(textOf(await newer.rest())).toEqual({ stdout: "to stdout\n", stderr: "to stderr\n" });
  expect(textOf(await older.rest())).toEqual({ stdout: "to stdout\n", stderr: "to stderr\n" });
  newer.socket.destroy();
  older.socket.destroy();
});

test("a terminal's stream is raw", async () => {
  const id = await container({ Cmd: ["echo", "hi"], Tty: true });
  const one = await client(hijack(`/containers/${id}/attach?${ATTACH}`));
  expect(await one.until("\r\n\r\n")).toContain("application/vnd.docker.raw-stream");
  await call("POST", `/containers/${id}/start`);
  expect((await one.rest()).toString()).toBe("hi\n");
  one.socket.destroy();
});

test("stdin sent together with the request arrives, and half-close ends it", async () => {
  const id = await container({ Cmd: ["cat"], OpenStdin: true });
  await call("POST", `/containers/${id}/start`);
  const one = await client(hijack(`/containers/${id}/attach?${ATTACH}`, "", "early "));
  await one.until("\r\n\r\n");
  one.socket.end("late");
  expect(textOf(await one.rest()).stdout).toBe("early late");
});

test("exec start reads its JSON before the stream, stdin in the same packet included", async () => {
  const id = await container({ Cmd: ["sleep"] });
  await call("POST", `/containers/${id}/start`);
  const exec = await call("POST", `/containers/${id}/exec`, { Cmd: ["cat"], AttachStdin: true });
  const { Id: execId } = (await exec.json()) as { Id: string };
  const one = await client(
    hijack(`/exec/${execId}/start`, '{"Detach":false,"Tty":false}', "typed"),
  );
  await one.until("\r\n\r\n");
  one.socket.end();
  expect(textOf(await one.rest()).stdout).toBe("typed");
  const inspect = await call("GET", `/exec/${execId}/json`);
  expect(await inspect.json()).toMatchObject({ Running: false, ExitCode: 0, ContainerID: id });
});

test("an exec in one exchange: created, started, its frames, its input and its exit code", async () => {
  const id = await container({ Cmd: ["sleep"] });
  await call("POST", `/containers/${id}/start`);
  const offer = (body: object, to = id) => {
    const head = hijack(`/containers/${to}/exec`, JSON.stringify(body));
    return client(head.replace("Upgrade: tcp", "Upgrade: naru-exec"));
  };
  const follow = async (body: object) => {
    const one = await offer({ AttachStdout: true, AttachStderr: true, ...body });
    const head = await one.until("\r\n\r\n");
    expect(head).toContain("Upgrade: naru-exec\r\nNaru-Exec-Id: ");
    one.socket.end("typed");
    let exitCode = -1;
    const said: string[] = [];
    const decoder = new FrameDecoder(
      (stream, payload) => said.push(`${stream} ${Buffer.from(payload).toString()}`),
      (code) => (exitCode = code),
    );
    decoder.push(await one.rest());
    decoder.end();
    return { said, exitCode };
  };
  expect(await follow({ Cmd: ["both"] })).toEqual({
    said: ["stdout to stdout\n", "stderr to stderr\n"],
    exitCode: 3,
  });
  expect(await follow({ Cmd: ["cat"], AttachStdin: true })).toEqual({
    said: ["stdout typed"],
    exitCode: 0,
  });
  expect(await follow({ Cmd: ["nowhere"] })).toMatchObject({
    said: [expect.stringContaining('exec: "nowhere": executable file not found')],
    exitCode: 127,
  });
  // What makes the request itself wrong has a status, and a terminal the usual two exchanges.
  const unknown = await offer({ Cmd: ["true"] }, "nosuch");
  expect(await unknown.until("\r\n\r\n")).toStartWith("HTTP/1.1 404 ");
  const terminal = await offer({ Cmd: ["true"], Tty: true });
  expect(await terminal.until("}")).toMatch(/^HTTP\/1.1 201 [^]*"Id":"[0-9a-f]{64}"/);
  for (const { socket } of [unknown, terminal]) socket.destroy();
});

test("without an upgrade the output is the body, and the request's body is stdin", async () => {
  const id = await container({ Cmd: ["cat"], OpenStdin: true });
  await call("POST", `/containers/${id}/start`);
  const response = await fetch(`http://localhost/containers/${id}/attach?${ATTACH}`, {
    unix,
    method: "POST",
    body: "from the body",
  });
  expect(response.status).toBe(200);
  expect(textOf(await response.bytes()).stdout).toBe("from the body");
});

test("an upgrade that is refused is a plain answer, and the connection ends", async () => {
  const one = await client(hijack("/containers/nothing/attach?stream=1"));
  const answer = await one.rest();
  expect(answer.toString()).toStartWith("HTTP/1.1 404 Not Found\r\n");
  expect(answer.toString()).toEndWith('{"message":"No such container: nothing"}\n');
  const other = await client(`GET /_ping HTTP/1.1\r\n${UPGRADE}\r\n`);
  expect((await other.rest()).toString()).toEndWith("OK");
});

/** Resolves when `signal` has aborted. */
const aborted = async (signal: AbortSignal | undefined): Promise<void> => {
  if (signal !== undefined && !signal.aborted) await once(signal, "abort");
};

test("a client that goes away aborts its wait, its logs and its pull", async () => {
  const id = await container({ Cmd: ["sleep"] });
  await call("POST", `/containers/${id}/start`);
  for (const [method, path] of [
    ["POST", `/containers/${id}/wait`],
    ["GET", `/containers/${id}/logs?follow=1&stdout=1`],
    ["POST", "/images/create?fromImage=slow"],
  ] as const) {
    const one = await client(`${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
    await one.until("200 OK\r\n");
    const signal = engine.containers.signals.at(-1);
    expect(signal?.aborted).toBe(false);
    one.socket.destroy();
    await aborted(signal);
  }
  expect(engine.errors).toEqual([]);
});

test("the head of a wait arrives before the exit, its body after", async () => {
  const id = await container({ Cmd: ["true"] });
  const one = await client(
    `POST /containers/${id}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n`,
  );
  expect(await one.until("\r\n\r\n")).toStartWith("HTTP/1.1 200 OK");
  await call("POST", `/containers/${id}/start`);
  expect(await one.until("}")).toContain('{"StatusCode":0}');
  one.socket.destroy();
});

test("an attacher that goes away leaves the container alone", async () => {
  const id = await container({ Cmd: ["sleep"], OpenStdin: true });
  await call("POST", `/containers/${id}/start`);
  const { detached } = engine.containers;
  const one = await client(hijack(`/containers/${id}/attach?${ATTACH}`));
  await one.until("\r\n\r\n");
  one.socket.destroy();
  while (engine.containers.detached === detached) await new Promise((next) => setImmediate(next));
  expect(engine.containers.resolve(id).state.status).toBe("running");
});

const settle = async (value: () => number): Promise<number> => {
  for (let seen = -1; ;) {
    const now = value();
    if (now === seen) return now;
    seen = now;
    for (let turn = 0; turn < 100; turn += 1) await new Promise((next) => setImmediate(next));
  }
};

test("a reader that does not read holds the process back instead of filling memory", async () => {
  const id = await container({ Cmd: ["flood", "200"] });
  const one = await client(hijack(`/containers/${id}/attach?stream=1&stdout=1`));
  await one.until("\r\n\r\n");
  one.socket.pause();
  await call("POST", `/containers/${id}/start`);
  const written = () => engine.containers.written(id);
  expect(await settle(written)).toBeLessThan(4 * 1024 * 1024);
  one.socket.resume();
  one.socket.removeAllListeners("data");
  let size = 0;
  one.socket.on("data", (chunk: Buffer) => (size += chunk.length));
  await once(one.socket, "end");
  expect(size).toBeGreaterThan(190 * 1024 * 1024);
  one.socket.destroy();
});

test("a puller that reads slowly gets fewer lines, and the last one", async () => {
  const one = await client(
    "POST /images/create?fromImage=slow HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
  );
  await one.until("200 OK\r\n");
  one.socket.pause();
  const signal = engine.containers.signals.at(-1);
  await settle(() => process.memoryUsage().rss >> 24);
  expect(signal?.aborted).toBe(false);
  one.socket.resume();
  const text = await one.until("0\r\n\r\n");
  expect(text).toContain("Downloaded newer image");
  expect(text.length).toBeLessThan(8_000_000);
  one.socket.destroy();
});

test("an upload that is refused does not block a client that only writes, nor for ever", async () => {
  const size = 30 * 1024 * 1024;
  for (const page of [
    "/images/load?platform=no/such/platform/at/all",
    "/images/create?fromSrc=-&repo=Broken&tag=1",
  ]) {
    const one = await client(`POST ${page} HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n`);
    const chunk = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < size; sent += chunk.length) {
      if (!one.socket.write(chunk)) await once(one.socket, "drain");
    }
    expect(await one.until("\r\n\r\n")).toMatch(/^HTTP\/1.1 400/);
    one.socket.destroy();
  }
});

test("a load that fails half way answers while the client still sends", async () => {
  const size = 30 * 1024 * 1024;
  const one = await client(
    `POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\nbroken`,
  );
  // As Docker: what is wrong with an archive is said in the stream.
  expect(await one.until("\r\n\r\n")).toStartWith("HTTP/1.1 200");
  expect(await one.until("}\r\n")).toContain("errorDetail");
  const chunk = Buffer.alloc(1024 * 1024);
  // The server may cut it off at any moment, which some writes meet as an error.
  let goOn = () => {};
  for (const event of ["drain", "error", "close"]) one.socket.on(event, () => goOn());
  for (let sent = 6; sent < size && one.socket.writable; sent += chunk.length) {
    const room = new Promise<void>((resolve) => (goOn = resolve));
    if (!one.socket.write(chunk)) await room;
  }
  one.socket.destroy();
});

test("a websocket carries plain output and stdin, answers pings and closes properly", async () => {
  const id = await container({ Cmd: ["cat"], OpenStdin: true });
  await call("POST", `/containers/${id}/start`);
  const one = await client(
    `GET /containers/${id}/attach/ws?${ATTACH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  const head = await one.until("\r\n\r\n");
  expect(head).toContain("HTTP/1.1 101");
  expect(head).toContain("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  const masked = (opcode: number, text: string) =>
    Buffer.concat([
      Buffer.from([0x80 | opcode, 0x80 | text.length, 0, 0, 0, 0]),
      Buffer.from(text),
    ]);
  one.socket.write(masked(9, "are you there"));
  expect(await one.until("are you there")).toBe(
    "\u008a\rare you there".replace("\u008a", "\uFFFD"),
  );
  one.socket.write(masked(1, "hello"));
  expect(await one.until("hello")).toEndWith("\u0005hello");
  one.socket.write(masked(8, ""));
  expect((await one.rest()).subarray(0, 1)).toEqual(Buffer.from([0x88]));
  one.socket.destroy();
});

test("a websocket whose client asks without reading the answers is not read any further", async () => {
  const id = await container({ Cmd: ["cat"], OpenStdin: true });
  await call("POST", `/containers/${id}/start`);
  const one = await client(
    `GET /containers/${id}/attach/ws?${ATTACH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await one.until("\r\n\r\n");
  one.socket.pause();
  const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125)]);
  const pings = Buffer.concat(Array.from({ length: 128 * 1024 }, () => ping));
  one.socket.write(pings);
  await settle(() => one.socket.bytesWritten - one.socket.writableLength);
  expect(one.socket.writableLength).toBeGreaterThan(0);
  one.socket.destroy();
});

test("a page that wants a websocket refuses a client that is none", async () => {
  const id = await container({ Cmd: ["cat"] });
  expect((await call("GET", `/containers/${id}/attach/ws`)).status).toBe(400);
  expect((await call("GET", "/containers/nothing/attach/ws")).status).toBe(404);
});

test("events tell the past and the present without a gap, filtered, until their end", async () => {
  const publish = (action: string) =>
    engine.events.publish({
      type: "container",
      action,
      actorId: "abc123",
      attributes: { name: "web", image: "busybox:latest", tier: "front" },
    });
  publish("create");
  const filters = encodeURIComponent(
    JSON.stringify({ container: ["web"], event: ["create", "die", "exec_start"] }),
  );
  const one = await client(`GET /events?since=1&filters=${filters} HTTP/1.1\r\nHost: x\r\n\r\n`);
  await one.until('"Action":"create"');
  publish("start");
  publish("exec_start: sh");
  publish("die");
  const text = await one.until('"Action":"die"');
  expect(text).toContain('"Action":"exec_start: sh"');
  expect(text).not.toContain('"Action":"start"');
  expect(text).toContain('"status":"exec_start: sh","id":"abc123","from":"busybox:latest"');
  expect(text).toMatch(/"timeNano":\d{19}\}/);
  one.socket.destroy();
});

test("a stale socket is replaced, a living one is left alone, and its mode lets the group in", async () => {
  const refusal: unknown = await createApiServer(fakeEngine())
    .listen({ path: unix })
    .catch((thrown: unknown) => thrown);
  expect(String(refusal)).toContain(`an engine already answers on ${unix}`);
  const path = join(folder, "stale.sock");
  const first = Bun.listen({ unix: path, socket: { data() {} } });
  first.stop(true);
  writeFileSync(`${path}.other`, "");
  const second = createApiServer(fakeEngine());
  await second.listen({ path });
  expect(statSync(path).mode & 0o777).toBe(0o660);
  const response = await fetch("http://localhost/_ping", { unix: path });
  expect(await response.text()).toBe("OK");
  expect(response.headers.get("api-version")).toBe("1.51");
  await second.close();
});

/** A listening descriptor as systemd hands it over. */
function listeningDescriptor(path: string): number {
  const { symbols: libc } = dlopen("libc.so.6", {
    socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
    bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
    listen: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  });
  const address = new Uint8Array(new ArrayBuffer(110));
  address[0] = 1; // AF_UNIX
  address.set(new TextEncoder().encode(path), 2);
  const fd = libc.socket(1, 1, 0);
  expect(libc.bind(fd, ptr(address), address.length)).toBe(0);
  expect(libc.listen(fd, 16)).toBe(0);
  return fd;
}

test("a descriptor that listens already serves requests and hijacked streams alike", async () => {
  const path = join(folder, "systemd.sock");
  const local = fakeEngine();
  const second = createApiServer(local);
  await second.listen({ fd: listeningDescriptor(path), network: "unix", tls: null });
  const post = (page: string, body = "") =>
    fetch(`http://localhost${page}`, {
      unix: path,
      method: "POST",
      ...(body === "" ? {} : { body, headers: { "content-type": "application/json" } }),
    });
  const created = await post(
    "/containers/create",
    '{"Image":"busybox","Cmd":["cat"],"OpenStdin":true}',
  );
  const { Id: id } = (await created.json()) as { Id: string };
  await post(`/containers/${id}/start`);
  const one = await client(hijack(`/containers/${id}/attach?${ATTACH}`), path);
  await one.until("\r\n\r\n");
  one.socket.end("typed");
  expect(textOf(await one.rest()).stdout).toBe("typed");
  const waiting = await client(
    `POST /containers/${id}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n`,
    path,
  );
  await waiting.until("200 OK");
  const signal = local.containers.signals.at(-1);
  waiting.socket.destroy();
  await aborted(signal);
  await second.close();
});

test("closing cuts every connection and answers no more", async () => {
  const path = join(folder, "closing.sock");
  const local = createApiServer(fakeEngine());
  await local.listen({ path });
  const listening = await client("GET /events HTTP/1.1\r\nHost: x\r\n\r\n", path);
  await listening.until("\r\n\r\n");
  await local.close();
  await listening.rest();
  const answer = await fetch("http://localhost/_ping", { unix: path }).catch(() => null);
  expect(answer).toBeNull();
});

test("that something was done is answered when it stays done, what is only read at once", async () => {
  const settled = Promise.withResolvers<void>();
  const own = createApiServer({ ...engine, settled: () => settled.promise });
  const path = join(folder, "settled.sock");
  await own.listen({ path });
  const created = fetch("http://localhost/volumes/create", {
    unix: path,
    method: "POST",
    body: JSON.stringify({ Name: "late" }),
    headers: { "content-type": "application/json" },
  });
  let isAnswered = false;
  void created.then(() => (isAnswered = true));
  expect((await fetch("http://localhost/_ping", { unix: path })).status).toBe(200);
  expect((await fetch("http://localhost/info", { unix: path })).status).toBe(200);
  expect(isAnswered).toBe(false);
  settled.resolve();
  expect((await created).status).toBe(201);
  await own.close();
});
