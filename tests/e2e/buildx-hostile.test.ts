/** Clients that mean no good, or break off in the middle: memory stays bounded, nothing is left, others go on. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
} from "node:http2";
import { connect, type Socket } from "node:net";
import { join } from "node:path";

import { buildxLab, built } from "./buildx.ts";

const lab = buildxLab();
const { contextOf } = lab;

/** A connection that the engine gave away, or the status that it was refused with. */
async function taken(path: string, headers: Record<string, string> = {}): Promise<Socket | number> {
  const socket = connect(lab.engine.daemonSocket);
  socket.on("error", () => {});
  const more = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n${more.join("")}\r\n`,
  );
  let head = "";
  while (!head.includes("\r\n\r\n")) {
    const answer = Promise.withResolvers<Buffer | null>();
    socket.once("data", answer.resolve);
    socket.once("close", () => answer.resolve(null));
    const chunk = await answer.promise;
    if (chunk === null) return 0;
    head += chunk.toString("latin1");
  }
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1]);
  if (status === 101) return socket;
  socket.destroy();
  return status;
}

async function client(): Promise<ClientHttp2Session> {
  const socket = await taken("/grpc");
  if (typeof socket === "number") throw new Error(`refused: ${socket}`);
  const session = connectHttp2("http://x", { createConnection: () => socket });
  session.on("error", () => {});
  return session;
}

function call(session: ClientHttp2Session, method: string, more = {}): ClientHttp2Stream {
  const stream = session.request({
    ":method": "POST",
    ":path": `/moby.buildkit.v1.Control/${method}`,
    "content-type": "application/grpc",
    te: "trailers",
    ...more,
  });
  stream.on("error", () => {});
  return stream;
}

const closed = (one: { once(event: "close", listener: () => void): unknown }): Promise<void> =>
  new Promise((resolve) => void one.once("close", resolve));

const residentMiB = (): number => {
  const status = readFileSync(`/proc/${lab.engine.daemonPid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

/** A whole build through everything that was attacked. */
const stillBuilds = async (): Promise<void> => {
  const Dockerfile = "FROM busybox\nCOPY a /a\nRUN cat /a\n";
  await built(lab.engine, [contextOf({ Dockerfile, a: String(Math.random()) })]);
};

test("frames without an end, in as many calls as there may be, hold no more than is allowed", async () => {
  await stillBuilds();
  const before = residentMiB();
  const session = await client();
  const head = Buffer.from([0, 0, 0xf0, 0, 0]);
  const statuses: Promise<string>[] = [];
  for (let at = 0; at < 24; at += 1) {
    const stream = call(session, "Solve");
    statuses.push(
      new Promise((resolve) => {
        const tell = (headers: object) => {
          const { "grpc-status": status } = headers as { "grpc-status"?: string };
          if (status !== undefined) resolve(status);
        };
        stream.on("response", tell);
        stream.on("trailers", tell);
        stream.once("close", () => resolve("closed"));
      }),
    );
    stream.write(Buffer.concat([head, Buffer.alloc(12 * 1024 * 1024)]));
  }
  // What is beyond the limit is told so; the others wait for the rest that never comes.
  expect(await Promise.race(statuses)).toBe("8");
  session.destroy();
  await closed(session);
  await stillBuilds();
  expect(residentMiB() - before).toBeLessThan(400);
});

test("a frame that is too large, compressed or none, and metadata without bounds are refused", async () => {
  const session = await client();
  for (const bytes of [
    [0, 0xff, 0xff, 0xff, 0xff],
    [1, 0, 0, 0, 1, 0],
    [0, 0, 0, 0, 5, 1],
    [0, 0, 0, 0, 2, 0xff, 0xff],
  ]) {
    const stream = call(session, "Solve");
    const answer = new Promise<unknown>((resolve) => {
      stream.on("response", (headers) => resolve(headers["grpc-status"]));
      stream.once("close", () => resolve("closed"));
    });
    stream.end(Buffer.from(bytes));
    expect(await answer).not.toBe("0");
  }
  session.destroy();
  const huge = await client();
  const stream = call(huge, "ListWorkers", { "x-much": "x".repeat(2 * 1024 * 1024) });
  stream.end(Buffer.alloc(5));
  await Promise.race([closed(stream), closed(huge)]);
  huge.destroy();
  const noise = await taken("/grpc");
  if (typeof noise === "number") throw new Error(`refused: ${noise}`);
  noise.end(Buffer.alloc(100_000, 0x5a));
  await closed(noise);
  await stillBuilds();
});

test("sessions have a limit, and those that are gone make room", async () => {
  const opened: Socket[] = [];
  const refused: number[] = [];
  for (let at = 0; at < 200; at += 1) {
    const session = await taken("/session", {
      "X-Docker-Expose-Session-Uuid": `hostile${at}`,
      "X-Docker-Expose-Session-Grpc-Method": "/moby.filesync.v1.FileSync/DiffCopy",
    });
    if (typeof session === "number") refused.push(session);
    else opened.push(session);
  }
  expect(opened.length).toBe(128);
  expect(new Set(refused)).toEqual(new Set([503]));
  for (const socket of opened) socket.destroy();
  for (const socket of opened) if (!socket.closed) await closed(socket);
  await stillBuilds();
});

test("calls that are left half open, and solves that nobody waits for, leave nothing", async () => {
  for (let round = 0; round < 3; round += 1) {
    const session = await client();
    for (let at = 0; at < 100; at += 1) call(session, at % 2 === 0 ? "Solve" : "Status").write("x");
    for (let at = 0; at < 20; at += 1) {
      // `ref` and `session` of a build whose session never comes.
      const name = Buffer.from(`gone${round}-${at}`);
      const message = Buffer.concat([
        Buffer.from([0x0a, name.length]),
        name,
        Buffer.from([0x2a, name.length]),
        name,
      ]);
      const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
      call(session, "Solve").end(frame);
    }
    session.destroy();
    await closed(session);
  }
  await stillBuilds();
  for (const folder of ["contexts", "scratch"]) {
    const path = join(lab.engine.dataRoot, "build", folder);
    expect(existsSync(path) ? readdirSync(path) : []).toEqual([]);
  }
});
