import { expect, setSystemTime, test } from "bun:test";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

import {
  discardingLogWriter,
  encodeLogEntries,
  type LogFileOptions,
  type LogEntry,
  openLogWriter,
  readLog,
  type ReadLogRequest,
} from "./index.ts";
import { appendEscaped } from "./json-line.ts";
import { EntryClock, fullTime, timeText } from "./timestamp.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (content: string) => new TextEncoder().encode(content);

function temporaryLog(options: Partial<LogFileOptions> = {}) {
  const folder = mkdtempSync("/tmp/naru-test-logs-");
  const all: LogFileOptions = {
    path: join(folder, "box-json.log"),
    maxSizeBytes: null,
    maxFiles: 1,
    compress: false,
    attributes: {},
    ...options,
  };
  return {
    options: all,
    path: all.path,
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const everything = (path: string): ReadLogRequest => ({
  path,
  stdout: true,
  stderr: true,
  tail: null,
  since: null,
  until: null,
  ended: null,
});

async function collect(request: ReadLogRequest): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for await (const batch of readLog(request)) entries.push(...batch);
  return entries;
}

const lines = (path: string) => readFileSync(path, "utf8").trimEnd().split("\n");
const printed = (entries: readonly LogEntry[]) =>
  entries.map((entry) => text(entry.bytes)).join("");

test("a line is written exactly as Docker's json-file driver writes it", () => {
  using log = temporaryLog({ attributes: { tag: "a<b", env: "x" } });
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes('say "hi"\t\\ <b>&\u2028 한글 \x7f\x01\r\n'));
  writer.close();
  const [line = ""] = lines(log.path);
  expect(line.replace(/"time":"[^"]*"/, '"time":"T"')).toBe(
    String.raw`{"log":"say \"hi\"\u0009\\ \u003cb\u003e\u0026\u2028 ` +
      "한글 \x7f" +
      String.raw`\u0001\r\n","stream":"stdout","attrs":{"tag":"a\u003cb","env":"x"},"time":"T"}`,
  );
  expect(JSON.parse(line).time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{8}[1-9]Z$/);
});

test("bytes that are not UTF-8 become U+FFFD one by one, valid ones stay", () => {
  const escape = (input: number[]) => {
    const out = new Uint8Array(256);
    const length = appendEscaped(out, 0, new Uint8Array(input), 0, input.length);
    return text(out.subarray(0, length));
  };
  const bad = String.raw`\ufffd`;
  expect(escape([0xff, 0x41])).toBe(`${bad}A`);
  expect(escape([0xc0, 0x80])).toBe(bad + bad); // overlong
  expect(escape([0xed, 0xa0, 0x80])).toBe(bad + bad + bad); // surrogate
  expect(escape([0xf4, 0x90, 0x80, 0x80])).toBe(bad.repeat(4)); // beyond U+10FFFF
  expect(escape([0xe2, 0x82])).toBe(bad + bad); // cut
  expect(escape([0xf0, 0x9f, 0x9a, 0xa2])).toBe("🚢");
  expect(escape([0xe2, 0x82, 0xac, 0xc3, 0xa9])).toBe("€é");
});

test("random bytes come back as the text that Go would decode them to", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  const noise = new Uint8Array(60_000);
  for (let index = 0; index < noise.length; index += 1) noise[index] = (index * 7919) >> 3;
  for (let at = 0; at < noise.length; at += 777)
    writer.write("stdout", noise.subarray(at, at + 777));
  writer.close();
  for (const line of lines(log.path)) JSON.parse(line);
  const valid = bytes("plain ascii, 한글, 🚢\n".repeat(500));
  const second = openLogWriter(log.options);
  for (let at = 0; at < valid.length; at += 13) second.write("stderr", valid.subarray(at, at + 13));
  second.close();
  const entries = await collect({ ...everything(log.path), stdout: false });
  expect(printed(entries)).toBe(text(valid));
});

test("a line longer than 16 KiB becomes pieces, of which only the last has a newline", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes(`short\n${"x".repeat(40_000)}`));
  writer.write("stdout", bytes("yz\n"));
  writer.write("stdout", bytes(`${"e".repeat(16_384)}\n`));
  writer.close();
  const entries = await collect(everything(log.path));
  expect(entries.map((entry) => entry.bytes.length)).toEqual([6, 16_384, 16_384, 7235, 16_384, 1]);
  expect(text(entries[3]?.bytes ?? bytes("")).endsWith("xyz\n")).toBe(true);
});

test("an unfinished line waits for its end, streams do not mix, and the end of the stream writes it", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("pass"));
  writer.write("stderr", bytes("alarm\n"));
  expect(printed(await collect(everything(log.path)))).toBe("alarm\n");
  writer.write("stdout", bytes("word\nno newline"));
  writer.end("stdout");
  expect(printed(await collect(everything(log.path)))).toBe("alarm\npassword\nno newline");
  writer.close();
  writer.close();
});

test("times within a log only grow, in whole nine digits", () => {
  const clock = new EntryClock();
  let before = "";
  for (let round = 0; round < 3; round += 1) {
    clock.read();
    for (let index = 0; index < 1000; index += 1) {
      clock.next();
      const time = text(clock.bytes);
      expect(time > before).toBe(true);
      expect(fullTime(time)).toBe(time);
      expect(time).toMatch(/[1-9]Z$/);
      before = time;
    }
  }
  expect(Math.abs(Date.parse(before) - Date.now())).toBeLessThan(60_000);
  expect(fullTime("2026-01-02T03:04:05.12Z")).toBe("2026-01-02T03:04:05.120000000Z");
  expect(fullTime("2026-01-02T03:04:05+09:00")).toBe("2026-01-01T18:04:05.000000000Z");
  expect(fullTime("yesterday")).toBeNull();
  expect(timeText(1_700_000_000_123_456_789n)).toBe("2023-11-14T22:13:20.123456789Z");
});

test("a small step back of the clock keeps the order, a large one is believed", () => {
  const clock = new EntryClock();
  const at = (date: string): string => {
    setSystemTime(new Date(date));
    clock.read();
    clock.next();
    return text(clock.bytes);
  };
  try {
    const first = at("2038-01-19T03:14:07.500Z");
    expect(first).toStartWith("2038-01-19T03:14:07.5");
    const second = at("2038-01-19T03:14:05Z");
    expect(second > first).toBe(true);
    expect(second).toStartWith("2038-01-19T03:14:07.5");
    expect(at("2026-11-23T05:00:00Z")).toStartWith("2026-11-23T05:00:00.0");
    expect(at("2026-11-23T05:00:01Z")).toStartWith("2026-11-23T05:00:01.0");
  } finally {
    setSystemTime();
  }
});

test("a log rotates before it grows beyond its size, and no line is lost or out of order", async () => {
  using log = temporaryLog({ maxSizeBytes: 4096, maxFiles: 1000 });
  const writer = openLogWriter(log.options);
  for (let index = 0; index < 100; index += 1) {
    writer.write(
      "stdout",
      bytes(Array.from({ length: 20 }, (_, n) => `line ${index * 20 + n}\n`).join("")),
    );
  }
  writer.close();
  const entries = await collect(everything(log.path));
  expect(entries.map((entry) => text(entry.bytes))).toEqual(
    Array.from({ length: 2000 }, (_, n) => `line ${n}\n`),
  );
  for (const file of readdirSync(dirname(log.path))) {
    expect(readFileSync(join(dirname(log.path), file)).length).toBeLessThanOrEqual(4096);
  }
});

test("only so many files are kept", async () => {
  using log = temporaryLog({ maxSizeBytes: 1000, maxFiles: 3 });
  const writer = openLogWriter(log.options);
  for (let index = 0; index < 200; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
  writer.close();
  expect(readdirSync(dirname(log.path)).sort()).toEqual([
    "box-json.log",
    "box-json.log.1",
    "box-json.log.2",
  ]);
  expect(printed(await collect(everything(log.path))).endsWith("line 199\n")).toBe(true);
});

test("rotated files are compressed and read back all the same", async () => {
  using log = temporaryLog({ maxSizeBytes: 2000, maxFiles: 50, compress: true });
  const writer = openLogWriter(log.options);
  const finished = () => readdirSync(dirname(log.path)).some((name) => name.endsWith(".1.gz"));
  for (let index = 0; index < 40; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
  while (!finished()) await new Promise(setImmediate);
  for (let index = 40; index < 60; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
  writer.close();
  const wanted = Array.from({ length: 60 }, (_, n) => `line ${n}\n`).join("");
  expect(printed(await collect(everything(log.path)))).toBe(wanted);
  expect(printed(await collect({ ...everything(log.path), tail: 55 }))).toBe(
    wanted.slice(wanted.indexOf("line 5\n")),
  );
});

test("tail counts from the end, across files and blocks", async () => {
  using log = temporaryLog({ maxSizeBytes: 300_000, maxFiles: 9 });
  const writer = openLogWriter(log.options);
  const all = Array.from({ length: 9000 }, (_, n) => `line ${n}\n`);
  for (let at = 0; at < all.length; at += 100)
    writer.write("stdout", bytes(all.slice(at, at + 100).join("")));
  writer.close();
  expect(readdirSync(dirname(log.path)).length).toBeGreaterThan(2);
  for (const tail of [0, 1, 7, 3000, 4500, 8999, 9000, 100_000]) {
    const entries = await collect({ ...everything(log.path), tail });
    expect(entries.length).toBe(Math.min(tail, 9000));
    expect(printed(entries)).toBe(all.slice(Math.max(9000 - tail, 0)).join(""));
  }
});

test("since and until choose by time, streams by name", async () => {
  using log = temporaryLog();
  const line = (n: number, stream: string) =>
    `{"log":"${n}\\n","stream":"${stream}","time":"2026-01-01T00:00:0${n}.5Z"}\n`;
  writeFileSync(
    log.path,
    line(1, "stdout") + line(2, "stderr") + line(3, "stdout") + line(4, "stdout"),
  );
  const at = (second: number) => BigInt(Date.UTC(2026, 0, 1, 0, 0, second)) * 1_000_000n;
  const read = async (options: Partial<ReadLogRequest>) =>
    printed(await collect({ ...everything(log.path), ...options }));
  expect(await read({ since: at(2) })).toBe("2\n3\n4\n");
  expect(await read({ until: at(3) })).toBe("1\n2\n");
  expect(await read({ since: at(2), until: at(4) })).toBe("2\n3\n");
  expect(await read({ stdout: false })).toBe("2\n");
  expect(await read({ stderr: false, tail: 3 })).toBe("3\n4\n");
  expect(await read({ since: at(2) + 500_000_000n, until: at(2) + 500_000_000n })).toBe("2\n");
});

test("lines that are no entries are left out, and a cut line does not spoil the next", async () => {
  using log = temporaryLog();
  writeFileSync(
    log.path,
    '{"log":"one\\n","stream":"stdout","time":"2026-01-01T00:00:01Z"}\n{"log":"cu',
  );
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("two\n"));
  writer.close();
  appendFileSync(log.path, 'null\n[]\n{"log":3}\nnoise\n');
  expect(printed(await collect(everything(log.path)))).toBe("one\ntwo\n");
});

test("a log that does not exist is empty", async () => {
  expect(await collect(everything("/tmp/naru-test-nowhere/box-json.log"))).toEqual([]);
});

test("a follower gets what exists and what comes, and ends when the container has ended", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("before\n"));
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const seen: string[] = [];
  for await (const batch of readLog({ ...everything(log.path), ended })) {
    for (const entry of batch) seen.push(text(entry.bytes));
    if (seen.length === 1) writer.write("stdout", bytes("during\n"));
    else if (seen.length === 2) {
      writer.write("stderr", bytes("last words"));
      writer.close();
      resolve();
    }
  }
  expect(seen).toEqual(["before\n", "during\n", "last words"]);
});

test("a follower that leaves while it still reads the past leaves no failure behind", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("a line of the past\n".repeat(50_000)));
  writer.close();
  const stop = new AbortController();
  const ended = new Promise((_, reject) => {
    stop.signal.addEventListener("abort", () => reject(new Error("the client went away")));
  });
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  for await (const _ of readLog({ ...everything(log.path), ended, signal: stop.signal })) {
    stop.abort();
    await new Promise((next) => setImmediate(next));
  }
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
});

test("a follower that starts before the log exists misses nothing", async () => {
  using log = temporaryLog();
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const all = collect({ ...everything(log.path), ended });
  await new Promise(setImmediate);
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("first\n"));
  writer.close();
  resolve();
  expect(printed(await all)).toBe("first\n");
});

for (const compress of [false, true]) {
  test(`a follower loses and repeats nothing while the log rotates, compress ${compress}`, async () => {
    using log = temporaryLog({ maxSizeBytes: 3000, maxFiles: 400, compress });
    const writer = openLogWriter(log.options);
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const all = collect({ ...everything(log.path), ended });
    for (let index = 0; index < 1500; index += 1) {
      writer.write(index % 3 === 0 ? "stderr" : "stdout", bytes(`line ${index}\n`));
      // Sometimes one rotation between two looks of the follower, sometimes many.
      if (index % 97 === 0) await new Promise((next) => setTimeout(next, 2));
    }
    writer.close();
    resolve();
    expect(printed(await all)).toBe(Array.from({ length: 1500 }, (_, n) => `line ${n}\n`).join(""));
  });
}

test("a follower stops at its until, and when it is aborted", async () => {
  using log = temporaryLog();
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("now\n"));
  const never = new Promise<void>(() => undefined);
  const until = BigInt(Date.now() + 20) * 1_000_000n;
  expect(printed(await collect({ ...everything(log.path), ended: never, until }))).toBe("now\n");
  const abort = new AbortController();
  const aborted = collect({ ...everything(log.path), ended: never, signal: abort.signal });
  await new Promise(setImmediate);
  abort.abort();
  expect(printed(await aborted)).toBe("now\n");
  writer.close();
});

test("a full disk drops whole lines and counts them, and the log goes on when there is room", async () => {
  const folder = mkdtempSync("/tmp/naru-test-full-");
  expect(
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=64k", "naru-test", folder]).exitCode,
  ).toBe(0);
  try {
    using outside = temporaryLog();
    const path = join(folder, "box-json.log");
    const writer = openLogWriter({ ...outside.options, path });
    for (let index = 0; index < 2000; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
    expect(writer.droppedEntries).toBeGreaterThan(100);
    const kept = await collect(everything(path));
    expect(kept.length + writer.droppedEntries).toBe(2000);
    expect(Bun.spawnSync(["mount", "-o", "remount,size=1m", folder]).exitCode).toBe(0);
    writer.write("stdout", bytes("room again\n"));
    writer.close();
    expect(printed(await collect(everything(path))).endsWith("room again\n")).toBe(true);
  } finally {
    Bun.spawnSync(["umount", folder]);
    rmSync(folder, { recursive: true, force: true });
  }
});

test("a log whose folder is missing drops everything and recovers when the folder comes", async () => {
  using log = temporaryLog();
  const path = join(dirname(log.path), "later", "box-json.log");
  const writer = openLogWriter({ ...log.options, path });
  writer.write("stdout", bytes("lost\n"));
  expect(writer.droppedEntries).toBe(1);
  mkdirSync(dirname(path));
  writer.write("stdout", bytes("kept\n"));
  writer.close();
  expect(printed(await collect(everything(path)))).toBe("kept\n");
});

test("a symbolic link in place of the log is not followed", () => {
  using log = temporaryLog();
  const victim = join(dirname(log.path), "victim");
  closeSync(openSync(victim, "w"));
  Bun.spawnSync(["ln", "-s", victim, log.path]);
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("line\n"));
  writer.close();
  expect(readFileSync(victim, "utf8")).toBe("");
});

test("a follower survives a truncation by hand", async () => {
  using log = temporaryLog();
  const descriptor = openSync(log.path, "a");
  const put = (n: number) =>
    writeSync(descriptor, `{"log":"${n}\\n","stream":"stdout","time":"2026-01-01T00:00:0${n}Z"}\n`);
  put(1);
  put(2);
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  let seen = "";
  for await (const batch of readLog({ ...everything(log.path), ended })) {
    seen += printed(batch);
    if (seen === "1\n2\n") {
      writeFileSync(log.path, "");
      put(3);
      resolve();
    }
  }
  closeSync(descriptor);
  expect(seen).toBe("1\n2\n3\n");
});

test("entries are encoded with frames, times and details as Docker sends them", () => {
  const entry: LogEntry = {
    stream: "stderr",
    time: "2026-01-01T00:00:01.500000000Z",
    bytes: bytes("hi\n"),
    attributes: { b: "x y&z", a: "1" },
  };
  const encode = (options: Partial<Parameters<typeof encodeLogEntries>[1]>) =>
    encodeLogEntries([entry, entry], {
      timestamps: false,
      details: false,
      multiplexed: false,
      ...options,
    });
  expect(text(encode({}))).toBe("hi\nhi\n");
  expect([...encode({ multiplexed: true })].slice(0, 11)).toEqual([
    2, 0, 0, 0, 0, 0, 0, 3, 104, 105, 10,
  ]);
  expect(text(encode({ timestamps: true })).split("\n")[0]).toBe(
    "2026-01-01T00:00:01.500000000Z hi",
  );
  expect(text(encode({ timestamps: true, details: true })).split("\n")[0]).toBe(
    "2026-01-01T00:00:01.500000000Z a=1,b=x+y%26z hi",
  );
});

test("the writer that keeps nothing takes everything", () => {
  const writer = discardingLogWriter();
  writer.write("stdout", bytes("gone\n"));
  writer.close();
  expect(writer.droppedEntries).toBe(0);
  expect(existsSync("/tmp/naru-test-nowhere")).toBe(false);
});

test("attributes that grow beyond their bound when they are written cost no line", () => {
  using log = temporaryLog({ attributes: { label: "<".repeat(60_000) } });
  const writer = openLogWriter(log.options);
  writer.write("stdout", bytes("kept\n"));
  writer.close();
  expect(writer.droppedEntries).toBe(0);
  expect(readFileSync(log.options.path, "utf8")).toContain('"log":"kept\\n"');
});

for (const compress of [false, true]) {
  test(`our own format keeps every byte, stream, time and attribute, compress ${compress}`, async () => {
    using log = temporaryLog({
      format: "raw",
      maxSizeBytes: 40_000,
      maxFiles: 400,
      compress,
      attributes: { b: "tab\there", a: "1" },
    });
    const writer = openLogWriter(log.options);
    const noise = new Uint8Array(300_000);
    for (let index = 0; index < noise.length; index += 1) noise[index] = (index * 7919) >> 3;
    for (let at = 0; at < noise.length; at += 777)
      writer.write("stdout", noise.subarray(at, at + 777));
    writer.write("stderr", bytes("plain\n"));
    writer.close();
    const request = { ...everything(log.path), format: "raw" as const };
    const entries = await collect(request);
    expect(
      Buffer.concat(entries.filter(({ stream }) => stream === "stdout").map((each) => each.bytes)),
    ).toEqual(Buffer.from(noise));
    expect(entries.every(({ attributes }) => attributes?.["b"] === "tab\there")).toBe(true);
    const times = entries.map(({ time }) => time);
    expect(times).toEqual(times.toSorted());
    expect(printed(await collect({ ...request, tail: 1, stdout: false }))).toBe("");
    expect((await collect({ ...request, tail: 3 })).length).toBe(3);
  });
}

test("no file exceeds its size while others are being compressed, and all of it is read back", async () => {
  using log = temporaryLog({ maxSizeBytes: 20_000, maxFiles: 500, compress: true });
  const writer = openLogWriter(log.options);
  const all = Array.from({ length: 4000 }, (_, n) => `line ${n} ${"x".repeat(200)}\n`);
  for (const [index, line] of all.entries()) {
    writer.write("stdout", bytes(line));
    if (index % 500 === 0) await new Promise(setImmediate);
  }
  writer.close();
  const plain = () => readdirSync(dirname(log.path)).filter((name) => /log\.\d+$/.test(name));
  for (const file of readdirSync(dirname(log.path))) {
    expect(readFileSync(join(dirname(log.path), file)).length).toBeLessThanOrEqual(20_000);
  }
  while (plain().length > 0) await new Promise(setImmediate);
  expect(printed(await collect(everything(log.path)))).toBe(all.join(""));
});

test("a place is found again after rotations, compressed or not", async () => {
  for (const compress of [false, true]) {
    using log = temporaryLog({ format: "raw", maxSizeBytes: 2000, maxFiles: 50, compress });
    const writer = openLogWriter(log.options);
    for (let index = 0; index < 30; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
    const place = { inode: 0, offset: 0, time: "" };
    const request = { ...everything(log.path), format: "raw" as const, place };
    expect((await collect(request)).length).toBe(30);
    for (let index = 30; index < 400; index += 1) writer.write("stdout", bytes(`line ${index}\n`));
    writer.close();
    const plain = () => readdirSync(dirname(log.path)).filter((name) => /log\.\d+$/.test(name));
    if (compress) while (plain().length > 0) await new Promise(setImmediate);
    const rest = printed(await collect(request));
    expect(rest.startsWith("line 30\n")).toBe(true);
    expect(rest.split("\n").length).toBe(371);
    expect(await collect(request)).toEqual([]);
  }
});

test("a line without end becomes pieces in bounded memory", async () => {
  using log = temporaryLog({ format: "raw", maxSizeBytes: 1_000_000, maxFiles: 2 });
  const writer = openLogWriter(log.options);
  const chunk = new Uint8Array(65_536).fill(0x61);
  for (let index = 0; index < 1000; index += 1) writer.write("stdout", chunk);
  expect(writer.unfinished("stdout").length).toBeLessThan(16_384);
  writer.close();
  const entries = await collect({ ...everything(log.path), format: "raw" });
  expect(entries.every((entry) => entry.bytes.length === 16_384)).toBe(true);
});
