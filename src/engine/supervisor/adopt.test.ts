import { expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { listChildren } from "#linux/process";

import {
  failure,
  Harness,
  interactive,
  piped,
  readerOf,
  readFrames,
  readText,
  readUntil,
} from "./test-harness.ts";

const bytes = (content: string) => new TextEncoder().encode(content);
const terminal = { openStdin: true, stdinOnce: true, terminal: { columns: 80, rows: 24 } };

/** A file whose appearance the test waits for, or a program does. */
const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((next) => setTimeout(next, 5));
};

async function revive(naru: Harness) {
  await naru.startServer();
  await naru.connect();
  return await naru.catchUp();
}

/** The daemon has taken its copies: they are taken off the answer's path. */
const copiesTaken = () => new Promise((next) => setTimeout(next, 20));

test("a process outlives its supervisor: its log goes on, its exit code is known", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  await naru.birth("a", `echo one; while [ ! -e ${go} ]; do sleep 0.01; done; echo two; exit 9`);
  await until(() => existsSync(naru.logPath("a")) && naru.log("a") === "one\n");
  await copiesTaken();
  await naru.killServer();
  const processes = await revive(naru);
  expect(processes.map(({ key, exit }) => [key.id, exit])).toEqual([["a", null]]);
  const attached = await naru.attach({ id: "a" });
  closeSync(openSync(go, "w"));
  expect((await readFrames(attached.output)).stdout).toBe("two\n");
  expect(await naru.exitOf("a")).toMatchObject({ exitCode: 9, error: null });
  expect(naru.log("a")).toBe("one\ntwo\n");
});

test("a process that ended while no supervisor lived has its code and its last words", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  const { pid } = await naru.birth(
    "a",
    `while [ ! -e ${go} ]; do sleep 0.01; done; echo last words; exit 11`,
  );
  await copiesTaken();
  await naru.killServer();
  closeSync(openSync(go, "w"));
  await until(() => !existsSync(`/proc/${pid}`));
  await revive(naru);
  expect(await naru.exitOf("a")).toMatchObject({ exitCode: 11, error: null, pid });
  expect(naru.log("a")).toBe("last words\n");
});

test("a line whose beginning was read by a supervisor that died is one line", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  const attached = await naru.attach({ id: "a" }, { beforeBirth: true });
  await naru.birth("a", `printf begin; while [ ! -e ${go} ]; do sleep 0.01; done; echo end`);
  await readUntil(readerOf(attached.output), "begin");
  await copiesTaken();
  await naru.killServer();
  await revive(naru);
  closeSync(openSync(go, "w"));
  await naru.exitOf("a");
  expect(readFileSync(naru.logPath("a"), "utf8").trim().split("\n")).toHaveLength(1);
  expect(naru.log("a")).toBe("beginend\n");
});

test("a supervisor that is killed while it writes loses no line of a flood, and writes none twice", async () => {
  await using naru = await Harness.start();
  const count = 20_000;
  await naru.birth("a", `i=0; while [ $i -lt ${count} ]; do i=$((i+1)); echo "line $i"; done`);
  await copiesTaken();
  for (let death = 0; death < 4 && !naru.exits.has("a"); death += 1) {
    const before = statSync(naru.logPath("a")).size;
    await until(() => naru.exits.has("a") || statSync(naru.logPath("a")).size > before);
    await naru.killServer();
    await revive(naru);
  }
  await naru.exitOf("a");
  const lines = naru.log("a").trim().split("\n");
  expect(lines.findIndex((line, index) => line !== `line ${index + 1}`)).toBe(-1);
  expect(lines).toHaveLength(count);
});

test("without a daemon that kept a copy, the code of who is gone is unknown, and says so", async () => {
  await using naru = await Harness.start();
  const { pid } = await naru.birth("a", "exec sleep 60");
  await copiesTaken();
  naru.keeper.drop("a");
  await naru.killServer();
  process.kill(pid, "SIGTERM");
  await until(() => !existsSync(`/proc/${pid}`));
  await revive(naru);
  expect(await naru.exitOf("a")).toMatchObject({ exitCode: 137, error: "exit code unknown" });
});

test("without a daemon a living process is taken over all the same", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  await naru.birth("a", `while [ ! -e ${go} ]; do sleep 0.01; done; echo here; exit 6`);
  await copiesTaken();
  naru.keeper.drop("a");
  await naru.killServer();
  await revive(naru);
  closeSync(openSync(go, "w"));
  expect(await naru.exitOf("a")).toMatchObject({ exitCode: 6, error: null });
  expect(naru.log("a")).toBe("here\n");
});

test("an open stdin survives, and its end still reaches the process", async () => {
  await using naru = await Harness.start();
  const first = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  await naru.birth("a", "cat; exit 3", interactive);
  await first.input.getWriter().write(bytes("before\n"));
  await readUntil(readerOf(first.output), "before\n");
  await copiesTaken();
  await naru.killServer();
  await revive(naru);
  await copiesTaken();
  const second = await naru.attach({ id: "a" }, { stdin: true });
  const writer = second.input.getWriter();
  await writer.write(bytes("after\n"));
  await writer.close();
  expect((await readFrames(second.output)).stdout).toBe("after\n");
  expect((await naru.exitOf("a")).exitCode).toBe(3);
});

test("the copy that the daemon keeps does not hold an input open", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  await naru.birth("a", "cat; echo eof", interactive);
  await copiesTaken();
  await attached.input.close();
  expect((await readFrames(attached.output)).stdout).toBe("eof\n");
});

test("a terminal survives: no hang-up, and it is typed into by the next attacher", async () => {
  await using naru = await Harness.start();
  await naru.birth("t", "stty -echo; read line; echo got $line; exit 2", terminal);
  await copiesTaken();
  await naru.killServer();
  await revive(naru);
  const attached = await naru.attach({ id: "t" }, { stdin: true });
  await naru.client.request({ type: "resize", key: { id: "t" }, columns: 90, rows: 30 });
  await attached.input.getWriter().write(bytes("hello\n"));
  expect(await readText(attached.output)).toContain("got hello\r\n");
  expect((await naru.exitOf("t")).exitCode).toBe(2);
});

test("execs are taken over too, and new ones are possible", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  await naru.exec("a", "x", "read line; exit 8", { ...interactive, stdinOnce: false });
  await copiesTaken();
  await naru.killServer();
  await revive(naru);
  const attached = await naru.attach({ id: "a", execId: "x" }, { stdin: true });
  await attached.input.getWriter().write(bytes("go\n"));
  expect((await naru.exitOf("a.x")).exitCode).toBe(8);
  await naru.exec("a", "y", "exit 5");
  expect((await naru.exitOf("a.y")).exitCode).toBe(5);
});

test("a process whose reader is gone for long writes on and loses nothing of what fits its pipe", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  await naru.birth(
    "a",
    `while [ ! -e ${go} ]; do sleep 0.01; done; for i in $(seq 5000); do echo line $i; done`,
  );
  await copiesTaken();
  await naru.killServer();
  closeSync(openSync(go, "w"));
  await new Promise((next) => setTimeout(next, 100)); // it fills its pipe and waits
  await revive(naru);
  await naru.exitOf("a");
  expect(naru.log("a")).toBe(Array.from({ length: 5000 }, (_, n) => `line ${n + 1}\n`).join(""));
});

test("a new daemon gets its own copies by listing", async () => {
  await using naru = await Harness.start();
  const { pid } = await naru.birth("a", "exec sleep 60", piped);
  await copiesTaken();
  naru.keeper.drop("a"); // the old daemon's, which died
  naru.client.close();
  await naru.client.closed;
  await naru.connect();
  await naru.catchUp();
  await copiesTaken();
  await naru.killServer();
  process.kill(pid, "SIGINT");
  await until(() => !existsSync(`/proc/${pid}`));
  await revive(naru);
  expect((await naru.exitOf("a")).exitCode).toBe(130);
});

test("a birth that was interrupted leaves nothing", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  await naru.killServer();
  const folder = join(naru.execRoot, "containers", "b");
  await Bun.write(
    join(folder, "state.json"),
    JSON.stringify({
      version: 1,
      key: { id: "b" },
      stdio: piped,
      born: null,
      container: {
        runtime: "test",
        log: { driver: "none" },
        cgroupsPath: "/naru-test/none",
        endpoints: [],
      },
    }),
  );
  await Bun.write(join(naru.execRoot, "containers", "c", "stdout"), "");
  const processes = await revive(naru);
  expect(processes.map(({ key }) => key.id)).toEqual(["a"]);
  expect(readdirSync(join(naru.execRoot, "containers"))).toEqual(["a"]);
  await naru.birth("b", "true");
  expect((await naru.exitOf("b")).exitCode).toBe(0);
});

test("requests that were under way fail at once when the supervisor dies", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  const { client } = naru;
  const attached = await naru.attach({ id: "a" });
  const pending = client.request({ type: "forget", key: { id: "zz" } });
  const late = naru.killServer().then(() => client.request({ type: "list" }));
  await pending.catch(() => undefined);
  expect((await failure(late)).message).toBe("the supervisor is gone");
  expect(await readText(attached.output)).toBe("");
  await revive(naru);
});

test("orphans that become ours are reaped, and children of others are left alone", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "(sleep 0.05; exit 1) & (setsid sleep 0.05 &) ; exit 0");
  await naru.exitOf("a");
  await until(() => listChildren(naru.serverPid).length === 0);
});

test("three hundred idle processes are served at once when they speak", async () => {
  await using naru = await Harness.start();
  const count = 300;
  const go = join(naru.execRoot, "go");
  expect(Bun.spawnSync(["mkfifo", go]).exitCode).toBe(0);
  const writer = openSync(go, "r+");
  const ids = Array.from({ length: count }, (_, n) => `p${n}`);
  await Promise.all(ids.map((id) => naru.birth(id, `read line <${go}; echo awake`)));
  const before = memoryOf(naru.serverPid);
  expect(before.threads).toBeLessThan(20);
  writeSync(writer, "x\n".repeat(count));
  await Promise.all(ids.map((id) => naru.exitOf(id)));
  closeSync(writer);
  for (const id of ids) expect(naru.log(id)).toBe("awake\n");
}, 20_000);

function memoryOf(pid: number) {
  const status = Bun.spawnSync(["cat", `/proc/${pid}/status`]).stdout.toString();
  const field = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]);
  return { rssKb: field("VmRSS"), anonKb: field("RssAnon"), threads: field("Threads") };
}
