import { afterAll, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync } from "node:fs";

import { attempt } from "#linux/ffi";
import { listChildren, pidfdOpen, pidfdSendSignal, SIGKILL, waitPid } from "#linux/process";

import { temporaryFolder } from "../test-container.ts";
import { Midwife } from "./midwife.ts";
import { PlanCache } from "./plan-cache.ts";
import { PlanWriter } from "./plan.ts";
import { openTrampoline } from "./trampoline.ts";

const folder = temporaryFolder("midwife");
const own = openSync("/proc/self/ns/mnt", "r");
afterAll(() => {
  folder[Symbol.dispose]();
  closeSync(own);
});

const exits = (code: number) => {
  const writer = new PlanWriter();
  writer.call("exit_group", [code], "end");
  return writer.finish();
};

const midwives = () =>
  listChildren(process.pid).filter((pid) =>
    readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("midwife-"),
  );

for (const throughLibc of [false, true]) {
  const how = throughLibc ? "through libc" : "by themselves";

  test(`children are ours, run their plan and do not disturb the next (system calls ${how})`, () => {
    using midwife = new Midwife(openTrampoline(folder.path, throughLibc), own);
    const plans = new PlanCache(midwife.address);
    const born = [3, 4, 5].map((code) => {
      const plan = plans.encode({ key: `${code}`, compile: () => exits(code), slots: {} });
      return midwife.clone({ flags: 0, unified: null, plan, report: 2 });
    });
    const codes = born.map(({ pid, pidfd }) => {
      attempt("close", pidfd);
      return waitPid(pid)?.status;
    });
    expect(codes).toEqual([3, 4, 5]);
  });
}

test("a child that runs late runs what it was born for, not what was ordered since", () => {
  using midwife = new Midwife(openTrampoline(folder.path), own);
  const plans = new PlanCache(midwife.address);
  const plan = plans.encode({ key: "3", compile: () => exits(3), slots: {} });
  const empty = { ...plan, stepCount: 0 };
  const codes = Array.from({ length: 300 }, () => {
    const { pid, pidfd } = midwife.clone({ flags: 0, unified: null, plan, report: 2 });
    // An order that comes to nothing, while the first child may not have had a processor yet.
    expect(() => midwife.clone({ flags: 0, unified: own, plan: empty, report: 2 })).toThrow();
    attempt("close", pidfd);
    return waitPid(pid)?.status;
  });
  expect(codes.filter((code) => code !== 3)).toEqual([]);
});

test("a midwife that was killed has a successor, and the order she died over is not born twice", () => {
  using midwife = new Midwife(openTrampoline(folder.path), own);
  const plans = new PlanCache(midwife.address);
  const clone = (code: number) => {
    const plan = plans.encode({ key: `${code}`, compile: () => exits(code), slots: {} });
    return midwife.clone({ flags: 0, unified: null, plan, report: 2 });
  };
  const [here = 0] = midwives();
  const pidfd = pidfdOpen(here);
  pidfdSendSignal(pidfd, SIGKILL);
  attempt("close", pidfd);
  expect(() => clone(1)).toThrow("was killed");
  const { pid, pidfd: child } = clone(7);
  attempt("close", child);
  expect(waitPid(pid)?.status).toBe(7);
});

test("nobody is left when she is dismissed, and she has nearly no memory", () => {
  const midwife = new Midwife(openTrampoline(folder.path), own);
  const [here = 0] = midwives();
  const pages = Number(readFileSync(`/proc/${here}/statm`, "utf8").split(" ")[1]);
  expect(pages).toBeLessThan(100);
  midwife[Symbol.dispose]();
  expect(midwives()).toEqual([]);
});
