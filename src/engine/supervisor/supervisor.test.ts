import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

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

async function write(stream: WritableStream<Uint8Array>, content: string, andClose = false) {
  const writer = stream.getWriter();
  await writer.write(bytes(content));
  if (andClose) await writer.close();
  else writer.releaseLock();
}

test("a process is born, prints into its log and to its attacher, and its exit code is told", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { beforeBirth: true });
  const report = await naru.birth("a", "echo out; echo err >&2; exit 7");
  expect(report.pid).toBeGreaterThan(1);
  expect(report.startTime).toMatch(/^\d+$/);
  expect(await readFrames(attached.output)).toEqual({ stdout: "out\n", stderr: "err\n" });
  const exit = await naru.exitOf("a");
  expect(exit).toMatchObject({ key: { id: "a" }, exitCode: 7, oomKilled: false, error: null });
  expect(exit.pid).toBe(report.pid);
  expect(naru.log("a").split("\n").sort()).toEqual(["", "err", "out"]);
});

test("what was printed before the end is in the log before the exit is announced", async () => {
  await using naru = await Harness.start();
  for (let round = 0; round < 20; round += 1) {
    const id = `flood${round}`;
    await naru.birth(id, "head -c 60000 /dev/zero | tr '\\0' x; echo end");
    await naru.exitOf(id);
    expect(naru.log(id)).toBe(`${"x".repeat(60_000)}end\n`);
  }
});

test("the exit is on disk before it is announced, and until it is forgotten", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exit 3");
  await naru.exitOf("a");
  const record = JSON.parse(readFileSync(join(naru.execRoot, "exits", "a"), "utf8"));
  expect(record.report.exit).toMatchObject({ exitCode: 3, error: null });
  const { processes } = await naru.client.request({ type: "list" });
  expect(processes).toHaveLength(1);
  expect(processes[0]?.exit?.exitCode).toBe(3);
  await naru.forget({ id: "a" });
  await naru.forget({ id: "a" });
  expect(readdirSync(join(naru.execRoot, "exits"))).toEqual([]);
  expect(readdirSync(join(naru.execRoot, "containers"))).toEqual([]);
  expect((await naru.client.request({ type: "list" })).processes).toEqual([]);
});

test("a signal's death counts from 128, and the dead take no signal", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  await naru.signal({ id: "a" }, 15);
  expect((await naru.exitOf("a")).exitCode).toBe(143);
  expect((await failure(naru.signal({ id: "a" }, 15))).message).toContain("not running");
  expect((await failure(naru.signal({ id: "b" }, 15))).message).toContain("No such container: b");
});

test("stdin reaches the process, and its end is the end of the process' input", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  await write(attached.input, "early\n"); // before there is a process
  await naru.birth("a", "cat; echo done", interactive);
  await write(attached.input, "late\n", true);
  expect((await readFrames(attached.output)).stdout).toBe("early\nlate\ndone\n");
  expect((await naru.exitOf("a")).exitCode).toBe(0);
});

test("an end of input that came before the birth is not lost", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  await write(attached.input, "all of it", true);
  await naru.birth("a", "wc -c", interactive);
  expect((await readFrames(attached.output)).stdout.trim()).toBe("9");
});

test("without stdinOnce the input stays open after its first attacher left", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "read one; echo $one; read two; echo $two", {
    ...interactive,
    stdinOnce: false,
  });
  const first = await naru.attach({ id: "a" }, { stdin: true });
  await write(first.input, "1\n", true);
  await readUntil(readerOf(first.output), "1\n");
  first.close();
  const second = await naru.attach({ id: "a" }, { stdin: true });
  await write(second.input, "2\n");
  expect((await readFrames(second.output)).stdout).toBe("2\n");
});

test("a client that dies does not end the input: only saying so does", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "cat; echo eof", interactive);
  const first = await naru.attach({ id: "a" }, { stdin: true });
  await write(first.input, "1\n");
  await readUntil(readerOf(first.output), "1\n");
  first.close();
  const second = await naru.attach({ id: "a" }, { stdin: true });
  await write(second.input, "2\n");
  const reader = readerOf(second.output);
  await readUntil(reader, "2\n");
  await second.input.close();
  second.close(); // said, then left at once
  expect((await naru.exitOf("a")).exitCode).toBe(0);
  expect(naru.log("a")).toBe("1\n2\neof\n");
});

test("an end of input that was said is one however late the supervisor hears of it", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "yes & cat; kill $!; echo eof", interactive);
  const attached = await naru.attach({ id: "a" }, { stdin: true });
  process.kill(naru.serverPid, "SIGSTOP");
  await write(attached.input, "1\n", true);
  attached.close(); // with output of the endless program under way
  process.kill(naru.serverPid, "SIGCONT");
  expect((await naru.exitOf("a")).exitCode).toBe(0);
  expect(naru.log("a")).toContain("1\n");
  // It is the supervisor that hangs up: nobody is attached any more, or this would be refused.
  await naru.birth("b", "exec sleep 60", piped);
});

test("much input waits for a slow reader and arrives whole", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  const born = naru.birth("a", "sleep 0.2; md5sum", interactive);
  const content = "0123456789abcdef".repeat(400_000);
  await write(attached.input, content, true);
  await born;
  const wanted = new Bun.CryptoHasher("md5").update(content).digest("hex");
  expect((await readFrames(attached.output)).stdout).toStartWith(wanted);
});

test("a process that closes its stdin does not harm who writes to it", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { stdin: true, beforeBirth: true });
  await naru.birth("a", "exec <&-; sleep 0.1; echo fine", interactive);
  await write(attached.input, "x".repeat(200_000), true);
  expect((await readFrames(attached.output)).stdout).toBe("fine\n");
});

test("every attacher gets everything, and stdout and stderr only to who wants them", async () => {
  await using naru = await Harness.start();
  const all = await Promise.all(
    [{}, {}, { stderr: false }, { stdout: false }].map((wanted) =>
      naru.attach({ id: "a" }, { ...wanted, beforeBirth: true }),
    ),
  );
  await naru.birth("a", "for i in 1 2 3; do echo o$i; echo e$i >&2; done");
  const seen = await Promise.all(all.map(({ output }) => readFrames(output)));
  const whole = { stdout: "o1\no2\no3\n", stderr: "e1\ne2\ne3\n" };
  expect(seen).toEqual([whole, whole, { ...whole, stderr: "" }, { ...whole, stdout: "" }]);
});

test("a slow attacher loses nothing", async () => {
  await using naru = await Harness.start();
  const slow = await naru.attach({ id: "a" }, { beforeBirth: true });
  await naru.birth("a", "yes $(printf %099d 7) | head -n 200000");
  let size = 0;
  let reads = 0;
  for await (const chunk of slow.output) {
    size += chunk.length;
    reads += 1;
    if (reads % 20 === 0) await new Promise((next) => setTimeout(next, 5));
  }
  expect(size).toBeGreaterThan(20_000_000);
  expect((await naru.exitOf("a")).exitCode).toBe(0);
  expect(naru.log("a").length).toBe(20_000_000);
});

test("an attacher that takes nothing beside others is cut off, and the others go on", async () => {
  await using naru = await Harness.start();
  const stuck = await naru.attach({ id: "a" }, { beforeBirth: true });
  const reading = await naru.attach({ id: "a" }, { beforeBirth: true });
  await naru.birth("a", "head -c 8000000 /dev/zero; echo end");
  const { stdout } = await readFrames(reading.output);
  expect(stdout.length).toBe(8_000_004);
  expect((await naru.exitOf("a")).exitCode).toBe(0);
  stuck.close();
}, 30_000);

test("an attacher that leaves harms neither the process nor the log", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { beforeBirth: true });
  await naru.birth("a", "yes $(printf %099d 7) | head -n 50000; echo end");
  await readerOf(attached.output).read();
  attached.close();
  expect((await naru.exitOf("a")).exitCode).toBe(0);
  expect(naru.log("a").length).toBe(5_000_004);
});

test("a terminal carries both ways, has a size, and hangs up at the end", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "t" }, { stdin: true, beforeBirth: true });
  await naru.birth(
    "t",
    "stty size; read line; stty size; echo got $line; tty >/dev/null",
    terminal,
  );
  const reader = readerOf(attached.output);
  await readUntil(reader, "24 80\r\n");
  await naru.client.request({ type: "resize", key: { id: "t" }, columns: 100, rows: 40 });
  await write(attached.input, "hello\n");
  await readUntil(reader, "40 100\r\ngot hello\r\n");
  expect((await reader.read()).done).toBe(true);
  expect((await naru.exitOf("t")).exitCode).toBe(0);
  expect(naru.log("t")).toContain("got hello\r\n");
  expect(
    (await failure(naru.client.request({ type: "resize", key: { id: "t" }, columns: 1, rows: 1 })))
      .message,
  ).toContain("not running");
});

test("an exec has streams and an exit of its own, and writes no log", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  const key = { id: "a", execId: "x1" };
  const attached = await naru.attach(key, { stdin: true, beforeBirth: true });
  await naru.exec("a", "x1", "cat; exit 5", interactive);
  await write(attached.input, "to exec\n", true);
  expect((await readFrames(attached.output)).stdout).toBe("to exec\n");
  expect((await naru.exitOf("a.x1")).exitCode).toBe(5);
  expect(naru.log("a")).toBe("");
  await naru.forget(key);
  await naru.exec("a", "t1", "tty", terminal);
  expect((await naru.exitOf("a.t1")).exitCode).toBe(0);
  expect((await failure(naru.exec("b", "x1", "true"))).message).toContain("not running");
  expect((await failure(naru.exec("a", "t1/..", "true"))).message).toContain("named by an id");
});

test("an exec's background child holds nobody up, and keeps writing without harm", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  const attached = await naru.attach({ id: "a", execId: "x" }, { beforeBirth: true });
  const done = join(naru.execRoot, "done");
  await naru.exec("a", "x", `(sleep 0.2; head -c 300000 /dev/zero; touch ${done}) & echo started`);
  expect((await readFrames(attached.output)).stdout).toBe("started\n");
  await naru.exitOf("a.x");
  expect(existsSync(done)).toBe(false);
  while (!existsSync(done)) await new Promise((next) => setTimeout(next, 10));
});

test("a birth that fails says why, ends its attachers and leaves nothing", async () => {
  await using naru = await Harness.start();
  const attached = await naru.attach({ id: "a" }, { beforeBirth: true });
  const message = naru.birthMessage("a", "");
  const born = naru.client.request({
    ...message,
    spec: { ...message.spec, process: { ...message.spec.process, args: ["nope-nope"] } },
  });
  expect(await failure(born)).toMatchObject({ failure: "notFound" });
  expect(await readText(attached.output)).toBe("");
  expect(readdirSync(join(naru.execRoot, "containers"))).toEqual([]);
  await naru.birth("a", "true");
  expect((await naru.exitOf("a")).exitCode).toBe(0);
});

test("one id has one process at a time, and can be born again after its end", async () => {
  await using naru = await Harness.start();
  const births = await Promise.allSettled([
    naru.birth("a", "sleep 60"),
    naru.birth("a", "sleep 60"),
  ]);
  expect(births.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  await naru.signal({ id: "a" }, 9);
  await naru.exitOf("a");
  await naru.birth("a", "exit 2");
  expect((await naru.exitOf("a")).exitCode).toBe(2);
});

test("names that would climb out of the exec-root are refused", async () => {
  await using naru = await Harness.start();
  for (const id of ["", "..", "a/b", ".hidden", "a".repeat(200)]) {
    expect((await failure(naru.birth(id, "true"))).message).toContain("named by an id");
  }
});

test("two supervisors never share an exec-root", async () => {
  await using naru = await Harness.start();
  expect(await naru.startServer()).toBe(75);
  await naru.birth("a", "true"); // the first is unharmed
  expect((await naru.exitOf("a")).exitCode).toBe(0);
});

test("the socket and its folder are the owner's alone", async () => {
  await using naru = await Harness.start();
  expect(statSync(naru.execRoot).mode & 0o777).toBe(0o700);
  expect(statSync(join(naru.execRoot, "supervisor.sock")).mode & 0o777).toBe(0o600);
});

test("noise on the socket ends that connection and nothing else", async () => {
  await using naru = await Harness.start();
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const unix = join(naru.execRoot, "supervisor.sock");
  for (const noise of ["\xff\xff\xff\xff", "\0\0\0\x04nope", '\0\0\0\x0b{"hello":9}']) {
    const socket = await Bun.connect({
      unix,
      socket: { data: () => undefined, close: () => resolve() },
    });
    socket.write(Buffer.from(noise, "latin1"));
    await closed;
  }
  await naru.birth("a", "true");
  expect((await naru.exitOf("a")).exitCode).toBe(0);
});

test("shutdown is refused while something lives", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  expect((await failure(naru.client.request({ type: "shutdown" }))).message).toContain("running");
  await naru.signal({ id: "a" }, 9);
  await naru.exitOf("a");
  await naru.client.request({ type: "shutdown" });
  await naru.client.closed;
  await naru.startServer();
  await naru.connect();
  const { processes } = await naru.client.request({ type: "list" });
  expect(processes[0]?.exit?.exitCode).toBe(137);
});

test("a process that ignores its output's reader dies of its own, not of SIGPIPE", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "yes | head -n 100000 >/dev/null; exit 4", piped);
  expect((await naru.exitOf("a")).exitCode).toBe(4);
});
