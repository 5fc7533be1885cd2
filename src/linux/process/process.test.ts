import { expect, test } from "bun:test";
import { closeSync } from "node:fs";
import { release } from "node:os";

import {
  endedPidfds,
  exitCodeOf,
  exitCodeOfStatus,
  listChildren,
  parseResourceName,
  parseSignal,
  pidfdGetfd,
  pidfdOpen,
  pidfdSendSignal,
  readBootId,
  readPidfdExitStatus,
  readProcessStat,
  readResourceLimit,
  readStartTime,
  setResourceLimit,
  signalName,
  waitPid,
} from "./index.ts";

/** Whether this kernel tells through a pidfd how a process ended: since 6.15. */
const KEEPS_EXITS = Bun.semver.order(release().split("-", 1)[0] ?? "", "6.15.0") >= 0;

test("signals are understood as people and Docker write them", () => {
  for (const text of ["SIGTERM", "term", "sigterm", "TERM", "15"])
    expect(parseSignal(text)).toBe(15);
  expect(parseSignal("RTMIN")).toBe(34);
  expect(parseSignal("SIGRTMIN+3")).toBe(37);
  expect(parseSignal("rtmax-2")).toBe(62);
  for (const text of ["", "0", "65", "999", "NOPE", "RTMIN-1", "RTMAX+1", "RTMIN+31", "-9", "9x"]) {
    expect(parseSignal(text)).toBeNull();
  }
});

test("every signal's number has one name that leads back to it", () => {
  for (let number = 1; number <= 64; number += 1) {
    const name = signalName(number);
    if (number === 32 || number === 33) expect(name).toBeNull();
    else expect(parseSignal(name ?? "")).toBe(number);
  }
});

test("a pidfd signals its process, tells when it ended and how, after another reaped it", async () => {
  const child = Bun.spawn(["/bin/sleep", "60"]);
  const pidfd = pidfdOpen(child.pid);
  expect(endedPidfds([pidfd])).toEqual([]);
  expect(readPidfdExitStatus(pidfd)).toBeNull();
  expect(listChildren(process.pid)).toContain(child.pid);
  expect(pidfdSendSignal(pidfd, 15)).toBe(true);
  await child.exited;
  expect(endedPidfds([pidfd])).toEqual([pidfd]);
  const status = readPidfdExitStatus(pidfd);
  if (KEEPS_EXITS) expect(exitCodeOfStatus(status ?? -1)).toBe(143);
  else expect(status).toBeNull();
  expect(pidfdSendSignal(pidfd, 15)).toBe(false);
  closeSync(pidfd);
  expect(() => pidfdOpen(child.pid)).toThrow("no such process");
});

test("a copy of another process' descriptor works here", async () => {
  const child = Bun.spawn(["/bin/sh", "-c", "exec sleep 60 >/dev/null"], { stdout: "ignore" });
  const pidfd = pidfdOpen(child.pid);
  const copy = pidfdGetfd(pidfd, 1);
  expect(copy).toBeGreaterThan(2);
  closeSync(copy);
  expect(() => pidfdGetfd(pidfd, 777)).toThrow("bad file descriptor");
  child.kill(9);
  await child.exited;
  closeSync(pidfd);
});

test("waiting for something that is no child says so", () => {
  expect(() => waitPid(1, { noHang: true })).toThrow("waitid pid 1");
});

test("exit codes count signals from 128", () => {
  expect(exitCodeOf({ pid: 1, code: 1, status: 42 })).toBe(42);
  expect(exitCodeOf({ pid: 1, code: 2, status: 9 })).toBe(137);
  expect(exitCodeOf({ pid: 1, code: 3, status: 11 })).toBe(139);
  expect(exitCodeOfStatus(42 << 8)).toBe(42);
  expect(exitCodeOfStatus(0x80 | 6)).toBe(134);
});

test("a process is named by pid, start time and boot", () => {
  expect(readBootId()).toMatch(/^[0-9a-f-]{36}$/);
  expect(readStartTime(process.pid)).toMatch(/^\d+$/);
  expect(readStartTime(process.pid)).toBe(readProcessStat(process.pid)?.startTime ?? "");
  expect(readProcessStat(process.pid)?.parentPid).toBe(process.ppid);
  expect(readStartTime(4_000_000_000)).toBeNull();
});

test("limits are read and lowered", async () => {
  expect(parseResourceName("nofile")).toBe("RLIMIT_NOFILE");
  expect(parseResourceName("RLIMIT_CORE")).toBe("RLIMIT_CORE");
  expect(parseResourceName("constructor")).toBeNull();
  const child = Bun.spawn(["/bin/sleep", "60"]);
  const { hard } = readResourceLimit(child.pid, "RLIMIT_NOFILE");
  setResourceLimit(child.pid, "RLIMIT_NOFILE", { soft: 100n, hard });
  expect(readResourceLimit(child.pid, "RLIMIT_NOFILE")).toEqual({ soft: 100n, hard });
  child.kill(9);
  await child.exited;
});
