/** Log servers and the delivery process when something goes wrong: kills, certificates, absence, broken connections. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Engine, NARU, run, startEngine } from "./engine.ts";
import { forwarded, startStream, zeroTerminated } from "./log-servers.ts";
import { freePorts } from "./ports.ts";
import { until } from "./until.ts";

let engine: Engine;
const folder = mkdtempSync("/tmp/naru-test-faults-");
const pem = (name: string): string => join(folder, `${name}.pem`);

async function makeAuthority(name: string): Promise<void> {
  const made = await run(
    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost
      -keyout ${pem(`${name}-key`)} -out ${pem(name)} -addext subjectAltName=DNS:localhost,IP:127.0.0.1`.split(
      /\s+/,
    ),
  );
  expect(made.code).toBe(0);
}

beforeAll(async () => {
  for (const name of ["known", "unknown"]) await makeAuthority(name);
  engine = await startEngine();
  // The host's own authorities, as Go programs find them; what delivers logs has them from its daemon.
  const supervisor = engine.supervisorPid();
  await engine.killDaemon();
  process.kill(supervisor, "SIGKILL");
  await engine.startDaemon(NARU, [], ["env", `SSL_CERT_FILE=${pem("known")}`]);
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const optionsOf = (driver: string, options: Record<string, string>): string[] => [
  "--log-driver",
  driver,
  ...Object.entries(options).flatMap(([name, value]) => ["--log-opt", `${name}=${value}`]),
];

const COUNTS =
  "i=0; while [ ! -e /stop ]; do echo line $i; i=$((i+1)); sleep 0.02; done; echo line $i";
const startCounting = (options: readonly string[], name: string): Promise<string> =>
  engine.ok(["run", "-d", "--name", name, ...options, "busybox", "sh", "-c", COUNTS]);

const numberIn = (text: string): number => Number(/line (\d+)/.exec(text)?.[1] ?? -1);
const numbersOf = (items: readonly unknown[][]): number[] =>
  items.map((item) => numberIn((item[2] as { log: string }).log));

/** @returns the number of its last line */
async function stopCounting(name: string): Promise<number> {
  await engine.ok(["exec", name, "touch", "/stop"]);
  await engine.ok(["wait", name]);
  return numberIn(await engine.ok(["logs", "--tail", "1", name]));
}

/** Until its own copy has so many lines more. */
async function printsMore(name: string, lines: number): Promise<void> {
  const last = async () => numberIn(await engine.ok(["logs", "--tail", "1", name]));
  const goal = (await last()) + lines;
  await until(async () => (await last()) >= goal);
}

const acknowledge = (item: unknown[], socket: { write(bytes: Buffer): unknown }): void => {
  const { chunk } = (item[3] ?? {}) as { chunk?: string };
  if (chunk === undefined) return;
  const text = Buffer.from(chunk);
  const head = Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b, 0xa0 | text.length]);
  socket.write(Buffer.concat([head, text]));
};

function deliveryPid(): number | null {
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const [, parent] =
        /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${entry}/status`, "utf8")) ?? [];
      const isOurs = Number(parent) === engine.supervisorPid();
      const words = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
      if (isOurs && words.includes("log-delivery")) return Number(entry);
    } catch {
      // It ended meanwhile.
    }
  }
  return null;
}

test("a delivery process that is killed is started again; nothing is lost, little is sent twice", async () => {
  await using server = await startStream({ parse: forwarded, answer: acknowledge });
  const options = optionsOf("fluentd", {
    "fluentd-address": `127.0.0.1:${server.port}`,
    "fluentd-request-ack": "true",
  });
  await startCounting(options, "killed");
  for (let kill = 0; kill < 3; kill += 1) {
    const seen = server.received.items.length;
    await server.received.until((items) => items.length > seen + 10);
    const pid = deliveryPid();
    expect(pid).not.toBeNull();
    process.kill(pid ?? -1, "SIGKILL");
    const before = server.received.items.length;
    await server.received.until((items) => items.length > before + 10);
    expect(deliveryPid()).not.toBe(pid);
  }
  const last = await stopCounting("killed");
  const got = numbersOf(await server.received.until((items) => numbersOf(items).includes(last)));
  expect([...new Set(got)].toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: last + 1 }, (_, number) => number),
  );
  // Its place is written down now and then: from there on is sent again, in order.
  let restarts = 0;
  for (const [index, number] of got.entries()) {
    const previous = got[index - 1];
    if (previous !== undefined && number !== previous + 1) restarts += 1;
  }
  expect(restarts).toBeLessThanOrEqual(3);
  await engine.ok(["rm", "killed"]);
});

test("fluentd by TLS: the server's certificate must be of an authority that the host knows", async () => {
  const start = async (name: string) => {
    await using server = await startStream({
      parse: forwarded,
      tls: { cert: readFileSync(pem(name), "utf8"), key: readFileSync(pem(`${name}-key`), "utf8") },
    });
    const options = optionsOf("fluentd", { "fluentd-address": `tls://127.0.0.1:${server.port}` });
    const done = await engine.docker(["run", "--rm", ...options, "busybox", "echo", "line 7"]);
    if (done.code === 0) await server.received.until((items) => items.length === 1);
    return { done, got: numbersOf(server.received.items) };
  };
  expect(await start("known")).toMatchObject({ done: { code: 0 }, got: [7] });
  const refused = await start("unknown");
  expect(refused.done.code).not.toBe(0);
  expect(refused.done.stderr).toContain("failed to initialize logging driver");
  expect(refused.got).toEqual([]);
});

test("fluentd-async: a container starts without its server, which hears everything when it comes", async () => {
  const port = freePorts();
  const options = optionsOf("fluentd", {
    "fluentd-address": `127.0.0.1:${port}`,
    "fluentd-async": "true",
    "fluentd-retry-wait": "50ms",
  });
  await startCounting(options, "early");
  await printsMore("early", 5);
  await using server = await startStream({ parse: forwarded, port });
  await server.received.until((items) => items.length > 10);
  const last = await stopCounting("early");
  const got = numbersOf(await server.received.until((items) => numbersOf(items).includes(last)));
  expect(got).toEqual(Array.from({ length: last + 1 }, (_, number) => number));
  await engine.ok(["rm", "early"]);
});

test("fluentd-max-retries: what cannot be sent so often is given up, the container and its copy go on", async () => {
  const port = freePorts();
  const first = await startStream({ parse: forwarded, port });
  const options = optionsOf("fluentd", {
    "fluentd-address": `127.0.0.1:${port}`,
    "fluentd-max-retries": "1",
    "fluentd-retry-wait": "1ms",
  });
  await startCounting(options, "tired");
  await first.received.until((items) => items.length > 3);
  await first[Symbol.asyncDispose]();
  await printsMore("tired", 30);
  await using second = await startStream({ parse: forwarded, port });
  await second.received.until((items) => items.length > 3);
  const last = await stopCounting("tired");
  const later = numbersOf(await second.received.until((items) => numbersOf(items).includes(last)));
  const heard = new Set([...numbersOf(first.received.items), ...later]);
  expect(heard.size).toBeLessThan(last + 1);
  const copy = (await engine.ok(["logs", "tired"])).split("\n").map(numberIn);
  expect(copy).toEqual(Array.from({ length: last + 1 }, (_, number) => number));
  await engine.ok(["rm", "tired"]);
});

test("gelf by TCP connects again when its server comes back", async () => {
  const port = freePorts();
  const first = await startStream({ parse: zeroTerminated, port });
  const options = optionsOf("gelf", {
    "gelf-address": `tcp://127.0.0.1:${port}`,
    "gelf-tcp-max-reconnect": "100",
    "gelf-tcp-reconnect-delay": "1",
  });
  await startCounting(options, "again");
  await first.received.until((items) => items.length > 3);
  await first[Symbol.asyncDispose]();
  await printsMore("again", 5);
  await using second = await startStream({ parse: zeroTerminated, port });
  await second.received.until((items) => items.length > 3);
  const last = await stopCounting("again");
  const numbers = (items: readonly string[]) =>
    items.map((text) => numberIn((JSON.parse(text) as { short_message: string }).short_message));
  const later = numbers(await second.received.until((items) => numbers(items).includes(last)));
  const heard = numbers(first.received.items);
  const all = new Set([...heard, ...later]);
  const before = heard.at(-1) ?? 0;
  // Only what the first server's socket had taken already can be missing.
  for (let number = 0; number <= last; number += 1) {
    const isBetween = number > before && number < (later[0] ?? 0);
    expect(all.has(number) || isBetween).toBe(true);
  }
  await engine.ok(["rm", "again"]);
});
