import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";

import * as fc from "fast-check";

import { joinBytes, readAll } from "#base";

import {
  bytesOf,
  encodeTarHeader,
  rawOf,
  readTarEntries,
  type TarHeader,
  TarParser,
} from "./index.ts";
import { TAR_TRAILER, tarChunks, tarStream, TarWriter, type TarEntrySource } from "./index.ts";

const streamOf = (bytes: Uint8Array, piece = bytes.length || 1) =>
  new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += piece) {
        controller.enqueue(bytes.subarray(at, at + piece));
      }
      controller.close();
    },
  });

/** Every entry with its stored data, parsed in pieces of one size. */
function parse(bytes: Uint8Array, piece = 1 << 20): (TarHeader & { data: Buffer })[] {
  const entries: (TarHeader & { data: Buffer })[] = [];
  const parser = new TarParser({
    entry: (header) => entries.push({ ...header, data: Buffer.alloc(0) }),
    data: (data) => {
      const last = entries.at(-1);
      if (last) last.data = Buffer.concat([last.data, data]);
    },
  });
  for (let at = 0; at < bytes.length; at += piece) parser.push(bytes.subarray(at, at + piece));
  parser.end();
  return entries;
}

async function archive(entries: [TarEntrySource, (Uint8Array | string)?][]): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const writer = new TarWriter((bytes) => void chunks.push(bytes));
  for (const [entry, body] of entries) await writer.add(entry, body);
  await writer.end();
  return Buffer.from(joinBytes(chunks));
}

const gnuTar = (folder: string, ...args: string[]): Buffer => {
  const { stdout, stderr, status } = spawnSync("tar", ["-C", folder, "-cf", "-", ...args], {
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(stderr.toString());
  return stdout;
};

const failureOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "no failure",
    (error: unknown) => String(error),
  );

const folder = () => {
  const path = mkdtempSync("/tmp/naru-test-tar-");
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
};

test("what is written is read back, in pieces of any size", async () => {
  const bytesArbitrary = fc.uint8Array({ maxLength: 1500 });
  const nameArbitrary = fc
    .uint8Array({ minLength: 1, maxLength: 300 })
    .map((bytes) => bytes.map((byte) => byte || 65))
    .filter((bytes) => bytes.at(-1) !== 47);
  const entryArbitrary = fc.record({
    name: nameArbitrary,
    mode: fc.nat(0o7777),
    uid: fc.nat(0xffff_fffe),
    gid: fc.nat(0xffff_fffe),
    mtimeSec: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    mtimeNsec: fc.nat(999_999_999),
    xattrs: fc
      .array(fc.tuple(fc.constantFrom("user.a", "user.b", "security.capability"), bytesArbitrary))
      .map((pairs) => (pairs.length ? new Map(pairs) : null)),
    body: bytesArbitrary,
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(entryArbitrary, { maxLength: 6 }),
      fc.integer({ min: 1, max: 2000 }),
      async (entries, piece) => {
        const tar = await archive(entries.map(({ body, ...entry }) => [entry, body]));
        const read = parse(tar, piece);
        expect(read.length).toBe(entries.length);
        for (const [index, { body, name, xattrs, ...rest }] of entries.entries()) {
          const found = read[index];
          expect(found?.rawName).toBe(rawOf(name));
          expect(found).toMatchObject(rest);
          expect(found?.data.equals(body)).toBe(true);
          expect(
            found && tar.subarray(found.dataOffset, found.dataOffset + body.length).equals(body),
          ).toBe(true);
          for (const [key, value] of xattrs ?? [])
            expect(found?.xattrs?.get(key)).toEqual(Buffer.from(value));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("GNU tar reads what we write", async () => {
  using disk = folder();
  const long = `${"directory/".repeat(30)}file`;
  const tar = await archive([
    [{ name: "plain", mode: 0o4755, uid: 3_000_000, mtimeSec: 1_700_000_000 }, "hello"],
    [{ name: long }, "deep"],
    [{ name: "dir", type: "directory" }],
    [{ name: "link", type: "symlink", link: "x".repeat(200) }],
    [{ name: new Uint8Array([0xff, 0x41]) }, "raw"],
    [{ name: "한글" }, "text"],
  ]);
  writeFileSync(`${disk.path}/a.tar`, tar);
  const list = spawnSync("tar", [
    "--numeric-owner",
    "--quoting-style=escape",
    "-tvf",
    `${disk.path}/a.tar`,
  ]);
  expect(list.stderr.toString()).toBe("");
  const lines = list.stdout.toString();
  expect(lines).toContain("-rwsr-xr-x 3000000/0");
  expect(lines).toContain(long);
  expect(lines).toContain(String.raw`\377A`);
});

test("GNU tar's own archives are read: long names, sparse files in all four forms, pax times", () => {
  using disk = folder();
  const deep = `${disk.path}/${"long-name-".repeat(12)}/${"b".repeat(120)}`;
  mkdirSync(deep, { recursive: true });
  symlinkSync("t".repeat(300), `${deep}/link`);
  writeFileSync(`${deep}/file`, "content");
  spawnSync("touch", ["-d", "@-5.25", `${deep}/file`]);
  const fd = openSync(`${disk.path}/sparse`, "w");
  for (let piece = 0; piece < 40; piece += 1) writeSync(fd, `data ${piece}`, piece * 65536 + 8192);
  ftruncateSync(fd, 40 * 65536);
  closeSync(fd);
  const forms = [
    ["--format=gnu", "--sparse"],
    ["--format=pax", "--sparse", "--sparse-version=0.0"],
    ["--format=pax", "--sparse", "--sparse-version=0.1"],
    ["--format=pax", "--sparse", "--sparse-version=1.0"],
  ];
  const whole = readFileSync(`${disk.path}/sparse`);
  for (const form of forms) {
    const tar = gnuTar(disk.path, ...form, ".");
    for (const piece of [1 << 20, 777]) {
      const entries = parse(tar, piece);
      const sparse = entries.find(({ rawName }) => rawName === "./sparse");
      expect(sparse?.sizeBytes).toBe(whole.length);
      const copy = Buffer.alloc(whole.length);
      let at = 0;
      for (const { offset, sizeBytes } of sparse?.sparse ?? []) {
        sparse?.data.copy(copy, offset, at, at + sizeBytes);
        at += sizeBytes;
      }
      expect(copy.equals(whole)).toBe(true);
      expect(sparse?.data.length).toBeLessThan(400_000);
      expect(entries.find(({ type }) => type === "symlink")?.rawLink).toBe("t".repeat(300));
      const file = entries.find(({ rawName }) => rawName.endsWith("/file"));
      expect(file?.data.toString()).toBe("content");
      expect(file?.mtimeSec).toBe(-6);
      if (form[0] === "--format=pax") expect(file?.mtimeNsec).toBe(750_000_000);
    }
  }
});

test("global pax attributes hold until replaced; a global path or size is nobody's", async () => {
  const record = (text: string) => {
    const body = ` ${text}\n`;
    return `${body.length + 2}${body}`;
  };
  const global = (text: string) => {
    const data = Buffer.alloc(512);
    data.write(text);
    const head = encodeTarHeader({ name: "g", sizeBytes: Buffer.byteLength(text) });
    head.write("g", 156);
    head.fill(0x20, 148, 156);
    head.write(
      `${head
        .reduce((a, b) => a + b, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    return Buffer.concat([head, data]);
  };
  const file = (await archive([[{ name: "f", uid: 5, gid: 6 }, "x"]])).subarray(0, 1024);
  const tar = Buffer.concat([
    global(record("uid=1234567") + record("path=evil") + record("size=99999")),
    file,
    global(record("gid=77") + record("LIBARCHIVE.xattr.user.%41=AP8=")),
    file,
    TAR_TRAILER,
  ]);
  const [first, second] = parse(tar);
  expect(first).toMatchObject({ rawName: "f", uid: 1_234_567, gid: 6, sizeBytes: 1 });
  expect(second).toMatchObject({ rawName: "f", uid: 1_234_567, gid: 77 });
  expect(second?.xattrs?.get("user.A")).toEqual(Buffer.from([0, 255]));
});

test("base-256 numbers are read, and those beyond reason refused", () => {
  const head = (field: number, bytes: number[]) => {
    const block = encodeTarHeader({ name: "big", sizeBytes: 0 });
    block.set(bytes, field);
    block.fill(0x20, 148, 156);
    block.write(
      `${block
        .reduce((a, b) => a + b, 0)
        .toString(8)
        .padStart(6, "0")}\0 `,
      148,
    );
    return Buffer.concat([block, TAR_TRAILER]);
  };
  expect(parse(head(108, [0x80, 0, 0, 0, 0xff, 0, 0, 1]))[0]?.uid).toBe(0xff000001);
  expect(
    parse(head(136, [0xff, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0xfe]))[0]?.mtimeSec,
  ).toBe(-2);
  expect(() => parse(head(108, [0x80, 0, 0, 1, 0, 0, 0, 0]))).toThrow("out of range");
  expect(() =>
    parse(head(124, [0x80, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0xfe])),
  ).toThrow("invalid tar header");
});

test("broken archives are refused with Go's words", async () => {
  const tar = await archive([[{ name: "file" }, "x".repeat(1000)]]);
  expect(() => parse(tar.subarray(0, 100))).toThrow("unexpected EOF");
  expect(() => parse(tar.subarray(0, 900))).toThrow("unexpected EOF");
  expect(parse(tar.subarray(0, 512 + 1000)).length).toBe(1);
  expect(parse(tar.subarray(0, 1536)).length).toBe(1);
  expect(parse(Buffer.alloc(0))).toEqual([]);
  const flipped = Buffer.from(tar);
  flipped[3] = 0x7a;
  expect(() => parse(flipped)).toThrow("archive/tar: invalid tar header");
  expect(() => parse(Buffer.alloc(4096, "not a tar archive"))).toThrow("invalid tar header");
  const bomb = Buffer.concat([tar, Buffer.alloc(17 << 20)]);
  expect(() => parse(bomb)).toThrow("follow the end");
});

test("any bytes at all are parsed or refused with a sentence, never a crash", () => {
  const good = gnuTar("/etc", "hostname", "--format=pax", "--sparse");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 8 }),
      fc.nat(good.length),
      (changes, length) => {
        const bytes = Buffer.from(good.subarray(0, length));
        for (const [at, value] of changes) if (at < length) bytes[at] = value;
        try {
          parse(bytes);
        } catch (error) {
          expect(error).toHaveProperty("kind", "invalid");
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("an archive is iterated entry by entry; unread bodies are skipped, read ones bounded", async () => {
  const tar = await archive([
    [{ name: "a" }, "x".repeat(5000)],
    [{ name: "dir", type: "directory" }],
    [{ name: "b" }, "wanted"],
    [{ name: "c" }, "y".repeat(3000)],
  ]);
  for (const piece of [100, 512, 1 << 20]) {
    const seen: string[] = [];
    for await (const entry of readTarEntries(streamOf(tar, piece))) {
      seen.push(entry.name);
      const tooLarge = () => new Error("too large");
      if (entry.name === "b") {
        expect(bytesOf("wanted").equals(await entry.bytes(10, tooLarge))).toBe(true);
      }
      if (entry.name === "c")
        expect(await failureOf(entry.bytes(10, tooLarge))).toContain("too large");
    }
    expect(seen).toEqual(["a", "dir/", "b", "c"]);
  }
});

test("leaving the loop cancels the stream, and a broken archive breaks it", async () => {
  let cancelled = false;
  const tar = await archive([
    [{ name: "a" }, "1"],
    [{ name: "b" }, "2"],
  ]);
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(tar),
    cancel: () => {
      cancelled = true;
    },
  });
  for await (const entry of readTarEntries(stream)) {
    expect(entry.name).toBe("a");
    break;
  }
  expect(cancelled).toBe(true);
  const broken = async () => {
    for await (const entry of readTarEntries(streamOf(tar.subarray(0, 512)))) void entry;
  };
  expect(await failureOf(broken())).toContain("unexpected EOF");
});

test("a tar stream is written as fast as it is read, and fails with its writer", async () => {
  const stream = tarStream(async (writer) => {
    await writer.add({ name: "x", sizeBytes: 6 }, streamOf(Buffer.from("stream"), 2));
  });
  const bytes = await readAll(stream, { limitBytes: 1e6, tooLarge: () => new Error() });
  expect(parse(bytes)[0]?.data.toString()).toBe("stream");
  const failing = tarStream(async (writer) => {
    await writer.add({ name: "x", sizeBytes: 9 }, streamOf(Buffer.from("short")));
  });
  expect(
    await failureOf(readAll(failing, { limitBytes: 1e6, tooLarge: () => new Error() })),
  ).toContain("5 bytes instead of 9");
});

test("pieces are gathered without losing, mixing or copying the large ones", () => {
  const large = new Uint8Array(100_000).fill(7);
  const sizes = [512, 1000, 24, 512, 0, 31_000, 31_000, 200_000, 3];
  const pieces = sizes.map((size, index) => new Uint8Array(size).fill(index));
  const all = [
    ...pieces,
    large,
    ...pieces,
    ...Array.from({ length: 1000 }, () => pieces[1] ?? large),
  ];
  const gathered = [...tarChunks(all)];
  expect(Buffer.concat(gathered).equals(Buffer.concat(all))).toBe(true);
  expect(gathered).toContain(large);
  expect(gathered.length).toBeLessThan(12);
  expect([...tarChunks([])]).toEqual([]);
});

test("whoever stops taking gathered pieces closes their source", () => {
  let isClosed = false;
  function* source() {
    try {
      for (;;) yield new Uint8Array(64 * 1024);
    } finally {
      isClosed = true;
    }
  }
  for (const piece of tarChunks(source())) {
    expect(piece.length).toBe(64 * 1024);
    break;
  }
  expect(isClosed).toBe(true);
});
