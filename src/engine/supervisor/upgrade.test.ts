import { expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";

import {
  failure,
  Harness,
  interactive,
  readerOf,
  readFrames,
  readText,
  readUntil,
} from "./test-harness.ts";

const bytes = (content: string) => new TextEncoder().encode(content);
const terminal = { openStdin: true, stdinOnce: true, terminal: { columns: 80, rows: 24 } };

const commandOf = (naru: Harness) => [
  process.execPath,
  join(import.meta.dir, "test-supervisor.ts"),
  naru.execRoot,
];

async function upgrade(naru: Harness) {
  const { closed } = naru.client;
  await naru.client.request({ type: "upgrade", command: commandOf(naru) });
  await closed;
  for (;;) {
    try {
      await naru.connect();
      return await naru.catchUp();
    } catch {
      await new Promise((next) => setTimeout(next, 5));
    }
  }
}

const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((next) => setTimeout(next, 5));
};

test("an upgraded supervisor is the same process, with the same children and nothing lost", async () => {
  await using naru = await Harness.start();
  const go = join(naru.execRoot, "go");
  await naru.birth(
    "a",
    `printf 'half a '; while [ ! -e ${go} ]; do sleep 0.01; done; echo line; exit 9`,
  );
  await naru.birth("c", "cat; exit 4", interactive);
  await naru.birth("t", "read line; echo got $line; exit 5", terminal);
  await naru.birth("gone", "exit 6");
  await naru.exitOf("gone");
  const { pid } = naru.client;
  naru.keeper.drop("a"); // it needs no daemon for this
  const processes = await upgrade(naru);
  expect(naru.client.pid).toBe(pid);
  expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain("test-supervisor.ts");
  const codes = processes.map(({ key, exit }) => `${key.id} ${exit?.exitCode ?? "alive"}`);
  expect(codes.sort()).toEqual(["a alive", "c alive", "gone 6", "t alive"]);
  const cat = await naru.attach({ id: "c" }, { stdin: true });
  const writer = cat.input.getWriter();
  await writer.write(bytes("through\n"));
  await writer.close();
  expect((await readFrames(cat.output)).stdout).toBe("through\n");
  const tty = await naru.attach({ id: "t" }, { stdin: true });
  await tty.input.getWriter().write(bytes("hi\n"));
  expect(await readText(tty.output)).toContain("got hi\r\n");
  closeSync(openSync(go, "w"));
  expect((await naru.exitOf("a")).exitCode).toBe(9);
  expect((await naru.exitOf("c")).exitCode).toBe(4);
  expect((await naru.exitOf("t")).exitCode).toBe(5);
  expect(naru.log("a")).toBe("half a line\n");
  expect(readFileSync(naru.logPath("a"), "utf8").trimEnd().split("\n")).toHaveLength(1);
});

test("an upgraded supervisor still reaps its own children, and can be upgraded again", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "exec sleep 60");
  await upgrade(naru);
  await upgrade(naru);
  const { processes } = await naru.client.request({ type: "list" });
  const pid = processes[0]?.pid ?? 0;
  await naru.signal({ id: "a" }, 15);
  expect((await naru.exitOf("a")).exitCode).toBe(143);
  await until(() => !existsSync(`/proc/${pid}`)); // no zombie
  expect(await naru.startServer()).toBe(75); // the lock went along
  await naru.birth("b", "exit 3");
  expect((await naru.exitOf("b")).exitCode).toBe(3);
});

test("an upgrade is refused while someone is attached, and one that fails changes nothing", async () => {
  await using naru = await Harness.start();
  await naru.birth("a", "cat", { ...interactive, stdinOnce: false });
  const attached = await naru.attach({ id: "a" }, { stdin: true });
  const refused = naru.client.request({ type: "upgrade", command: commandOf(naru) });
  expect((await failure(refused)).message).toContain("in use");
  await attached.input.getWriter().write(bytes("x\n"));
  await readUntil(readerOf(attached.output), "x\n");
  attached.close();
  const isLeft = async () => {
    const answer = naru.client.request({ type: "upgrade", command: ["/nowhere/naru"] });
    return await answer.then(
      () => true,
      () => false,
    );
  };
  while (!(await isLeft())) await new Promise((next) => setTimeout(next, 5));
  await naru.signal({ id: "a" }, 15);
  expect((await naru.exitOf("a")).exitCode).toBe(143);
});
