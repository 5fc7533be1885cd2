/** What needs a person's terminal, or a client that gets signals: detaching, sizes, signals passed on, --attach. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";

import { type Engine, NARU, startEngine } from "./engine.ts";
import { type OnTerminal, runOnTerminal } from "./pty.ts";
import { eventually, until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const SIZE = { columns: 80, rows: 24 };
const PROGRAMS = ["docker", NARU];
const clientOf = (program: string): string[] => [program, "-H", `unix://${engine.socket}`];
const env = (): Record<string, string> => ({ DOCKER_CONFIG: join(engine.root, "client") });

/** Resolves when it has written this. */
const shows = (terminal: OnTerminal, text: string): Promise<void> =>
  eventually(() => expect(terminal.output()).toContain(text));

/** Prints its terminal's size whenever that changes, and what is typed. */
const WATCHER =
  "trap 'stty size' WINCH; echo ready; while :; do read -t 1 line && echo typed:$line; done";

describe.each(PROGRAMS)("%s", (program) => {
  const name = program === "docker" ? "d" : "n";

  test("its own keys detach from a container that runs on, and attach comes back to it", async () => {
    const keys = ["--detach-keys", "ctrl-x,x"];
    const run = ["run", "-it", ...keys, "--name", `${name}1`, "busybox", "sh", "-c", WATCHER];
    const first = runOnTerminal([...clientOf(program), ...run], SIZE, env());
    await shows(first, "ready");
    first.type("hello\r");
    await shows(first, "typed:hello");
    // The first key alone is the container's as soon as another follows.
    first.type("\x18y\r");
    await shows(first, "typed:\x18y");
    first.type("\x18x");
    expect(await first.exited).toBe(0);
    expect(await engine.ok(["inspect", "-f", "{{.State.Running}}", `${name}1`])).toBe("true");
    const attach = ["attach", ...keys, `${name}1`];
    const again = runOnTerminal([...clientOf(program), ...attach], SIZE, env());
    again.type("back\r");
    await shows(again, "typed:back");
    again.kill();
    await again.exited;
    await engine.ok(["rm", "-f", `${name}1`]);
  });

  test("a terminal's size is the container's, from the start and when it changes", async () => {
    const run = ["run", "-it", "--rm", "--name", `${name}2`, "busybox", "sh", "-c"];
    const script = `while [ "$(stty size)" != "24 80" ]; do sleep 0.02; done; ${WATCHER}`;
    const terminal = runOnTerminal([...clientOf(program), ...run, script], SIZE, env());
    await shows(terminal, "ready");
    // A client that does not listen yet misses a change, and is told of none that is none.
    for (let rows = 41; !/\d+ 101/.test(terminal.output()); rows = rows === 41 ? 42 : 41) {
      terminal.resize({ columns: 101, rows });
      await Bun.sleep(100);
    }
    await engine.ok(["kill", `${name}2`]);
    expect(await terminal.exited).toBe(137);
  });

  test("a signal to the client is the container's", async () => {
    const trap = "trap 'echo told; exit 3' USR1; echo ready; while :; do sleep 0.02; done";
    const start = (...flags: string[]) =>
      Bun.spawn([...clientOf(program), "run", ...flags, "busybox", "sh", "-c", trap], {
        stdout: "pipe",
        stderr: "ignore",
        env: { ...process.env, ...env() },
      });
    const passed = start("--rm");
    let output = "";
    const decoder = new TextDecoder();
    for await (const chunk of passed.stdout) {
      const before = output;
      output += decoder.decode(chunk);
      if (!before.includes("ready") && output.includes("ready")) passed.kill("SIGUSR1");
    }
    expect(output).toBe("ready\ntold\n");
    expect(await passed.exited).toBe(3);
  });

  test("a signal to a client that passes none on is nothing to the container", async () => {
    const trap = "trap 'echo told' USR1; echo ready; while :; do sleep 0.02; done";
    const flags = ["run", "--sig-proxy=false", "--name", `${name}4`, "busybox", "sh", "-c", trap];
    const client = Bun.spawn([...clientOf(program), ...flags], {
      stdout: "pipe",
      stderr: "ignore",
      env: { ...process.env, ...env() },
    });
    const { value } = await client.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toBe("ready\n");
    client.kill("SIGUSR1");
    // Told by others, as often as they do: what the client had passed on would be among it.
    for (const times of [1, 2]) {
      await engine.ok(["kill", "-s", "USR1", `${name}4`]);
      const told = async () => (await engine.ok(["logs", `${name}4`])).split("told").length - 1;
      await until(async () => (await told()) >= times);
      expect(await told()).toBe(times);
    }
    client.kill("SIGKILL");
    await client.exited;
    expect(await engine.ok(["inspect", "-f", "{{.State.Running}}", `${name}4`])).toBe("true");
    await engine.ok(["rm", "-f", `${name}4`]);
  });

  test("its keys detach from an exec as well, which goes on; the client says so and fails", async () => {
    await engine.ok(["run", "-d", "--name", `${name}5`, "busybox", "sleep", "1000"]);
    const exec = ["exec", "-it", "--detach-keys", "ctrl-x,x", `${name}5`, "sh", "-c", WATCHER];
    const terminal = runOnTerminal([...clientOf(program), ...exec], SIZE, env());
    await shows(terminal, "ready");
    terminal.type("\x18x");
    // Docker's CLI treats it as any other error of an exec, whichever daemon it speaks to.
    expect(await terminal.exited).toBe(1);
    expect(terminal.output()).toContain("read escape sequence");
    expect(await engine.ok(["top", `${name}5`])).toContain("stty size");
    await engine.ok(["rm", "-f", `${name}5`]);
  });

  test("--attach chooses the streams", async () => {
    const run = async (...flags: string[]) => {
      const child = Bun.spawn(
        [
          ...clientOf(program),
          "run",
          "--rm",
          ...flags,
          "busybox",
          "sh",
          "-c",
          "cat; echo out; echo err >&2",
        ],
        {
          stdin: new Blob(["in\n"]),
          stdout: "pipe",
          stderr: "pipe",
          env: { ...process.env, ...env() },
        },
      );
      const [out, err] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      return [out, err, await child.exited];
    };
    expect(await run("-a", "stdout")).toEqual(["out\n", "", 0]);
    expect(await run("-a", "stderr")).toEqual(["", "err\n", 0]);
    expect(await run("-a", "stdout", "-a", "stderr")).toEqual(["out\n", "err\n", 0]);
    expect(await run("-a", "stdin", "-a", "stdout", "-i")).toEqual(["in\nout\n", "", 0]);
  });
});
