import { expect, test } from "bun:test";
import { readlinkSync } from "node:fs";

import { ExitNews } from "./index.ts";

/** Nobody else is told. */
const isFirst =
  readlinkSync("/proc/self/ns/pid") === "pid:[4026531836]" &&
  readlinkSync("/proc/self/ns/user") === "user:[4026531837]";

test.if(isFirst)("the ends of followed processes are told, and of no others", async () => {
  using news = new ExitNews();
  const spawn = (text: string) => Bun.spawn(["sh", "-c", `read line; ${text}`], { stdin: "pipe" });
  const children = [spawn("exit 9"), spawn("kill -9 $$"), spawn("exit 3")];
  const [nine, killed, stranger] = children.map(({ pid }) => pid);
  for (const pid of [nine, killed]) news.follow(pid ?? 0);
  expect(news.statusOf(nine ?? 0)).toBeNull();
  for (const child of children) {
    await child.stdin.end();
    await child.exited;
  }
  while (news.statusOf(killed ?? 0) === null) await Bun.sleep(1);
  expect([nine, killed, stranger].map((pid) => news.statusOf(pid ?? 0))).toEqual([9 << 8, 9, null]);
  news.forget(nine ?? 0);
  expect([news.statusOf(nine ?? 0), news.isEmpty]).toEqual([null, false]);
  news.forget(killed ?? 0);
  expect(news.isEmpty).toBe(true);
});
