/** SIGKILL at any moment: nothing is lost, nothing is left. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { baseImage, type Engine, NARU, startEngine } from "./engine.ts";
import { expectNothingLeft } from "./leftovers.ts";
import { freePorts } from "./ports.ts";
import { startRegistry } from "./registry.ts";
import { eventually, until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** What the container's web server answers; nothing before it listens. */
const hello = (port: number): Promise<string> =>
  fetch(`http://127.0.0.1:${port}/`).then(
    (answer) => answer.text(),
    () => "",
  );

const inspect = (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "-f", format, name]);

describe("the daemon is killed", () => {
  test("while containers run: they run on, logs go on, exits are known", async () => {
    const port = freePorts();
    await engine.ok([
      "run",
      "-d",
      "--name",
      "on",
      "-p",
      `${port}:80`,
      "busybox",
      "sh",
      "-c",
      "echo hi > /index.html; httpd -f -p 80 -h / & i=0; while :; do echo tick $((i=i+1)); sleep 0.05; done",
    ]);
    await engine.ok([
      "run",
      "-d",
      "-i",
      "--name",
      "ends",
      "busybox",
      "sh",
      "-c",
      "read line; echo last words; exit 42",
    ]);
    const gone = ["--name", "gone", "busybox", "sh", "-c", "read line"];
    await engine.ok(["run", "-d", "--rm", "-i", ...gone]);
    const pid = await inspect("on", "{{.State.Pid}}");
    const ending = [
      await inspect("ends", "{{.State.Pid}}"),
      await inspect("gone", "{{.State.Pid}}"),
    ];
    await until(async () => (await hello(port)) === "hi\n");
    await engine.killDaemon();
    expect(await hello(port)).toBe("hi\n");
    for (const one of ending) writeFileSync(`/proc/${one}/fd/0`, "now\n");
    await until(() => ending.every((one) => !existsSync(`/proc/${one}`)));
    await engine.startDaemon();
    expect(await inspect("on", "{{.State.Running}} {{.State.Pid}}")).toBe(`true ${pid}`);
    expect(await inspect("ends", "{{.State.Status}} {{.State.ExitCode}}")).toBe("exited 42");
    expect(await engine.ok(["logs", "ends"])).toBe("last words");
    expect(await engine.ok(["ps", "-aq", "--filter", "name=gone"])).toBe("");
    let ticks: string[] = [];
    await until(async () => {
      ticks = (await engine.ok(["logs", "on"])).split("\n");
      return ticks.length > 15;
    });
    expect(ticks.map((line) => Number(line.split(" ")[1]))).toEqual(
      ticks.map((_, index) => index + 1),
    );
    expect(await engine.ok(["exec", "on", "echo", "still"])).toBe("still");
    await expectNothingLeft(engine);
  });

  test("at once after an answer: what it tells of is in the past", async () => {
    const told = async (id: string): Promise<string[]> => {
      await engine.restartDaemon();
      const filters = JSON.stringify({ container: [id], type: ["container"] });
      const query = new URLSearchParams({ since: "1", until: `${Date.now() / 1000}`, filters });
      const lines = (await (await engine.fetch(`/events?${query.toString()}`)).text())
        .trim()
        .split("\n");
      return lines.map((line) => (JSON.parse(line) as { Action: string }).Action);
    };
    const id = await engine.ok(["run", "-d", "busybox", "sleep", "1000"]);
    expect(await told(id)).toEqual(["create", "start"]);
    await engine.ok(["stop", "-t", "0", id]);
    expect((await told(id)).slice(2)).toContain("die");
    await engine.ok(["rm", id]);
    expect((await told(id)).at(-1)).toBe("destroy");
  });

  test("at random moments of create, start, stop and remove", async () => {
    const lives = async (): Promise<void> => {
      for (let index = 0; ; index += 1) {
        const name = `random${index}`;
        for (const args of [
          ["create", "--name", name, "busybox", "sleep", "1000"],
          ["start", name],
          ["stop", "-t", "0", name],
          ["rm", "-f", name],
        ]) {
          const done = await engine.docker(args);
          if (done.code !== 0) return;
        }
      }
    };
    for (let round = 0; round < 12; round += 1) {
      const work = Promise.all([lives(), lives().catch(() => undefined)]);
      await Bun.sleep(20 + Math.random() * 250);
      await engine.killDaemon();
      await work;
      await engine.startDaemon();
      const ids = (await engine.ok(["ps", "-aq"])).split("\n").filter((id) => id !== "");
      for (const id of ids) {
        const status = await inspect(id, "{{.State.Status}}");
        expect(["created", "running", "exited"]).toContain(status);
        if (status === "running") expect(await engine.ok(["exec", id, "echo", "ok"])).toBe("ok");
      }
      if (ids.length > 0) await engine.ok(["rm", "-f", ...ids]);
    }
    await expectNothingLeft(engine);
    expect(await engine.ok(["run", "--rm", "busybox", "echo", "fine"])).toBe("fine");
  });

  test("during load and pull: the image is whole or not there, and a second try works", async () => {
    await using registry = await startRegistry(engine.root);
    const name = `${registry.host}/big`;
    const tar = await baseImage("busybox");
    await engine.ok(["import", tar, name]);
    await engine.ok(["push", name]);
    const archive = join(engine.root, "big.tar");
    await engine.ok(["save", "-o", archive, name]);
    for (const args of [
      ["load", "-i", archive],
      ["pull", name],
    ]) {
      for (let round = 0; round < 5; round += 1) {
        await engine.ok(["rmi", "-f", name]);
        const work = engine.docker(args);
        await Bun.sleep(10 + Math.random() * 80);
        await engine.killDaemon();
        await work;
        await engine.startDaemon();
        const present = (await engine.ok(["images", "-q", name])) !== "";
        if (!present) await engine.ok(args);
        expect(await engine.ok(["run", "--rm", name, "echo", "whole"])).toBe("whole");
      }
    }
    await engine.ok(["rmi", "-f", name]);
    expect(readdirSync(join(engine.dataRoot, "content/ingest"))).toEqual([]);
  });

  test("SIGTERM leaves the containers alone as well", async () => {
    await engine.ok(["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]);
    process.kill(engine.daemonPid, "SIGTERM");
    await engine.killDaemon();
    await engine.startDaemon();
    expect(await inspect("stays", "{{.State.Running}}")).toBe("true");
    await expectNothingLeft(engine);
  });
});

test("a newer binary takes over the supervisor too, and containers notice nothing", async () => {
  const script = "i=0; while :; do echo tick $((i=i+1)); sleep 0.05; done";
  await engine.ok(["run", "-d", "--name", "old", "busybox", "sh", "-c", script]);
  const supervisor = engine.supervisorPid();
  const pid = await inspect("old", "{{.State.Pid}}");
  const newer = join(engine.root, "naru-newer");
  copyFileSync(NARU, newer);
  await engine.killDaemon();
  await engine.startDaemon(newer);
  expect(engine.supervisorPid()).toBe(supervisor);
  expect(statSync(`/proc/${supervisor}/exe`).ino).toBe(statSync(newer).ino);
  expect(await inspect("old", "{{.State.Running}} {{.State.Pid}}")).toBe(`true ${pid}`);
  expect(await engine.ok(["exec", "old", "echo", "still"])).toBe("still");
  await engine.ok(["stop", "-t", "0", "old"]);
  const ticks = (await engine.ok(["logs", "old"])).split("\n");
  expect(ticks.map((line) => Number(line.split(" ")[1]))).toEqual(
    ticks.map((_, index) => index + 1),
  );
  await engine.killDaemon();
  await engine.startDaemon();
  await expectNothingLeft(engine);
});

describe("the supervisor is killed", () => {
  test("containers, their logs, input and exit codes survive", async () => {
    await engine.ok([
      "run",
      "-d",
      "-i",
      "--name",
      "sup",
      "busybox",
      "sh",
      "-c",
      "i=0; while read -t 1 line || [ $i -lt 40 ]; do i=$((i+1)); echo $i $line; done; exit 7",
    ]);
    await engine.ok([
      "run",
      "-d",
      "--name",
      "tty",
      "-t",
      "busybox",
      "sh",
      "-c",
      "sleep 2; tty; exit 8",
    ]);
    await engine.ok(["run", "-d", "--name", "quick", "busybox", "sh", "-c", "sleep 1; exit 9"]);
    const pid = engine.supervisorPid();
    process.kill(pid, "SIGKILL");
    expect(await engine.ok(["wait", "quick"])).toBe("9");
    // On a busy machine "quick" may have ended before: then nobody has waited for the new one yet.
    await eventually(() => expect(engine.supervisorPid()).not.toBe(pid));
    expect(await engine.ok(["wait", "tty"])).toBe("8");
    expect(await engine.ok(["logs", "tty"])).toContain("/dev/pts/0");
    expect(await inspect("sup", "{{.State.Running}}")).toBe("true");
    await engine.ok(["kill", "sup"]);
    expect(await engine.ok(["wait", "sup"])).toBe("137");
    expect(await engine.ok(["run", "--rm", "busybox", "echo", "again"])).toBe("again");
    await expectNothingLeft(engine);
  });

  test("both are killed at once", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "both",
      "busybox",
      "sh",
      "-c",
      "while :; do echo alive; sleep 0.1; done",
    ]);
    const pid = engine.supervisorPid();
    await engine.killDaemon();
    process.kill(pid, "SIGKILL");
    await engine.startDaemon();
    expect(await inspect("both", "{{.State.Running}}")).toBe("true");
    const before = (await engine.ok(["logs", "both"])).split("\n").length;
    await until(async () => (await engine.ok(["logs", "both"])).split("\n").length > before);
    await expectNothingLeft(engine);
  });
});
