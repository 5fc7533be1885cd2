import { expect, test } from "bun:test";
import { connect, createServer, type Socket } from "node:net";

import { encodeFrame, FLAG, FRAME, type FrameHead, FrameReader, numbers } from "./http2-frames.ts";
import { encodeFields, type HeaderField } from "./hpack.ts";
import { Http2Connection } from "./http2.ts";

const PREFACE_BYTES = 24;

interface Heard extends FrameHead {
  readonly body: Buffer;
}

/** The other side by hand: every frame that it hears, and frames of any kind that it says. */
class Peer implements Disposable {
  readonly #socket: Socket;
  readonly #heard: Heard[] = [];
  readonly #reader: FrameReader;
  #prefaceLeft = PREFACE_BYTES;
  #more = Promise.withResolvers<void>();
  readonly closed: Promise<void>;

  constructor(socket: Socket) {
    this.#socket = socket;
    let parts: Uint8Array[] = [];
    const add = (head: FrameHead, body: Uint8Array) => {
      this.#heard.push({ ...head, body: Buffer.from(body) });
      this.#more.resolve();
      this.#more = Promise.withResolvers();
    };
    const data = (head: FrameHead, bytes: Uint8Array, isLast: boolean) => {
      parts.push(Buffer.from(bytes));
      if (!isLast) return;
      add(head, Buffer.concat(parts));
      parts = [];
    };
    this.#reader = new FrameReader({ frame: add, data }, 1 << 24);
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        resolve();
        this.#more.resolve();
      });
    });
    socket.on("data", (chunk: Buffer) => {
      const cut = Math.min(this.#prefaceLeft, chunk.length);
      this.#prefaceLeft -= cut;
      this.#reader.push(chunk.subarray(cut));
    });
    socket.on("error", () => undefined);
  }

  say(type: number, body: Uint8Array = new Uint8Array(0), flags = 0, stream = 0): void {
    this.#socket.write(encodeFrame({ type, flags, stream }, body));
  }

  /** The next frame of a kind. */
  async next(type: number): Promise<Heard> {
    for (;;) {
      const at = this.#heard.findIndex((frame) => frame.type === type);
      const [found] = at < 0 ? [] : this.#heard.splice(at, 1);
      if (found !== undefined) return found;
      await this.#more.promise;
    }
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

async function pair(): Promise<{ here: Http2Connection; peer: Peer } & Disposable> {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer((socket) => accepted.resolve(socket)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const peer = new Peer(connect(port, "127.0.0.1"));
  const here = new Http2Connection(await accepted.promise);
  return {
    here,
    peer,
    [Symbol.dispose]: () => {
      for (const end of [here, peer]) end[Symbol.dispose]();
      server.close();
    },
  };
}

const setting = (id: number, value: number): Buffer => {
  const unit = Buffer.alloc(6);
  unit.writeUInt16BE(id, 0);
  unit.writeUInt32BE(value, 2);
  return unit;
};

function opened(here: Http2Connection) {
  const answer: HeaderField[] = [];
  const call = here.open([[":path", "/a"]], (fields) => answer.push(...fields));
  if (call === null) throw new Error("no call");
  return { call, answer };
}

test("a call goes out with its fields, its bytes in large frames, and its end", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings, Buffer.concat([setting(4, 1 << 20), setting(5, 1 << 20)]));
  peer.say(FRAME.windowUpdate, numbers(1 << 20));
  await peer.next(FRAME.settings);
  const acknowledged = await peer.next(FRAME.settings);
  expect(acknowledged.flags).toBe(FLAG.ack);
  const { call, answer } = opened(here);
  expect(await call.write([Buffer.alloc(200_000, 1), Buffer.alloc(100_000, 2)])).toBe(true);
  call.end();
  expect((await peer.next(FRAME.headers)).stream).toBe(1);
  const lengths: number[] = [];
  for (let sum = 0; sum < 300_000;) {
    const { length, flags } = await peer.next(FRAME.data);
    lengths.push(length);
    sum += length;
    if (sum === 300_000 && (flags & FLAG.endStream) === 0) await peer.next(FRAME.data);
  }
  expect(lengths.length).toBeLessThan(6);
  peer.say(FRAME.headers, encodeFields([[":status", "200"]]), FLAG.endHeaders, 1);
  peer.say(FRAME.data, Buffer.from("yes"), 0, 1);
  peer.say(FRAME.headers, encodeFields([["end", "1"]]), FLAG.endHeaders | FLAG.endStream, 1);
  const arrived: string[] = [];
  for await (const some of call.arriving()) arrived.push(Buffer.concat(some).toString());
  expect([arrived, answer, call.isOver]).toEqual([
    ["yes"],
    [
      [":status", "200"],
      ["end", "1"],
    ],
    true,
  ]);
});

test("who tells of room in small pieces is not answered in small pieces", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings);
  const { call } = opened(here);
  const written = call.write([Buffer.alloc(400_000)]);
  const lengths: number[] = [];
  const hear = async (upTo: number) => {
    for (let sum = 0; sum < upTo;) {
      const { length } = await peer.next(FRAME.data);
      lengths.push(length);
      sum += length;
    }
  };
  // Most of the window that everybody begins with.
  await hear(48_000);
  for (let told = 0; told < 16; told += 1) {
    peer.say(FRAME.windowUpdate, numbers(1000), 0, 1);
    peer.say(FRAME.windowUpdate, numbers(1000));
    peer.say(FRAME.ping, numbers(0, told));
    await peer.next(FRAME.ping);
  }
  peer.say(FRAME.windowUpdate, numbers(500_000), 0, 1);
  peer.say(FRAME.windowUpdate, numbers(500_000));
  expect(await written).toBe(true);
  await hear(400_000 - lengths.reduce((sum, length) => sum + length, 0));
  expect(lengths.slice(0, -1).every((length) => length >= 16_000)).toBe(true);
});

test("a window that settings change counts for calls that are open", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings, setting(4, 0));
  peer.say(FRAME.windowUpdate, numbers(1_000_000));
  peer.say(FRAME.ping, numbers(1, 2));
  expect((await peer.next(FRAME.ping)).body).toEqual(numbers(1, 2));
  const { call } = opened(here);
  const written = call.write([Buffer.alloc(300_000)]);
  peer.say(FRAME.settings, setting(4, 400_000));
  expect(await written).toBe(true);
  for (let sum = 0; sum < 300_000;) sum += (await peer.next(FRAME.data)).length;
});

test("a call that is given up is reset; one that the other side resets ends for its writer and reader", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings);
  const { call } = opened(here);
  call.cancel();
  expect(await peer.next(FRAME.reset)).toMatchObject({ stream: 1, body: numbers(8) });
  const second = opened(here).call;
  const written = second.write([Buffer.alloc(400_000)]);
  await peer.next(FRAME.data);
  peer.say(FRAME.reset, numbers(2), 0, 3);
  expect(await written).toBe(false);
  for await (const some of second.arriving()) throw new Error(`${some.length} pieces of nothing`);
  expect(second.write([Buffer.alloc(1)])).toBe(false);
});

test("what arrives is allowed for when it is read, and no more than that", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings);
  const { call } = opened(here);
  const piece = Buffer.alloc(65_536);
  for (let at = 0; at < 40; at += 1) peer.say(FRAME.data, piece, 0, 1);
  peer.say(FRAME.ping, numbers(0, 7));
  await peer.next(FRAME.ping);
  // The connection's first, which was told with the greeting.
  expect(await peer.next(FRAME.windowUpdate)).toMatchObject({ stream: 0 });
  const reading = call.arriving();
  for (let count = 0; count < 40 * piece.length;) {
    const { value } = await reading.next();
    count += value === undefined ? Number.NaN : Buffer.concat(value).length;
  }
  // Who asks for more has read what he got.
  reading.next().catch(() => undefined);
  expect((await peer.next(FRAME.windowUpdate)).stream).toBe(1);
  for (let at = 0; at < 300; at += 1) peer.say(FRAME.data, piece, 0, 1);
  await peer.closed;
});

const fieldsOf = (bytes: number) => encodeFields([["a", "x".repeat(bytes)]]);

test.each<[string, (peer: Peer) => void]>([
  ["no settings first", (peer) => peer.say(FRAME.ping, numbers(0, 0))],
  ["a frame that is too long", (peer) => peer.say(FRAME.data, Buffer.alloc(200_000), 0, 1)],
  ["data of a call that never was", (peer) => peer.say(FRAME.data, Buffer.alloc(1), 0, 3)],
  ["data of the connection", (peer) => peer.say(FRAME.data, Buffer.alloc(1), 0, 0)],
  ["a promise", (peer) => peer.say(FRAME.promise, numbers(2), FLAG.endHeaders, 1)],
  ["a window that overflows", (peer) => peer.say(FRAME.windowUpdate, numbers(2 ** 31 - 1), 0, 1)],
  ["a window that grows by nothing", (peer) => peer.say(FRAME.windowUpdate, numbers(0), 0, 1)],
  ["settings that are cut", (peer) => peer.say(FRAME.settings, Buffer.alloc(5))],
  ["a first window that is too large", (peer) => peer.say(FRAME.settings, setting(4, 2 ** 31))],
  ["a short ping", (peer) => peer.say(FRAME.ping, numbers(1))],
  ["a short reset", (peer) => peer.say(FRAME.windowUpdate, Buffer.alloc(2), 0, 1)],
  [
    "fields that are broken",
    (peer) => peer.say(FRAME.headers, Buffer.of(0x80), FLAG.endHeaders, 1),
  ],
  [
    "fields that are cut off by something else",
    (peer) => {
      peer.say(FRAME.headers, fieldsOf(10), 0, 1);
      peer.say(FRAME.data, Buffer.alloc(1), 0, 1);
    },
  ],
  [
    "fields without end",
    (peer) => {
      peer.say(FRAME.headers, fieldsOf(10), 0, 1);
      for (let at = 0; at < 30_000; at += 1) peer.say(FRAME.continuation, Buffer.alloc(0), 0, 1);
    },
  ],
  [
    "more padding than there is room",
    (peer) => peer.say(FRAME.data, Buffer.of(9, 1, 1), FLAG.padded, 1),
  ],
  [
    "more data than it may send",
    (peer) => {
      for (let at = 0; at < 200; at += 1) peer.say(FRAME.data, Buffer.alloc(65_536), 0, 1);
    },
  ],
])("the connection ends for %s", async (what, say) => {
  using ends = await pair();
  const { here, peer } = ends;
  if (what !== "no settings first") peer.say(FRAME.settings);
  const { call } = opened(here);
  await peer.next(FRAME.headers);
  say(peer);
  await peer.closed;
  for await (const some of call.arriving()) void some;
  expect([call.isOver, here.isOver]).toEqual([true, true]);
});

test("padding is no part of what is read, and counts", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings);
  const { call } = opened(here);
  peer.say(
    FRAME.data,
    Buffer.concat([Buffer.of(3), Buffer.from("data"), Buffer.alloc(3)]),
    FLAG.padded,
    1,
  );
  const fields = encodeFields([["a", "b"]]);
  peer.say(
    FRAME.headers,
    Buffer.concat([Buffer.of(2, 0, 0, 0, 0, 9), fields, Buffer.alloc(2)]),
    FLAG.endHeaders | FLAG.endStream | FLAG.padded | FLAG.priority,
    1,
  );
  const read: string[] = [];
  for await (const some of call.arriving()) read.push(Buffer.concat(some).toString());
  expect(read).toEqual(["data"]);
});

test("after a farewell no call is begun, and those that were heard go on", async () => {
  using ends = await pair();
  const { here, peer } = ends;
  peer.say(FRAME.settings);
  const [one, two] = [opened(here).call, opened(here).call];
  peer.say(FRAME.goAway, numbers(1, 0));
  for await (const some of two.arriving()) void some;
  expect([one.isOver, two.isOver, here.open([], () => undefined)]).toEqual([false, true, null]);
});
