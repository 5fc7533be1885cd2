import { describe, expect, test } from "bun:test";

import { checkHealth, type HealthConfig, mergeHealth, probeOf } from "./config.ts";
import { afterProbe, delayMs, startedHealth, stoppedHealth } from "./health.ts";

const config = (change: Partial<HealthConfig> = {}): HealthConfig => ({
  test: ["CMD", "true"],
  intervalMs: 0,
  timeoutMs: 0,
  startPeriodMs: 0,
  startIntervalMs: 0,
  retries: 0,
  ...change,
});

const probe = (change: Partial<HealthConfig> = {}) => {
  const made = probeOf(config(change), null);
  if (made === null) throw new Error("no probe");
  return made;
};

const answer = (exitCode: number, atMs = 0) => ({
  startedAt: new Date(atMs).toISOString(),
  endedAt: new Date(atMs).toISOString(),
  exitCode,
  output: "",
});

describe("what is asked", () => {
  test("takes Docker's defaults where nothing was said", () => {
    expect(probe()).toEqual({
      command: ["true"],
      intervalMs: 30_000,
      timeoutMs: 30_000,
      startPeriodMs: 0,
      startIntervalMs: 5000,
      retries: 3,
    });
  });

  test("CMD-SHELL runs in the image's shell, or in /bin/sh", () => {
    const asked = config({ test: ["CMD-SHELL", "exit 1"] });
    expect(probeOf(asked, null)?.command).toEqual(["/bin/sh", "-c", "exit 1"]);
    expect(probeOf(asked, ["/bin/bash", "-ec"])?.command).toEqual(["/bin/bash", "-ec", "exit 1"]);
  });

  test("NONE, nothing and an unknown kind are not probed", () => {
    for (const test of [["NONE"], [], ["CMD"], ["HTTP", "/"]]) {
      expect(probeOf(config({ test }), null)).toBeNull();
    }
    expect(probeOf(null, null)).toBeNull();
    expect(probeOf(undefined, null)).toBeNull();
  });

  test("the image fills in what a person left out", () => {
    const image = config({ test: ["CMD", "image"], intervalMs: 7, retries: 9 });
    expect(mergeHealth(config({ test: [], intervalMs: 5 }), image)).toEqual(
      config({ test: ["CMD", "image"], intervalMs: 5, retries: 9 }),
    );
    expect(mergeHealth(null, image)).toEqual(image);
    expect(mergeHealth(config({ test: ["NONE"] }), image)?.test).toEqual(["NONE"]);
  });

  test.each([
    [{ intervalMs: 0.5 }, "Interval in Healthcheck cannot be less than 1ms"],
    [{ timeoutMs: -1 }, "Timeout in Healthcheck cannot be less than 1ms"],
    [{ retries: -1 }, "Retries in Healthcheck cannot be negative"],
    [{ test: ["HTTP", "/"] }, "Unknown healthcheck type 'HTTP' (expected 'CMD')"],
    [{ test: ["CMD"] }, "no command"],
  ])("%p is refused", (change, sentence) => {
    expect(() => checkHealth(config(change))).toThrow(sentence);
  });
});

describe("what the answers add up to", () => {
  test("three failures in a row make it unhealthy, one success healthy", () => {
    let health = startedHealth(null);
    const around = { probe: probe(), runStartedAtMs: 0 };
    for (const status of ["starting", "starting", "unhealthy"] as const) {
      health = afterProbe(health, answer(1), around);
      expect(health.status).toBe(status);
    }
    expect(health.failingStreak).toBe(3);
    health = afterProbe(health, answer(0), around);
    expect(health).toMatchObject({ status: "healthy", failingStreak: 0 });
    expect(afterProbe(health, answer(1), around).status).toBe("healthy");
  });

  test("failures within the start period are forgiven until the first success", () => {
    const around = { probe: probe({ startPeriodMs: 10_000, retries: 1 }), runStartedAtMs: 0 };
    const starting = afterProbe(startedHealth(null), answer(1, 9999), around);
    expect(starting).toMatchObject({ status: "starting", failingStreak: 0 });
    expect(afterProbe(starting, answer(1, 10_000), around).status).toBe("unhealthy");
    const healthy = afterProbe(starting, answer(0, 5000), around);
    expect(afterProbe(healthy, answer(1, 6000), around).status).toBe("unhealthy");
  });

  test("the log keeps the last five, across runs", () => {
    let health = startedHealth(null);
    for (let code = 1; code <= 7; code += 1) {
      health = afterProbe(health, answer(code), { probe: probe(), runStartedAtMs: 0 });
    }
    const again = startedHealth(stoppedHealth(health));
    expect(again.status).toBe("starting");
    expect(again.log.map(({ exitCode }) => exitCode)).toEqual([3, 4, 5, 6, 7]);
  });

  test("probes come at the start interval while it starts, then at the interval", () => {
    const own = probe({ intervalMs: 60_000, startPeriodMs: 10_000, startIntervalMs: 1000 });
    const starting = startedHealth(null);
    expect(delayMs(starting, { probe: own, runForMs: 0 })).toBe(1000);
    expect(delayMs(starting, { probe: own, runForMs: 10_000 })).toBe(60_000);
    const healthy = { ...starting, status: "healthy" } as const;
    expect(delayMs(healthy, { probe: own, runForMs: 0 })).toBe(60_000);
    const rare = probe({ intervalMs: 1e12 });
    expect(delayMs(healthy, { probe: rare, runForMs: 0 })).toBeLessThan(2 ** 31);
  });
});
