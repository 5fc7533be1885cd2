import { expect, test } from "bun:test";

import { create, type GrpcStream, type MessageInitShape, PacketSchema, toBinary } from "#wire/grpc";

import { foldersOf } from "./folders.ts";
import type { Session } from "./session.ts";

type Packet = MessageInitShape<typeof PacketSchema>;

const DIRECTORY = 0x80000000;
const SYMLINK = 1 << 27;
const never = new AbortController().signal;
const text = (value: string) => new TextEncoder().encode(value);

const stat = (path: string, more: object = {}): Packet => ({
  type: 0,
  stat: { path: text(path), mode: 0o644, size: 1n, ...more },
});
const END: Packet = { type: 0 };
const data = (id: number, value: string): Packet => ({ type: 2, id, data: text(value) });

/** A client that says this, whatever it is asked. */
function clientOf(packets: readonly Packet[], sharedKey = "key") {
  const sent: Uint8Array[] = [];
  const stream = {
    send: async (...messages: readonly Uint8Array[]) => void sent.push(...messages),
    end: () => {},
    async *messages() {
      for (const packet of packets) yield [toBinary(PacketSchema, create(PacketSchema, packet))];
    },
    [Symbol.dispose]: () => {},
  } as unknown as GrpcStream;
  const session = { sharedKey, openFiles: () => stream } as unknown as Session;
  const progress = () => ({ bytes: () => {}, done: () => {} });
  const folders = foldersOf(session, { dockerfile: "dockerfile", context: "context" }, progress);
  return { sent, list: () => folders.list("context", { followPaths: [], excludes: [] }, never) };
}

const failureOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => null,
    (cause: unknown) => cause,
  );

test("a folder is told in order, and files come as they are asked for", async () => {
  const { list, sent } = clientOf([
    stat("a", { mode: DIRECTORY + 0o755 }),
    stat("a/link", { mode: SYMLINK + 0o777, linkname: text("../b") }),
    stat("a/socket", { mode: (1 << 24) + 0o600 }),
    stat("a/two", { size: 5n }),
    stat("b"),
    stat("c", { linkname: text("a/two") }),
    END,
    data(3, "he"),
    data(3, "llo"),
    data(3, ""),
  ]);
  using listing = await list();
  expect(listing.key).toMatch(/^[0-9a-f]{64}$/);
  expect(listing.entries.map(({ path, type, sameAs }) => [path, type, sameAs])).toEqual([
    ["a", "directory", null],
    ["a/link", "symlink", null],
    ["a/two", "file", null],
    ["b", "file", null],
    ["c", "file", 2],
  ]);
  const pieces: string[] = [];
  for await (const { index, bytes } of listing.read([2])) {
    pieces.push(`${index} ${new TextDecoder().decode(bytes)}`);
  }
  expect(pieces).toEqual(["2 he", "2 llo", "2 "]);
  // Asked for by the client's own number, then done.
  expect(sent).toHaveLength(2);
});

test.each([
  ["a path that leaves the folder", [stat("../a")]],
  ["a path that goes up on the way", [stat("a", { mode: DIRECTORY }), stat("a/../b")]],
  ["an absolute path", [stat("/a")]],
  ["an empty path", [stat("")]],
  ["a path that is not clean", [stat("a", { mode: DIRECTORY }), stat("a//b")]],
  ["a path with a NUL", [stat("a\0b")]],
  ["the same path twice", [stat("a"), stat("a")]],
  ["paths out of order", [stat("b"), stat("a")]],
  ["something below a file", [stat("a"), stat("a/b")]],
  ["something below a link", [stat("a", { mode: SYMLINK, linkname: text("/") }), stat("a/b")]],
  ["a folder that was not told", [stat("a/b")]],
  ["a folder that was left", [stat("a", { mode: DIRECTORY }), stat("b"), stat("a/c")]],
  ["another name of what was not told", [stat("a", { linkname: text("/etc/passwd") })]],
  ["a size below nothing", [stat("a", { size: -1n })]],
  ["data before it was asked for", [data(0, "x")]],
  ["an error of its own", [{ type: 4, data: text("no permission") }]],
  ["no end", [stat("a")]],
])("a list with %s is refused", async (_, packets) => {
  const { list } = clientOf(packets);
  expect(await failureOf(list())).toBeInstanceOf(Error);
});

test("files that were not asked for, or not sent, are refused", async () => {
  for (const packets of [[data(7, "x")], [data(0, "x")], [stat("b")], [{ type: 4 }]]) {
    const { list } = clientOf([stat("a"), END, ...packets]);
    using listing = await list();
    const read = async () => {
      for await (const piece of listing.read([0])) void piece;
    };
    expect(await failureOf(read())).toBeInstanceOf(Error);
  }
});

test("without a key of the client's nothing is kept", async () => {
  using listing = await clientOf([END], "").list();
  expect(listing.key).toBe("");
});
