import { expect, test } from "bun:test";
import { createServer, connect, type Socket } from "node:net";

import { fromBinary } from "@bufbuild/protobuf";
import * as fc from "fast-check";

import { GrpcConnection } from "./client.ts";
import { encodeGrpcFrame, GrpcFrameReader } from "./frames.ts";
import { Auth, BytesMessageSchema } from "./generated/filesync_pb.ts";
import { Control } from "./generated/buildkit_pb.ts";
import { bytesMessage } from "./packets-out.ts";
import { GrpcRouter, serveGrpc } from "./server.ts";
import { failureOf, GrpcFailure, grpcFailure, trailersOf } from "./status.ts";

const never = new AbortController().signal;

/** Both ends of a connection. */
async function pair(): Promise<{ here: Socket; there: Socket } & Disposable> {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const here = connect(port, "127.0.0.1");
  const there = await accepted.promise;
  return {
    here,
    there,
    [Symbol.dispose]: () => {
      for (const socket of [here, there]) socket.destroy();
      server.close();
    },
  };
}

const tell = (error: unknown): GrpcFailure =>
  error instanceof GrpcFailure ? error : grpcFailure(2, String(error));

test("messages are whole however they were cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 500 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 700 }),
      (messages, cut) => {
        const wire = Buffer.concat(messages.map(encodeGrpcFrame));
        const reader = new GrpcFrameReader(1000);
        const read: string[] = [];
        for (let at = 0; at < wire.length; at += cut) {
          for (const one of reader.push(wire.subarray(at, at + cut))) {
            read.push(Buffer.from(one).toString("hex"));
          }
        }
        expect(read).toEqual(messages.map((one) => Buffer.from(one).toString("hex")));
        expect(reader.isInside).toBe(false);
      },
    ),
    { numRuns: 100 },
  );
});

test("a message that is too large, or compressed, is refused by its head", () => {
  const reader = () => new GrpcFrameReader(10);
  expect(() => reader().push(encodeGrpcFrame(new Uint8Array(11)).subarray(0, 5))).toThrow(
    "larger than max",
  );
  expect(() => reader().push(new Uint8Array([1, 0, 0, 0, 0]))).toThrow("compressed");
});

test("a sentence survives its way through headers", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 100 }), (sentence) => {
      const trailers = trailersOf(grpcFailure(5, sentence));
      for (const value of Object.values(trailers)) expect(value).toMatch(/^[\x20-\x7e]*$/);
      expect(failureOf(trailers)?.message).toBe(sentence);
    }),
  );
  expect(failureOf(trailersOf(null))).toBeNull();
  expect(failureOf({})?.code).toBe(2);
});

test("calls are answered, with a stream or a failure, and unknown ones refused", async () => {
  using ends = await pair();
  const router = new GrpcRouter()
    .unary(Auth.method.credentials, async ({ host }) => {
      if (host === "bad") throw grpcFailure(7, "not for you: ünï");
      return { username: host, secret: "s".repeat(100_000) };
    })
    .stream(Control.method.status, async function* ({ ref }) {
      for (let at = 0; at < 3; at += 1) yield { vertexes: [{ name: `${ref} ${at}` }] };
    });
  serveGrpc(ends.there, router, tell);
  using client = new GrpcConnection(ends.here);
  const ask = (host: string) =>
    client.unary(Auth.method.credentials, { host }, { signal: never }).then(
      ({ username, secret }) => `${username} ${secret.length}`,
      (cause: unknown) => (cause instanceof GrpcFailure ? `${cause.code} ${cause.message}` : ""),
    );
  expect(await Promise.all([ask("one"), ask("bad"), ask("two")])).toEqual([
    "one 100000",
    "7 not for you: ünï",
    "two 100000",
  ]);
  using call = client.open(Control.method.status, { signal: never });
  await call.send(new Uint8Array([0x0a, 1, 0x78]));
  call.end();
  let count = 0;
  for await (const messages of call.messages()) count += messages.length;
  expect(count).toBe(3);
  const unknown = client.unary(Control.method.info, {}, { signal: never });
  expect(await unknown.catch(tell)).toMatchObject({ code: 12 });
});

test("a call that is given up is over on both sides, and so is a connection", async () => {
  using ends = await pair();
  const given = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const router = new GrpcRouter().unary(Auth.method.credentials, async (_, { signal }) => {
    begun.resolve();
    signal.addEventListener("abort", () => given.resolve(), { once: true });
    await given.promise;
    return {};
  });
  serveGrpc(ends.there, router, tell);
  using client = new GrpcConnection(ends.here);
  const abort = new AbortController();
  const asked = client.unary(Auth.method.credentials, {}, { signal: abort.signal }).catch(String);
  await begun.promise;
  abort.abort(new Error("enough"));
  expect(await asked).toBe("Error: enough");
  await given.promise;
  const other = client.unary(Auth.method.credentials, {}, { signal: never }).catch(String);
  ends.there.destroy();
  expect(await other).toBe("Error: the session has ended");
  expect(client.closed.aborted).toBe(true);
});

test("what is no HTTP/2 ends the connection and nothing else", async () => {
  using ends = await pair();
  serveGrpc(ends.there, new GrpcRouter(), tell);
  const closed = new Promise((resolve) => ends.here.once("close", resolve));
  ends.here.resume();
  ends.here.write("GET / HTTP/1.1\r\n\r\n".repeat(10));
  await closed;
});

test("a call carries a connection, both ways no faster than the slower side, until one of them has gone", async () => {
  using ends = await pair();
  const over = Promise.withResolvers<void>();
  const method = { name: "Session", parent: { typeName: "some.Service" } };
  const router = new GrpcRouter().tunnel(
    "/some.Service/Session",
    async (connection, { header }) => {
      connection.write(header("name"));
      connection.pipe(connection);
      await new Promise((resolve) => connection.once("close", resolve));
      over.resolve();
    },
  );
  serveGrpc(ends.there, router, tell);
  using client = new GrpcConnection(ends.here);
  using call = client.open(method, { signal: never, metadata: { name: "tunnel" } });
  const pieces = Array.from({ length: 40 }, (_, at) => Buffer.alloc(50_000, at));
  const sending = (async () => {
    for (const piece of pieces) await call.send(bytesMessage(piece));
  })();
  const heard: Uint8Array[] = [];
  let heardBytes = 0;
  for await (const messages of call.messages()) {
    for (const message of messages) {
      const { data } = fromBinary(BytesMessageSchema, message);
      heard.push(data);
      heardBytes += data.length;
    }
    if (heardBytes >= 2_000_006) break;
  }
  await sending;
  expect(Buffer.concat(heard).equals(Buffer.concat([Buffer.from("tunnel"), ...pieces]))).toBe(true);
  call[Symbol.dispose]();
  await over.promise;
});

test("more than one message, or none, is no call", async () => {
  using ends = await pair();
  serveGrpc(
    ends.there,
    new GrpcRouter().unary(Auth.method.credentials, async () => ({})),
    tell,
  );
  using client = new GrpcConnection(ends.here);
  for (const messages of [[], [new Uint8Array(0), new Uint8Array(0)]]) {
    using call = client.open(Auth.method.credentials, { signal: never });
    if (messages.length > 0) await call.send(...messages);
    call.end();
    const read = async () => {
      for await (const some of call.messages()) void some;
      return null;
    };
    expect(await read().catch(tell)).toMatchObject({ code: 13 });
  }
});

test("a client that answers no ping is given up, one that does is kept", async () => {
  const limits = { intervalMs: 5, limitMs: 20 };
  using silent = await pair();
  // It reads what comes, and says nothing: what a machine that is gone looks like.
  silent.there.resume();
  using mute = new GrpcConnection(silent.here, limits);
  await new Promise((gone) => mute.closed.addEventListener("abort", gone, { once: true }));

  using ends = await pair();
  const patient = { intervalMs: 5, limitMs: 60_000 };
  const router = new GrpcRouter().unary(Auth.method.credentials, async () => ({}));
  serveGrpc(ends.there, router, tell, patient);
  using client = new GrpcConnection(ends.here, patient);
  for (let round = 0; round < 20; round += 1) {
    await client.unary(Auth.method.credentials, {}, { signal: never });
  }
  expect(client.closed.aborted).toBe(false);
});
