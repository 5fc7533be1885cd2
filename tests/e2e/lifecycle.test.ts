/** The life of containers through the real docker CLI: states, streams, logs, exec, lists. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";
import { runOnTerminal } from "./pty.ts";
import { eventually } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const inspect = (name: string, format: string): Promise<string> =>
  engine.ok(["inspect", "-f", format, name]);

describe("states", () => {
  test("create, start, pause, unpause, stop, start, kill, rm", async () => {
    const id = await engine.ok(["create", "--name", "life", "busybox", "sleep", "1000"]);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(await inspect("life", "{{.State.Status}}")).toBe("created");
    expect(await engine.ok(["start", "life"])).toBe("life");
    expect(await inspect("life", "{{.State.Status}} {{.State.Running}}")).toBe("running true");
    await engine.ok(["pause", "life"]);
    expect(await inspect("life", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}")).toBe(
      "paused true true",
    );
    expect((await engine.docker(["pause", "life"])).stderr).toContain("is already paused");
    await engine.ok(["unpause", "life"]);
    expect((await engine.docker(["unpause", "life"])).stderr).toContain("is not paused");
    await engine.ok(["pause", "life"]);
    await engine.ok(["kill", "-s", "HUP", "life"]);
    expect(await inspect("life", "{{.State.Status}}")).toBe("paused");
    await engine.ok(["kill", "-s", "TERM", "life"]);
    expect(await inspect("life", "{{.State.Status}}")).toBe("running");
    await engine.ok(["stop", "-t", "1", "life"]);
    expect(await inspect("life", "{{.State.Status}} {{.State.ExitCode}}")).toBe("exited 137");
    await engine.ok(["start", "life"]);
    await engine.ok(["kill", "-s", "KILL", "life"]);
    expect(await engine.ok(["wait", "life"])).toBe("137");
    expect((await engine.docker(["kill", "life"])).stderr).toContain("is not running");
    expect(await engine.ok(["rm", "life"])).toBe("life");
    expect((await engine.docker(["inspect", "life"])).stderr.toLowerCase()).toContain(
      "no such object: life",
    );
  });

  test("stop sends the stop signal and takes the program's own exit code", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "polite",
      "--stop-signal",
      "USR1",
      "busybox",
      "sh",
      "-c",
      "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done",
    ]);
    await untilLogs("polite", "ready");
    await engine.ok(["stop", "polite"]);
    expect(await inspect("polite", "{{.State.ExitCode}}")).toBe("9");
    await engine.ok(["rm", "polite"]);
  });

  test("restart gives a new process the same files", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "again",
      "busybox",
      "sh",
      "-c",
      "echo x >> /count; wc -l < /count; sleep 1000",
    ]);
    await untilLogs("again", "1\n");
    const pid = await inspect("again", "{{.State.Pid}}");
    await engine.ok(["restart", "-t", "0", "again"]);
    await untilLogs("again", "2\n");
    expect(await inspect("again", "{{.State.Pid}}")).not.toBe(pid);
    await engine.ok(["rm", "-f", "again"]);
  });

  test("a running container is not removed without force, nor a name used twice", async () => {
    await engine.ok(["run", "-d", "--name", "busy", "busybox", "sleep", "1000"]);
    expect((await engine.docker(["rm", "busy"])).stderr).toContain(
      "container is running: stop the container before removing or force remove",
    );
    expect((await engine.docker(["create", "--name", "busy", "busybox", "true"])).stderr).toContain(
      'The container name "/busy" is already in use by container',
    );
    await engine.ok(["rename", "busy", "renamed"]);
    expect(await inspect("renamed", "{{.Name}}")).toBe("/renamed");
    await engine.ok(["rm", "-f", "renamed"]);
  });

  test("wait answers every condition", async () => {
    await engine.ok(["create", "--name", "waited", "busybox", "sh", "-c", "sleep 0.3; exit 5"]);
    const wait = (condition: string) =>
      engine
        .fetch(`/v1.51/containers/waited/wait?condition=${condition}`, { method: "POST" })
        .then((answer) => answer.json());
    const results = Promise.all([wait("next-exit"), wait("removed")]);
    await engine.ok(["start", "waited"]);
    expect(await engine.ok(["wait", "waited"])).toBe("5");
    expect(await wait("not-running")).toMatchObject({ StatusCode: 5 });
    await engine.ok(["rm", "waited"]);
    expect(await results).toMatchObject([{ StatusCode: 5 }, { StatusCode: 5 }]);
  });

  test("two starts at once start one process", async () => {
    await engine.ok([
      "create",
      "--name",
      "twice",
      "busybox",
      "sh",
      "-c",
      "echo started; sleep 1000",
    ]);
    const both = await Promise.all([
      engine.docker(["start", "twice"]),
      engine.docker(["start", "twice"]),
    ]);
    expect(both.map((done) => done.code)).toEqual([0, 0]);
    await untilLogs("twice", "started\n");
    expect((await engine.ok(["logs", "twice"])).split("\n")).toEqual(["started"]);
    await engine.ok(["rm", "-f", "twice"]);
  });

  test("--rm removes, also when the client is gone", async () => {
    await engine.ok(["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "0.2"]);
    await engine
      .fetch("/v1.51/containers/brief/wait?condition=removed", { method: "POST" })
      .then((answer) => answer.text());
    expect(await engine.ok(["ps", "-aq", "--filter", "name=brief"])).toBe("");
  });

  test("a restart policy starts a failing program again and counts", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "fails",
      "--restart",
      "on-failure:2",
      "busybox",
      "false",
    ]);
    const now = () => inspect("fails", "{{.State.Status}} {{.RestartCount}}");
    await eventually(async () => expect(await now()).toBe("exited 2"));
    await engine.ok(["rm", "-f", "fails"]);
  });
});

const untilLogs = (name: string, text: string): Promise<void> =>
  eventually(async () => {
    const done = await engine.docker(["logs", name]);
    expect(done.stdout + done.stderr).toContain(text);
  });

describe("streams", () => {
  test("logs keep both streams, tail, timestamps and ranges", async () => {
    await engine.ok([
      "run",
      "--name",
      "talk",
      "busybox",
      "sh",
      "-c",
      "for i in 1 2 3 4 5; do echo out$i; done; echo err >&2",
    ]);
    const whole = await engine.docker(["logs", "talk"]);
    expect(whole.stdout).toBe("out1\nout2\nout3\nout4\nout5\n");
    expect(whole.stderr).toBe("err\n");
    // Whether the last line of one stream comes before that of the other is the kernel's choice.
    const tail = await engine.docker(["logs", "-n", "5", "talk"]);
    expect((tail.stdout + tail.stderr).match(/\n/g)).toHaveLength(5);
    expect(tail.stdout).toEndWith("out4\nout5\n");
    expect(await engine.ok(["logs", "-t", "talk"])).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out1\n/,
    );
    expect((await engine.docker(["logs", "--since", "1h", "talk"])).stdout).toContain("out1");
    expect((await engine.docker(["logs", "--until", "1h", "talk"])).stdout).toBe("");
    await engine.ok(["rm", "talk"]);
  });

  test("logs -f follows to the end of the container", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "slow",
      "busybox",
      "sh",
      "-c",
      "for i in 1 2 3; do echo $i; sleep 0.1; done",
    ]);
    expect(await engine.ok(["logs", "-f", "slow"])).toBe("1\n2\n3");
    await engine.ok(["rm", "slow"]);
  });

  test("log files rotate and a follower loses nothing", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "rotating",
      "--log-opt",
      "max-size=20k",
      "--log-opt",
      "max-file=50",
      "busybox",
      "sh",
      "-c",
      "seq 1 5000",
    ]);
    const lines = (await engine.ok(["logs", "-f", "rotating"])).split("\n");
    expect(lines.length).toBe(5000);
    expect(lines.at(-1)).toBe("5000");
    await engine.ok(["rm", "rotating"]);
  });

  test("exec runs beside the program, with its own streams and code", async () => {
    await engine.ok(["run", "-d", "--name", "host1", "busybox", "sleep", "1000"]);
    expect(
      await engine.docker(["exec", "host1", "sh", "-c", "echo o; echo e >&2; exit 3"]),
    ).toEqual({ code: 3, stdout: "o\n", stderr: "e\n" });
    expect(await engine.ok(["exec", "-i", "host1", "cat"], { stdin: "through\n" })).toBe("through");
    expect(
      await engine.ok([
        "exec",
        "-e",
        "X=1",
        "-w",
        "/etc",
        "-u",
        "1",
        "host1",
        "sh",
        "-c",
        "echo $X; pwd; id -u",
      ]),
    ).toBe("1\n/etc\n1");
    expect(await engine.ok(["exec", "-t", "host1", "tty"])).toContain("/dev/pts/");
    const missing = 'exec: "nosuch": executable file not found in $PATH';
    expect(await engine.docker(["exec", "host1", "nosuch"])).toMatchObject({
      code: 127,
      stdout: expect.stringMatching(new RegExp(`${missing.replaceAll("$", "\\$")}.*\r\n$`)),
    });
    expect((await engine.docker(["exec", "host1", "/etc/passwd"])).code).toBe(126);
    await engine.ok(["exec", "-d", "host1", "sh", "-c", "echo detached > /mark"]);
    const mark = () => engine.ok(["exec", "host1", "cat", "/mark"]);
    await eventually(async () => expect(await mark()).toBe("detached"));
    expect(await engine.ok(["top", "host1"])).toContain("sleep 1000");
    await engine.ok(["kill", "host1"]);
    const stopped = await engine.docker(["exec", "host1", "true"]);
    expect(stopped.stderr).toContain("is not running");
    await engine.ok(["rm", "-f", "host1"]);
  });

  test("attach sees what comes, several at once", async () => {
    await engine.ok([
      "run",
      "-d",
      "-i",
      "--name",
      "shared",
      "busybox",
      "sh",
      "-c",
      "echo ready; read line; echo got $line",
    ]);
    const watchers = [
      engine.docker(["attach", "--no-stdin", "shared"]),
      engine.docker(["attach", "--no-stdin", "shared"]),
    ];
    // Who attaches is told of by an event.
    const ask = ["events", "--since", "1", "--until", "0s", "--filter", "container=shared"];
    await eventually(async () =>
      expect((await engine.ok(ask)).match(/ container attach /g)).toHaveLength(watchers.length),
    );
    await engine.docker(["attach", "shared"], { stdin: "hello\n" });
    for (const watcher of watchers) expect((await watcher).stdout).toBe("got hello\n");
    await engine.ok(["rm", "-f", "shared"]);
  });

  test("the detach keys leave the program running", async () => {
    await engine.ok(["run", "-dit", "--name", "kept", "busybox", "sh"]);
    const client = ["docker", "-H", `unix://${engine.socket}`, "attach", "kept"];
    const terminal = runOnTerminal(client, { columns: 80, rows: 24 });
    terminal.type("echo a$((1+1))b\r");
    // The keys count only once the client has put the terminal into raw mode: it has when the shell answers.
    await eventually(() => expect(terminal.output()).toContain("a2b"));
    terminal.type("\x10\x11");
    await terminal.exited;
    expect(terminal.output()).toContain("read escape sequence");
    expect(await inspect("kept", "{{.State.Running}}")).toBe("true");
    await engine.ok(["rm", "-f", "kept"]);
  });
});

describe("lists", () => {
  test("ps shows what runs, filters and formats", async () => {
    await engine.ok([
      "run",
      "-d",
      "--name",
      "a1",
      "--label",
      "tier=web",
      "busybox",
      "sleep",
      "1000",
    ]);
    await engine.ok(["run", "--name", "a2", "busybox", "sh", "-c", "exit 3"]).catch(() => "");
    expect(await engine.ok(["ps", "--format", "{{.Names}}"])).toBe("a1");
    expect((await engine.ok(["ps", "-a", "--format", "{{.Names}}"])).split("\n").sort()).toEqual([
      "a1",
      "a2",
    ]);
    const filtered = (...filter: string[]) =>
      engine.ok([
        "ps",
        "-a",
        "--format",
        "{{.Names}}",
        ...filter.flatMap((one) => ["--filter", one]),
      ]);
    expect(await filtered("label=tier=web")).toBe("a1");
    expect(await filtered("exited=3")).toBe("a2");
    expect(await filtered("status=running")).toBe("a1");
    expect(await filtered("ancestor=busybox", "name=^/a2$")).toBe("a2");
    expect(await filtered("before=a2")).toBe("a1");
    expect(await filtered("since=a1")).toBe("a2");
    expect((await engine.docker(["ps", "--filter", "nonsense=1"])).stderr).toContain(
      "invalid filter 'nonsense'",
    );
    const table = await engine.ok(["ps", "-a"]);
    expect(table.split("\n")[0]).toMatch(
      /^CONTAINER ID\s+IMAGE\s+COMMAND\s+CREATED\s+STATUS\s+PORTS\s+NAMES$/,
    );
    expect(table).toMatch(/Exited \(3\) .* ago/);
    expect(await engine.ok(["ps", "-as", "--format", "{{.Size}}", "--filter", "name=a1"])).toMatch(
      /^\d.*B \(virtual .*\)$/,
    );
    await engine.ok(["rm", "-f", "a1", "a2"]);
  });

  test("events tell a life in order", async () => {
    const since = String(Math.floor(Date.now() / 1000) - 1);
    await engine.ok(["run", "--rm", "--name", "told", "busybox", "true"]);
    const until = String(Math.floor(Date.now() / 1000) + 1);
    const output = await engine.ok([
      "events",
      "--since",
      since,
      "--until",
      until,
      "--filter",
      "container=told",
      "--format",
      "{{.Action}}",
    ]);
    expect(
      output
        .split("\n")
        .filter((action) => ["create", "attach", "start", "die", "destroy"].includes(action)),
    ).toEqual(["create", "attach", "start", "die", "destroy"]);
  });

  test("version and info are an engine's", async () => {
    expect(await engine.ok(["version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"])).toBe(
      "1.51 linux",
    );
    const info = await engine.ok(["info"]);
    expect(info).toContain("Cgroup Version");
    expect(info).toContain("Server Version");
  });
});
