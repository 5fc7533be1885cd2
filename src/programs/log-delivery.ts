/** The delivery process: speaks to log servers for the supervisor that started it, and ends with it. */
import { writeSync } from "node:fs";

import { runDelivery } from "#engine/log-delivery";
import { setNotDumpable } from "#linux/process";

import { giveBackWhenIdle } from "./idle-memory.ts";

export async function run(): Promise<void> {
  // It runs from the supervisor's mount of the binary, and keeps clear of containers as it does.
  setNotDumpable();
  // The supervisor decides when it ends: a signal to the whole group must not cut a log off.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => undefined);
  giveBackWhenIdle();
  await runDelivery(Bun.stdin.stream(), (message) => {
    writeSync(1, `${JSON.stringify(message)}\n`);
  });
  process.exit(0);
}
