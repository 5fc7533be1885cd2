/** Log servers through the real docker CLI: real peers on loopback and on sockets of their own. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import type { ExtData } from "@msgpack/msgpack";

import { type Engine, run, startEngine } from "./engine.ts";
import {
  forwarded,
  journalFields,
  lines,
  Received,
  startGelfUdp,
  startStream,
  startUnixDatagrams,
  zeroTerminated,
} from "./log-servers.ts";
import { freePorts } from "./ports.ts";
import { until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const optionsOf = (driver: string, options: Record<string, string>): string[] => [
  "--log-driver",
  driver,
  ...Object.entries(options).flatMap(([name, value]) => ["--log-opt", `${name}=${value}`]),
];
const spool = () => {
  const folder = join(engine.dataRoot, "log-spool");
  return existsSync(folder) ? readdirSync(folder) : [];
};
/** Removal follows delivery: a look now and then is all there is to see it by. */
const spoolIsEmpty = async () => {
  await until(() => spool().length === 0);
};

const BOTH = "echo to out; echo to err >&2";

test("syslog by TCP: priority, time, tag and text, and docker logs from the copy", async () => {
  await using server = await startStream({ parse: lines });
  const options = optionsOf("syslog", {
    "syslog-address": `tcp://127.0.0.1:${server.port}`,
    "syslog-facility": "local3",
    tag: "{{.Name}}/{{.ImageName}}",
    labels: "l",
  });
  const args = ["run", ...options, "--label", "l=v", "--name", "sys", "busybox", "sh", "-c"];
  expect(await engine.docker([...args, `${BOTH}; printf '\\377\\n\\nend'`])).toMatchObject({
    code: 0,
  });
  const got = await server.received.until((items) => items.length === 4);
  expect(got.find((line) => line.startsWith("<155>"))).toMatch(
    /^<155>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d sys\/busybox\[\d+\]: to err$/,
  );
  const texts = got.map((line) => line.replace(/^.*?\]: /, ""));
  expect(texts.filter((text) => text !== "to err")).toEqual(["to out", "\xff", "end"]);
  const read = await engine.docker(["logs", "--details", "sys"]);
  expect(read).toMatchObject({ code: 0, stderr: "l=v to err\n" });
  expect(read.stdout.startsWith("l=v to out\n")).toBe(true);
  expect(await engine.ok(["inspect", "-f", "{{.HostConfig.LogConfig.Type}}", "sys"])).toBe(
    "syslog",
  );
  await engine.ok(["rm", "sys"]);
  await spoolIsEmpty();
});

test("syslog by UDP and by both kinds of Unix socket, in every format", async () => {
  const udpLines = new Received<string>();
  const udp = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: (_, bytes) => udpLines.push(Buffer.from(bytes).toString()) },
  });
  const streamPath = join(engine.root, "stream.sock");
  const datagramPath = join(engine.root, "datagram.sock");
  await using stream = await startStream({ parse: lines, path: streamPath });
  using datagrams = startUnixDatagrams(datagramPath);
  const printed = async (address: string, format: string) => {
    const options = optionsOf("syslog", {
      "syslog-address": address,
      "syslog-format": format,
      tag: "t",
    });
    await engine.ok(["run", "--rm", ...options, "busybox", "echo", format]);
  };
  await printed(`udp://127.0.0.1:${udp.port}`, "rfc3164");
  await printed(`unix://${streamPath}`, "rfc5424");
  await printed(`unixgram://${datagramPath}`, "rfc5424micro");
  const host = readFileSync("/proc/sys/kernel/hostname", "utf8").trim();
  const [first = ""] = await udpLines.until((items) => items.length === 1);
  expect(first).toMatch(/^<30>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \S+ t\[\d+\]: rfc3164\n$/);
  expect(first).toContain(` ${host} `);
  const [second = ""] = await stream.received.until((items) => items.length === 1);
  expect(second).toMatch(/^<30>1 \d{4}-\d\d-\d\dT[\d:]{8}(Z|[+-]\d\d:\d\d) \S+ t \d+ t - rfc5424$/);
  const [third] = await datagrams.received.until((items) => items.length === 1);
  expect(third?.toString()).toMatch(
    /^<30>1 \d{4}-\d\d-\d\dT[\d:]{8}\.\d{6}(Z|[+-]\d\d:\d\d) \S+ t \d+ t - rfc5424micro\n$/,
  );
  udp.close();
});

test("syslog by TLS: the server is verified, and frames are counted", async () => {
  const [key, cert] = [join(engine.root, "key.pem"), join(engine.root, "cert.pem")];
  const made = await run(
    `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost
      -keyout ${key} -out ${cert} -addext subjectAltName=DNS:localhost,IP:127.0.0.1`.split(/\s+/),
  );
  expect(made.code).toBe(0);
  await using server = await startStream({
    parse: lines,
    tls: { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") },
  });
  const start = async (more: Record<string, string>) => {
    const address = `tcp+tls://127.0.0.1:${server.port}`;
    const options = optionsOf("syslog", {
      "syslog-address": address,
      "syslog-format": "rfc5424",
      ...more,
    });
    return await engine.docker(["run", "--rm", ...options, "busybox", "echo", "secret"]);
  };
  expect((await start({})).stderr).toContain("failed to initialize logging driver");
  expect((await start({ "syslog-tls-ca-cert": "/nowhere.pem" })).stderr).toContain(
    'could not read CA certificate "/nowhere.pem": open /nowhere.pem: no such file or directory',
  );
  expect(await start({ "syslog-tls-ca-cert": cert })).toMatchObject({ code: 0 });
  expect(await start({ "syslog-tls-skip-verify": "true" })).toMatchObject({ code: 0 });
  const got = await server.received.until((items) => items.length === 2);
  for (const line of got) {
    const [, length = "", rest = ""] = /^(\d+) (<30>1 .* - secret)$/.exec(line) ?? [];
    expect(Number(length)).toBe(rest.length + 1);
  }
});

test("fluentd: records, sub-second times, acknowledgements and pieces of long lines", async () => {
  await using server = await startStream({
    parse: forwarded,
    answer: (item, socket) => {
      const { chunk } = (item[3] ?? {}) as { chunk?: string };
      if (chunk === undefined) return;
      const text = Buffer.from(chunk);
      const head = Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b, 0xa0 | text.length]);
      socket.write(Buffer.concat([head, text]));
    },
  });
  const options = optionsOf("fluentd", {
    "fluentd-address": `127.0.0.1:${server.port}`,
    "fluentd-request-ack": "true",
    "fluentd-sub-second-precision": "true",
    "env-regex": "^COL",
    tag: "docker.{{.ID}}",
  });
  const script = "echo short; head -c 20000 /dev/zero | tr '\\0' x; echo";
  const args = [
    "run",
    "-d",
    ...options,
    "-e",
    "COLOUR=red",
    "--name",
    "flu",
    "busybox",
    "sh",
    "-c",
  ];
  const id = await engine.ok([...args, script]);
  const got = await server.received.until((items) => items.length === 3);
  const records = got.map((item) => item[2] as Record<string, string>);
  expect(got[0]?.[0]).toBe(`docker.${id.slice(0, 12)}`);
  const time = got[0]?.[1] as ExtData;
  expect(time.type).toBe(0);
  expect(records[0]).toEqual({
    container_id: id,
    container_name: "/flu",
    source: "stdout",
    log: "short",
    COLOUR: "red",
  });
  expect(records[1]).toMatchObject({
    partial_message: "true",
    partial_ordinal: "1",
    partial_last: "false",
  });
  expect(records[2]).toMatchObject({ partial_ordinal: "2", partial_last: "true" });
  expect(records[2]?.["partial_id"]).toBe(records[1]?.["partial_id"] ?? "");
  expect([records[1]?.["log"]?.length, records[2]?.["log"]?.length]).toEqual([16_384, 3616]);
  await engine.ok(["rm", "-f", "flu"]);
});

test("gelf by UDP in every compression, in chunks, and by TCP", async () => {
  using udp = await startGelfUdp();
  for (const compression of ["gzip", "zlib", "none"]) {
    const options = optionsOf("gelf", {
      "gelf-address": `udp://127.0.0.1:${udp.port}`,
      "gelf-compression-type": compression,
      labels: "l",
    });
    const script = "head -c 9000 /dev/urandom | base64 | tr -d '\\n'; echo; echo err >&2";
    await engine.ok(["run", "--rm", ...options, "--label", "l=v", "busybox", "sh", "-c", script]);
  }
  const got = await udp.received.until((items) => items.length === 6);
  const long = got.filter(({ level }) => level === 6);
  expect(long.map((each) => String(each["short_message"]).length)).toEqual([
    12_000, 12_000, 12_000,
  ]);
  expect(got.find(({ level }) => level === 3)).toMatchObject({
    version: "1.1",
    short_message: "err",
    _l: "v",
    _image_name: "busybox",
  });
  await using tcp = await startStream({ parse: zeroTerminated });
  const options = optionsOf("gelf", { "gelf-address": `tcp://127.0.0.1:${tcp.port}` });
  const id = await engine.ok([
    "run",
    "-d",
    ...options,
    "--name",
    "gel",
    "busybox",
    "echo",
    "by tcp",
  ]);
  const [message = "{}"] = await tcp.received.until((items) => items.length === 1);
  expect(JSON.parse(message)).toMatchObject({
    short_message: "by tcp",
    _container_id: id,
    _container_name: "gel",
    _command: "echo by tcp",
    _tag: id.slice(0, 12),
  });
  await engine.ok(["rm", "-f", "gel"]);
});

const JOURNAL = "/run/systemd/journal/socket";

// A host with a journal of its own keeps it: there the unit test of the sink must do.
test.skipIf(existsSync(JOURNAL))("journald: the fields of Docker's driver", async () => {
  const options = optionsOf("journald", { labels: "some.label", tag: "t" });
  const args = ["run", "-d", ...options, "--label", "some.label=v", "--name", "jou", "busybox"];
  const refused = await engine.docker([...args, "true"]);
  expect(refused.stderr).toContain("journald is not enabled on this host");
  await engine.ok(["rm", "jou"]);
  mkdirSync(dirname(JOURNAL), { recursive: true });
  using journal = startUnixDatagrams(JOURNAL);
  const id = await engine.ok([...args, "sh", "-c", BOTH]);
  const got = (await journal.received.until((items) => items.length === 2)).map(journalFields);
  expect(got.find((fields) => fields["PRIORITY"] === "6")).toMatchObject({
    MESSAGE: "to out",
    CONTAINER_ID: id.slice(0, 12),
    CONTAINER_ID_FULL: id,
    CONTAINER_NAME: "jou",
    CONTAINER_TAG: "t",
    SYSLOG_IDENTIFIER: "t",
    IMAGE_NAME: "busybox",
    SOME_LABEL: "v",
  });
  expect(got.find((fields) => fields["PRIORITY"] === "3")).toMatchObject({ MESSAGE: "to err" });
  await engine.ok(["rm", "-f", "jou"]);
});

test("a server that is not there fails the start, and the container has exit code 128", async () => {
  const options = optionsOf("fluentd", { "fluentd-address": "127.0.0.1:1" });
  const answer = await engine.docker(["run", "--name", "dead", ...options, "busybox", "true"]);
  expect(answer.code).toBe(125);
  expect(answer.stderr).toContain(
    "failed to create task for container: failed to initialize logging driver: dial tcp 127.0.0.1:1: connect: connection refused",
  );
  expect(await engine.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "dead"])).toBe(
    "created 128",
  );
  await engine.ok(["rm", "dead"]);
});

test("a server that does not read holds up a blocking container, and no other", async () => {
  await using server = await startStream({ parse: lines });
  const start = async (name: string, mode: string) => {
    const options = optionsOf("syslog", {
      "syslog-address": `tcp://127.0.0.1:${server.port}`,
      mode,
      tag: name,
    });
    const script =
      "i=0; while [ $i -lt 800 ]; do head -c 48000 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done";
    return await engine.ok([
      "run",
      "-d",
      ...options,
      "--name",
      name,
      "busybox",
      "sh",
      "-c",
      script,
    ]);
  };
  server.stall(true);
  await start("waits", "blocking");
  await start("runs", "non-blocking");
  expect(await engine.ok(["wait", "runs"])).toBe("0");
  expect(await engine.ok(["inspect", "-f", "{{.State.Status}}", "waits"])).toBe("running");
  server.stall(false);
  expect(await engine.ok(["wait", "waits"])).toBe("0");
  const of = (items: readonly string[]) => items.filter((line) => / waits\[/.test(line)).length;
  // 48,000 bytes are three pieces of a line.
  await server.received.until((items) => of(items) === 2400);
  expect((await engine.ok(["logs", "runs"])).length).toBe(800 * 48_001 - 1);
  await engine.ok(["rm", "waits", "runs"]);
});

test("what is printed while daemon, supervisor and server are away is delivered in order", async () => {
  const port = freePorts();
  const first = await startStream({ parse: forwarded, port });
  const options = optionsOf("fluentd", {
    "fluentd-address": `127.0.0.1:${port}`,
    "fluentd-retry-wait": "100ms",
  });
  const script = "i=0; while [ ! -e /stop ]; do echo line $i; i=$((i+1)); sleep 0.02; done";
  const id = await engine.ok([
    "run",
    "-d",
    ...options,
    "--name",
    "long",
    "busybox",
    "sh",
    "-c",
    script,
  ]);
  await first.received.until((items) => items.length > 5);
  await engine.killDaemon();
  process.kill(engine.supervisorPid(), "SIGKILL");
  const heard = [...first.received.items];
  await first[Symbol.asyncDispose]();
  await engine.startDaemon();
  await using second = await startStream({ parse: forwarded, port });
  await second.received.until((items) => items.length > 20);
  await engine.ok(["exec", id, "touch", "/stop"]);
  await engine.ok(["wait", id]);
  const numbersOf = (items: readonly unknown[][]) =>
    items.map((item) => Number((item[2] as { log: string }).log.split(" ")[1]));
  const last = Number((await engine.ok(["logs", "--tail", "1", id])).split(" ")[1]);
  const later = numbersOf(await second.received.until((items) => numbersOf(items).includes(last)));
  // A crash may send a few of them twice, and loses none.
  const all = [...new Set([...numbersOf(heard), ...later])].toSorted((a, b) => a - b);
  const before = numbersOf(heard).at(-1) ?? 0;
  const missing = Array.from({ length: last + 1 }, (_, n) => n).filter((n) => !all.includes(n));
  // What the dead server's socket took before it died is the only loss there can be.
  expect(missing.every((n) => n > before && n < (later[0] ?? 0))).toBe(true);
  await engine.ok(["rm", id]);
  await spoolIsEmpty();
});

test("the engine's own defaults reach its containers, and none can be forced on it", async () => {
  const bad = join(engine.root, "bad.json");
  writeFileSync(bad, JSON.stringify({ "log-driver": "splunk" }));
  const { NARU } = await import("./engine.ts");
  const answer = await run([NARU, "daemon", "--validate", "--config-file", bad]);
  expect(answer.code).not.toBe(0);
  expect(answer.stderr).toContain("logger: no log driver named 'splunk' is registered");
});
