import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";

import { MemoryWatch } from "./memory-watch.ts";
import type { Readiness } from "./readiness.ts";

/** Tells of a change when it is told to. */
class ByHand implements Readiness {
  readonly watched = new Map<number, () => void>();
  watch(descriptor: number, _interest: unknown, onReady: () => void): void {
    this.watched.set(descriptor, onReady);
  }
  change(): void {}
  forget(descriptor: number): void {
    this.watched.delete(descriptor);
  }
  changed(): void {
    for (const onReady of this.watched.values()) onReady();
  }
}

test("kills are told once each look, older ones not, and nothing is watched after the end", () => {
  const folder = mkdtempSync("/tmp/naru-test-memory-");
  try {
    const path = `${folder}/memory.events`;
    const events = (kills: number) =>
      writeFileSync(path, `low 0\nmax 7\noom 2\noom_kill ${kills}\n`);
    events(1);
    const readiness = new ByHand();
    const told: string[] = [];
    const watch = new MemoryWatch({
      readiness,
      parts: {
        cgroup: () => ({ memoryEvents: () => path, oomKills: () => 4 }),
      },
      announce: ({ type }) => told.push(type),
      warn: (what) => told.push(what),
    });
    const container = { cgroupsPath: "/c", limitsMemory: true };
    watch.watch({ id: "b" }, { cgroupsPath: "/b" });
    expect(readiness.watched.size).toBe(0);
    watch.watch({ id: "c" }, container);
    // Reclaiming changes the file as well; then it is left alone for a while.
    readiness.changed();
    expect([told, readiness.watched.size]).toEqual([[], 0]);
    expect(watch.end({ id: "c" }, container)).toBe(true);
    expect(told.splice(0)).toEqual(["oom"]);
    watch.watch({ id: "c" }, container);
    events(4);
    readiness.changed();
    expect(told).toEqual(["oom"]);
    // That one is told.
    expect(watch.end({ id: "c" }, container)).toBe(true);
    expect([told.splice(0), readiness.watched.size]).toEqual([["oom"], 0]);
    expect(watch.end({ id: "c", execId: "e" }, null)).toBe(false);
    rmSync(path);
    watch.watch({ id: "gone" }, container);
    expect(told).toEqual(["watch the memory of gone"]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
