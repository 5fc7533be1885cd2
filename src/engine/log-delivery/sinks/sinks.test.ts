import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { addressOf, allocate, attempt, checked } from "#linux/ffi";

import { openConnection } from "./connection.ts";
import { chunksOf } from "./gelf.ts";
import { openJournald } from "./journald.ts";
import type { LogMessage } from "./sink.ts";
import { encode } from "./syslog.ts";

const message = (text: string, more: Partial<LogMessage> = {}): LogMessage => ({
  stream: "stdout",
  time: "2026-01-02T03:04:05.678901234Z",
  line: new TextEncoder().encode(text),
  partial: null,
  ...more,
});

/** A bound datagram socket, read without waiting. */
function bindDatagrams(path: string): number {
  const descriptor = checked("socket", path, 1, 2 | 0o2004000, 0);
  const address = allocate(110);
  address[0] = 1;
  address.set(Buffer.from(path), 2);
  checked("bind", path, descriptor, address, 2 + path.length + 1);
  return descriptor;
}

test("an entry that fits no datagram reaches the journal as a sealed file, whole", async () => {
  const folder = mkdtempSync("/tmp/naru-test-journal-");
  const path = join(folder, "socket");
  const descriptor = bindDatagrams(path);
  try {
    const big = "x".repeat(400_000);
    const sink = await openJournald({ driver: "journald", fields: { BIG: big } }, path);
    await sink.send([message("two\nlines")]);
    const control = allocate(64);
    const header = allocate(56);
    const view = new DataView(header.buffer);
    view.setBigUint64(32, addressOf(control), true);
    view.setBigUint64(40, 64n, true);
    expect(attempt("recvmsg", descriptor, header, 0)).toBe(0);
    const passed = new DataView(control.buffer).getInt32(16, true);
    const entry = readFileSync(`/proc/self/fd/${passed}`);
    expect(attempt("ftruncate", passed, 0)).toBeLessThan(0);
    closeSync(passed);
    const text = entry.toString("latin1");
    expect(text.startsWith(`BIG=${big}\n`)).toBe(true);
    expect(text.endsWith("MESSAGE\n\t\0\0\0\0\0\0\0two\nlines\n")).toBe(true);
    expect(text).toContain("SYSLOG_TIMESTAMP=2026-01-02T03:04:05.678901234Z\n");
    await sink.close();
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
});

test("a host without a journal is told of", async () => {
  const opened = openJournald({ driver: "journald", fields: {} }, "/tmp/naru-test-nowhere");
  expect(await failureOf(opened)).toBe("journald is not enabled on this host");
});

test("gelf chunks carry one id, their number and their count; what needs too many is dropped", () => {
  const bytes = Uint8Array.from({ length: 5000 }, (_, index) => index & 0xff);
  const chunks = chunksOf(bytes);
  expect(chunks.length).toBe(4);
  const ids = new Set(chunks.map((chunk) => Buffer.from(chunk.subarray(2, 10)).toString("hex")));
  expect(ids.size).toBe(1);
  expect(chunks.map((chunk) => [...chunk.subarray(0, 2), chunk[10], chunk[11]])).toEqual(
    [0, 1, 2, 3].map((index) => [0x1e, 0x0f, index, 4]),
  );
  expect(Buffer.concat(chunks.map((chunk) => chunk.subarray(12)))).toEqual(Buffer.from(bytes));
  expect(chunksOf(bytes.subarray(0, 100))).toEqual([bytes.subarray(0, 100)]);
  expect(chunksOf(new Uint8Array(200_000))).toEqual([]);
});

test("a syslog line carries every byte between its head and its newline", () => {
  const server = {
    driver: "syslog",
    address: null,
    facility: 1,
    format: "rfc5424micro",
    tag: "t",
    tls: { ca: "", cert: "", key: "", skipVerify: false },
  } as const;
  const line = Uint8Array.from({ length: 256 }, (_, index) => index);
  const bytes = encode(server, message("", { line, stream: "stderr" }));
  expect(Buffer.from(bytes).indexOf(Buffer.from(line))).toBe(bytes.length - 257);
  expect(new TextDecoder().decode(bytes.subarray(0, 40))).toMatch(/^<11>1 2026-01-0[123]T/);
});

test("a connection that cannot be made says why as Go would", async () => {
  expect(await failureOf(openConnection({ type: "tcp", host: "127.0.0.1", port: 1 }))).toBe(
    "dial tcp 127.0.0.1:1: connect: connection refused",
  );
  expect(await failureOf(openConnection({ type: "unix", path: "/tmp/naru-test-no" }))).toBe(
    "dial unix /tmp/naru-test-no: connect: no such file or directory",
  );
});

const failureOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "no failure",
    (cause: unknown) => (cause instanceof Error ? cause.message : "no error"),
  );
