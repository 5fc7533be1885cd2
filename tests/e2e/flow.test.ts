/** What one client does that is large, slow or stands still: nobody else waits for it, and nothing is lost unsaid. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** Processes that read or write files for the daemon. */
const helpers = (): number[] =>
  readdirSync("/proc").flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const words = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      const status = readFileSync(`/proc/${entry}/status`, "utf8");
      const isOurs = Number(/^PPid:\t(\d+)$/m.exec(status)?.[1]) === engine.daemonPid;
      return isOurs && words.includes("container-files") ? [Number(entry)] : [];
    } catch {
      return []; // it ended meanwhile
    }
  });

/** A client that reads nothing of its answer until it is told to. HTTP/1.0: its answer has no pieces of HTTP's own. */
async function stalled(head: string, body = "") {
  const chunks: Buffer[] = [];
  const ended = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    unix: engine.daemonSocket,
    socket: {
      open: (opened) => opened.pause(),
      data: (_, bytes) => void chunks.push(Buffer.from(bytes)),
      close: () => ended.resolve(),
      end: () => ended.resolve(),
    },
  });
  socket.write(`${head} HTTP/1.0\r\nHost: x\r\n${body}\r\n`);
  return {
    send: async (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length;) {
        at += Math.max(socket.write(bytes.subarray(at)), 0);
        await Bun.sleep(1);
      }
    },
    /** Everything of the answer, its head too. */
    rest: async () => {
      socket.resume();
      await ended.promise;
      return Buffer.concat(chunks);
    },
    leave: () => socket.terminate(),
  };
}

test("large copies are another process's work, which ends with its client; small ones are not", async () => {
  const write = (bytes: number, path: string) => `head -c ${bytes} /dev/zero > ${path}`;
  const fill = `mkdir /d; for i in $(seq 200); do ${write(100_000, "/d/$i")}; done; ${write(20_000_000, "/big")}`;
  await engine.ok(["run", "--name", "still", "busybox", "sh", "-c", fill]);
  await engine.ok(["run", "-d", "--name", "live", "busybox", "sleep", "100000"]);
  for (const path of ["export", "archive?path=/d", "archive?path=/big"]) {
    const client = await stalled(`GET /containers/still/${path}`);
    await until(() => helpers().length === 1);
    // The daemon goes on, and so does everything but a start of this container.
    expect(await engine.ok(["ps", "-q", "-f", "name=live"])).not.toBe("");
    client.leave();
    await until(() => helpers().length === 0);
  }
  const exported = `${engine.root}/exported.tar`;
  await engine.ok(["export", "-o", exported, "still"]);
  const listed = Bun.spawnSync(["tar", "-tf", exported]).stdout.toString();
  expect(listed.split("\n").filter((name) => name.startsWith("d/")).length).toBe(201);
  await engine.ok(["start", "-a", "still"]);

  const tree = `${engine.root}/tree`;
  const packed = `${engine.root}/tree.tar`;
  Bun.spawnSync([
    "sh",
    "-c",
    `mkdir ${tree}; for i in $(seq 500); do echo $i > ${tree}/$i; done; head -c 700000 /dev/urandom > ${tree}/big; tar -C ${tree} -cf ${packed} .`,
  ]);
  const bytes = await Bun.file(packed).bytes();
  const client = await stalled(
    "PUT /containers/live/archive?path=/tmp",
    `Content-Length: ${bytes.length}\r\n`,
  );
  await client.send(bytes.subarray(0, 600_000));
  await until(() => helpers().length === 1);
  await client.send(bytes.subarray(600_000));
  expect((await client.rest()).toString()).toContain(" 200 OK");
  await until(() => helpers().length === 0);
  const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(`${tree}/big`).bytes());
  const inside = await engine.ok(["exec", "live", "sha256sum", "/tmp/big"]);
  expect(inside.split(" ")[0]).toBe(sum.digest("hex"));
  expect(await engine.ok(["exec", "live", "sh", "-c", "ls /tmp | wc -l"])).toBe("501");
  await engine.ok(["rm", "-f", "live", "still"]);
});

/** The numbers that a log's frames hold, the engine's own words apart, with the place where they stand. */
function framesOf(answer: Buffer): { numbers: number[]; notices: { text: string; at: number }[] } {
  const stream = answer.subarray(answer.indexOf("\r\n\r\n") + 4);
  const notices: { text: string; at: number }[] = [];
  const parts: Buffer[] = [];
  let lines = 0;
  for (let at = 0; at + 8 <= stream.length;) {
    const payload = stream.subarray(at + 8, at + 8 + stream.readUInt32BE(at + 4));
    if (stream[at] === 3) notices.push({ text: payload.toString(), at: lines });
    else {
      parts.push(payload);
      lines += payload.filter((byte) => byte === 10).length;
    }
    at += 8 + payload.length;
  }
  const text = Buffer.concat(parts).toString().trimEnd();
  return { numbers: text.split("\n").map(Number), notices };
}

/** Where a number does not follow on the one before it. */
const gapsIn = (numbers: readonly number[]): number[] =>
  numbers.flatMap((number, at) => (at > 0 && number !== (numbers[at - 1] ?? 0) + 1 ? [at] : []));

const LINES = 200_000;

for (const driver of ["json-file", "local"]) {
  const options = ["--log-driver", driver, "--log-opt", "max-size=10k", "--log-opt", "max-file=2"];

  test(`a follower of ${driver} that stands still while its files rotate away is told so`, async () => {
    const name = `slow-${driver}`;
    const print = `echo 0; read go; seq ${LINES}`;
    await engine.ok(["run", "-di", "--name", name, ...options, "busybox", "sh", "-c", print]);
    const follower = await stalled(`GET /containers/${name}/logs?follow=1&stdout=1&stderr=1`);
    const client = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, "logs", "-f", name], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const reader = client.stdout.getReader();
    await reader.read();
    client.kill("SIGSTOP");
    const go = ["attach", "--sig-proxy=false", name];
    await engine.docker(go, { stdin: "go\n" });
    expect(await engine.ok(["wait", name])).toBe("0");

    const { numbers, notices } = framesOf(await follower.rest());
    expect(notices[0]?.text).toMatch(
      /^Error grabbing logs: \d+ rotated log files? (was|were) removed/,
    );
    // Where something is missing a notice stands, and nowhere else; the end is there.
    expect(notices.map(({ at }) => at)).toEqual(gapsIn(numbers));
    expect(numbers.at(-1)).toBe(LINES);

    client.kill("SIGCONT");
    while (!(await reader.read()).done);
    expect(await client.exited).toBe(1);
    expect(await new Response(client.stderr).text()).toContain(
      "error from daemon in stream: Error grabbing logs:",
    );
    await engine.ok(["rm", name]);
  });
}

test("a follower that reads gets every line of a log that keeps little, or is told what is missing", async () => {
  const options = ["--log-opt", "max-size=1m", "--log-opt", "max-file=1"];
  await engine.ok([
    "run",
    "-di",
    "--name",
    "fast",
    ...options,
    "busybox",
    "sh",
    "-c",
    `echo 0; read go; seq ${LINES}`,
  ]);
  const follower = await stalled("GET /containers/fast/logs?follow=1&stdout=1");
  const answer = follower.rest();
  await engine.docker(["attach", "--sig-proxy=false", "fast"], { stdin: "go\n" });
  const { numbers, notices } = framesOf(await answer);
  expect([numbers[0], numbers.at(-1)]).toEqual([0, LINES]);
  expect(notices.map(({ at }) => at)).toEqual(gapsIn(numbers));
  await engine.ok(["rm", "fast"]);
});
