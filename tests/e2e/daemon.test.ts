/** The daemon's own options: where it listens and to whom, what a reload changes, what a clean end leaves. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, NARU, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { runOnTerminal } from "./pty.ts";
import { textAt, until } from "./until.ts";

let engine: Engine;
let port = 0;
let openPort = 0;
const pem = (name: string): string => join(engine.root, `${name}.pem`);

beforeAll(async () => {
  port = freePorts();
  openPort = freePorts();
  engine = await startEngine({
    daemonFlags: ["--group", "daemon", "--shutdown-timeout", "20"],
  });
  await makeCertificates();
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

async function openssl(...words: string[]): Promise<void> {
  const done = await run(["openssl", ...words]);
  if (done.code !== 0) throw new Error(done.stderr);
}

async function makeCertificates(): Promise<void> {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  for (const authority of ["ca", "other-ca"]) {
    const files = ["-keyout", pem(`${authority}-key`), "-out", pem(authority)];
    await openssl("req", "-x509", ...curve, ...files, "-subj", `/CN=${authority}`, "-days", "30");
  }
  writeFileSync(join(engine.root, "ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  for (const [name, authority] of [
    ["server", "ca"],
    ["client", "ca"],
    ["stranger", "other-ca"],
  ] as const) {
    const request = join(engine.root, `${name}.csr`);
    const key = ["-keyout", pem(`${name}-key`), "-out", request, "-subj", `/CN=${name}`];
    await openssl("req", ...curve, ...key);
    const signer = ["-CA", pem(authority), "-CAkey", pem(`${authority}-key`), "-CAcreateserial"];
    const out = ["-out", pem(name), "-days", "30", "-extfile", join(engine.root, "ext")];
    await openssl("x509", "-req", "-in", request, ...signer, ...out);
  }
}

const configure = (options: Record<string, unknown>): void =>
  writeFileSync(join(engine.root, "daemon.json"), JSON.stringify(options));

/** A clean end; resolves when the process is gone. */
async function endDaemon(): Promise<void> {
  const { daemonPid } = engine;
  process.kill(daemonPid, "SIGTERM");
  await engine.daemonEnded();
}

const tlsOptions = () => ({
  tlsverify: true,
  tlscacert: pem("ca"),
  tlscert: pem("server"),
  tlskey: pem("server-key"),
});

const tls = (client: string, authority = "ca"): string[] => [
  "--tlsverify",
  "--tlscacert",
  pem(authority),
  "--tlscert",
  pem(client),
  "--tlskey",
  pem(`${client}-key`),
];

test("the socket belongs to the group that was asked for", () => {
  const { mode, gid } = statSync(engine.daemonSocket);
  expect((mode & 0o777).toString(8)).toBe("660");
  expect(gid).toBe(1);
});

test("TCP with client certificates serves whoever has one, and nobody else", async () => {
  await endDaemon();
  configure(tlsOptions());
  await engine.startDaemon(NARU, ["-H", `tcp://127.0.0.1:${port}`]);
  const at = ["-H", `tcp://127.0.0.1:${port}`];
  const hijacked = await run(
    ["docker", ...at, ...tls("client"), "run", "--rm", "-i", "busybox", "cat"],
    { stdin: "through TLS and back" },
  );
  expect(hijacked).toMatchObject({ code: 0, stdout: "through TLS and back" });
  const ours = await run([NARU, ...at, ...tls("client"), "run", "--rm", "-i", "busybox", "cat"], {
    stdin: "and by naru",
  });
  expect(ours).toMatchObject({ code: 0, stdout: "and by naru" });
  for (const program of ["docker", NARU]) {
    for (const words of [[], tls("stranger"), tls("client", "other-ca")]) {
      const refused = await run([program, ...at, ...words, "ps"]);
      expect({ words, code: refused.code }).toEqual({ words, code: 1 });
      expect(refused.stdout).toBe("");
    }
  }
});

test("plain TCP is open on loopback only, and a web page cannot use it", async () => {
  await endDaemon();
  configure({});
  const refused = await engine.tryDaemon(["-H", `tcp://0.0.0.0:${openPort}`]);
  expect(refused).toContain("binding to an IP address without --tlsverify gives root access");
  await engine.startDaemon(NARU, ["-H", `tcp://127.0.0.1:${openPort}`]);
  expect(engine.daemonLog()).toContain("Binding to IP address without --tlsverify is insecure");
  expect((await run(["docker", "-H", `tcp://127.0.0.1:${openPort}`, "ps", "-q"])).code).toBe(0);
  const ask = async (headers: Record<string, string>, method = "GET") => {
    const answer = await fetch(`http://127.0.0.1:${openPort}/v1.51/info`, {
      headers,
      method,
      ...(method === "POST" ? { body: "{}" } : {}),
    });
    return answer.status;
  };
  expect(await ask({})).toBe(200);
  expect(await engine.ok(["info", "-f", "{{.Warnings}}"])).toContain(
    `[DEPRECATION NOTICE]: API is accessible on http://127.0.0.1:${openPort} without encryption.`,
  );
  expect(await ask({ Host: "attacker.example" })).toBe(403);
  expect(await ask({ Origin: "http://attacker.example" })).toBe(403);
  const form = await fetch(`http://127.0.0.1:${openPort}/v1.51/containers/create`, {
    method: "POST",
    headers: { "content-type": "text/plain" },
    body: '{"Image":"busybox"}',
  });
  expect(form.status).toBe(400);
  expect(await form.json()).toEqual({
    message: "unsupported Content-Type header (text/plain): must be 'application/json'",
  });
});

test("a reload takes over what dockerd takes over, all or nothing, and says so in an event", async () => {
  const since = String(Math.floor(Date.now() / 1000));
  const reloads = async (): Promise<string[]> => {
    const words = ["events", "--since", since, "--until", "0s", "--filter", "type=daemon"];
    return (await engine.ok(words)).split("\n").filter((line) => line.includes(" reload "));
  };
  const reload = async (count: number, options: Record<string, unknown>) => {
    configure(options);
    process.kill(engine.daemonPid, "SIGHUP");
    await until(async () => (await reloads()).length >= count);
  };
  await reload(1, {
    labels: ["dock=east"],
    "insecure-registries": ["r.local:5000"],
    "default-shm-size": "8m",
    "max-concurrent-downloads": 7,
    debug: true,
    "default-ipc-mode": "shareable",
    // Docker takes this over at the next start only.
    "no-new-privileges": true,
  });
  const [event = ""] = await reloads();
  expect(event).toContain('labels=["dock=east"]');
  expect(event).toContain("max-concurrent-downloads=7");
  const info = JSON.parse(await engine.ok(["info", "-f", "{{json .}}"]));
  expect(info).toMatchObject({ Labels: ["dock=east"], Debug: true });
  expect(info.RegistryConfig.IndexConfigs["r.local:5000"]).toMatchObject({ Secure: false });
  const seen = "df -m /dev/shm | tail -1 | awk '{print $2}'; grep NoNewPrivs /proc/self/status";
  expect(await engine.ok(["run", "--rm", "busybox", "sh", "-c", seen])).toBe("8\nNoNewPrivs:\t0");
  const id = await engine.ok(["create", "busybox", "true"]);
  expect(await engine.ok(["inspect", "-f", "{{.HostConfig.IpcMode}}", id])).toBe("shareable");
  await engine.ok(["rm", id]);
  configure({ labels: ["dock=west"], mtu: "wrong" });
  process.kill(engine.daemonPid, "SIGHUP");
  await until(() => engine.daemonLog().includes("was not read again"));
  expect(await engine.ok(["info", "-f", "{{.Labels}}"])).toBe("[dock=east]");
});

test("defaults of the operator reach the container", async () => {
  await endDaemon();
  const profile = join(engine.root, "seccomp.json");
  writeFileSync(
    profile,
    JSON.stringify({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }],
    }),
  );
  configure({
    "no-new-privileges": true,
    "seccomp-profile": profile,
    "default-ulimits": { nofile: { Name: "nofile", Soft: 77, Hard: 99 } },
    "dns-search": ["dock.test"],
    "default-cgroupns-mode": "host",
    init: false,
  });
  await engine.startDaemon();
  const script = [
    "grep NoNewPrivs /proc/self/status",
    "ulimit -n",
    "grep ^search /etc/resolv.conf",
    "mkdir /x 2>&1",
    "true",
  ].join("; ");
  expect(await engine.ok(["run", "--rm", "busybox", "sh", "-c", script])).toBe(
    "NoNewPrivs:\t1\n77\nsearch dock.test\nmkdir: can't create directory '/x': Operation not permitted",
  );
  const words = ["run", "--rm", "--security-opt", "no-new-privileges=false"];
  expect(await engine.ok([...words, "busybox", "grep", "NoNewPrivs", "/proc/self/status"])).toBe(
    "NoNewPrivs:\t0",
  );
  const own = (await run(["readlink", "/proc/self/ns/cgroup"])).stdout.trim();
  const theirs = ["busybox", "readlink", "/proc/self/ns/cgroup"];
  expect(await engine.ok(["run", "--rm", ...theirs])).toBe(own);
  expect(await engine.ok(["run", "--rm", "--cgroupns", "private", ...theirs])).not.toBe(own);
  expect(await engine.ok(["info", "-f", "{{.SecurityOptions}}"])).toContain(`profile=${profile}`);
  const warned = await engine.ok(["info", "-f", "{{.Warnings}}"]);
  expect(warned).toContain("WARNING: daemon is not using the default seccomp profile");
  const builtin = ["run", "--rm", "--security-opt", "seccomp=builtin", "busybox"];
  expect(await engine.ok([...builtin, "mkdir", "/x"])).toBe("");
});

test("ports are published where --ip says, and host-gateway is who it is said to be", async () => {
  await endDaemon();
  configure({ ip: "127.0.0.2", "host-gateway-ips": ["10.9.8.7", "fd00::7"] });
  await engine.startDaemon();
  const server = "printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhere' | nc -l -p 80";
  const flags = ["-d", "-p", "80", "--name", "bound", "--add-host", "gate:host-gateway"];
  await engine.ok(["run", ...flags, "busybox", "sh", "-c", server]);
  const [address = ""] = (await engine.ok(["port", "bound", "80"])).split("\n");
  expect(address).toStartWith("127.0.0.2:");
  expect(await textAt(`http://${address}`)).toBe("here");
  const hosts = ["run", "--rm", "--add-host", "gate:host-gateway", "busybox", "grep", "gate"];
  expect(await engine.ok([...hosts, "/etc/hosts"])).toBe("10.9.8.7\tgate\nfd00::7\tgate");
  await engine.ok(["rm", "-f", "bound"]);
});

test("without live restore a clean end stops containers, and policies start them again", async () => {
  await endDaemon();
  configure({ "live-restore": false });
  await engine.startDaemon();
  const trap = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
  const start = async (name: string, ...flags: string[]) => {
    await engine.ok(["run", "-d", "--name", name, ...flags, "busybox", "sh", "-c", trap]);
    await until(async () => (await engine.ok(["logs", name])).includes("ready"));
  };
  await start("plain");
  await start("always", "--restart", "always");
  await start("gone", "--rm");
  await endDaemon();
  configure({ "live-restore": true });
  await engine.startDaemon();
  const state = (name: string) =>
    engine.ok(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]);
  expect(await state("plain")).toBe("exited 7");
  await until(async () => (await state("always")) === "running 0");
  expect((await engine.docker(["inspect", "gone"])).code).toBe(1);
  // With live restore they run on.
  const pid = await engine.ok(["inspect", "-f", "{{.State.Pid}}", "always"]);
  await endDaemon();
  expect(existsSync(`/proc/${pid}`)).toBe(true);
  await engine.startDaemon();
  expect(await engine.ok(["inspect", "-f", "{{.State.Pid}}", "always"])).toBe(pid);
  await engine.ok(["rm", "-f", "always", "plain"]);
});

test("systemd's socket is taken over, and systemd hears that it is served", async () => {
  await endDaemon();
  configure({});
  const heard = join(engine.root, "notify.sock");
  const log = join(engine.root, "notify.log");
  const listener = Bun.spawn([
    "socat",
    "-u",
    `UNIX-RECVFROM:${heard},fork`,
    `OPEN:${log},creat,append`,
  ]);
  await until(() => existsSync(heard));
  const activated = join(engine.root, "activated.sock");
  // What systemd does: opens the socket, sets the variables, and becomes the program.
  const script = [
    "import os,socket,sys",
    "s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)",
    "os.dup2(s.fileno(),3); os.set_inheritable(3,True)",
    "os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1',NOTIFY_SOCKET=sys.argv[2])",
    "os.execv(sys.argv[3],sys.argv[3:])",
  ].join("\n");
  const prefix = ["python3", "-c", script, activated, heard];
  await engine.startDaemon(NARU, ["-H", "fd://"], prefix);
  const answer = await fetch("http://engine/_ping", { unix: activated });
  expect(await answer.text()).toBe("OK");
  await until(async () => existsSync(log) && (await Bun.file(log).text()).includes("READY=1"));
  process.kill(engine.daemonPid, "SIGHUP");
  await until(async () => (await Bun.file(log).text()).includes("RELOADING=1\nMONOTONIC_USEC="));
  await endDaemon();
  await until(async () => (await Bun.file(log).text()).includes("STOPPING=1"));
  listener.kill();
  await listener.exited;
  await engine.startDaemon();
});

/** What systemd does: opens sockets, sets the variables, and becomes the program. */
const ACTIVATE = `
import os,socket,sys
path,*ports=sys.argv[1].split(",")
unix=socket.socket(socket.AF_UNIX); unix.bind(path); unix.listen(8)
opened=[unix]
for port in ports:
    s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)
    host,number=port.split(":"); s.bind((host,int(number))); s.listen(8); opened.append(s)
# First above where they go: no number is taken twice.
high=[os.dup(s.fileno()) for s in opened]
for index,fd in enumerate(high): os.dup2(os.dup(fd),50+index)
for index in range(len(opened)):
    os.dup2(50+index,3+index); os.set_inheritable(3+index,True)
os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS=str(len(opened)))
os.execv(sys.argv[2],sys.argv[2:])
`;

test("of systemd's sockets TCP ones ask for certificates as ports of our own do, and Unix ones for none", async () => {
  await endDaemon();
  configure(tlsOptions());
  const [first, second] = [freePorts(), freePorts()];
  const path = join(engine.root, "several.sock");
  const sockets = `${path},127.0.0.1:${first},127.0.0.1:${second}`;
  await engine.startDaemon(NARU, ["-H", "fd://"], ["python3", "-c", ACTIVATE, sockets]);
  expect(await (await fetch("http://engine/_ping", { unix: path })).text()).toBe("OK");
  for (const number of [first, second]) {
    const docker = (...words: string[]) => run(["docker", "-H", `127.0.0.1:${number}`, ...words]);
    const echoed = [...tls("client"), "run", "-i", "--rm", "busybox", "sh", "-c", "cat; exit 3"];
    const done = await run(["docker", "-H", `127.0.0.1:${number}`, ...echoed], {
      stdin: "through TLS",
    });
    expect(done).toMatchObject({ code: 3, stdout: "through TLS" });
    expect((await docker(...tls("stranger"), "version")).code).not.toBe(0);
    expect((await docker("version")).code).not.toBe(0);
    const plain = await fetch(`http://127.0.0.1:${number}/_ping`).catch(() => null);
    expect(plain).toBeNull();
  }
  // One that never shakes hands keeps nobody from ending.
  const silent = await Bun.connect({
    hostname: "127.0.0.1",
    port: first,
    socket: { data: () => undefined },
  });
  await endDaemon();
  silent.end();
  configure({});
});

test("fd://4 serves the second of systemd's sockets alone; one open to the world needs certificates", async () => {
  const number = freePorts();
  const path = join(engine.root, "unserved.sock");
  const prefix = ["python3", "-c", ACTIVATE, `${path},127.0.0.1:${number}`];
  await engine.startDaemon(NARU, ["-H", "fd://4"], prefix);
  expect(await (await fetch(`http://127.0.0.1:${number}/_ping`)).text()).toBe("OK");
  const foreign = await fetch(`http://127.0.0.1:${number}/_ping`, {
    headers: { Host: "evil.example.com" },
  });
  expect(foreign.status).toBe(403);
  await endDaemon();
  const fails = (sockets: string, host: string) =>
    engine.tryDaemon(["-H", host], ["python3", "-c", ACTIVATE, sockets]);
  const world = `${join(engine.root, "u1.sock")},0.0.0.0:${freePorts()}`;
  expect(await fails(world, "fd://")).toContain("without --tlsverify gives root access");
  expect(await fails(join(engine.root, "u2.sock"), "fd://9")).toContain("too few socket activated");
  expect(await engine.tryDaemon(["-H", "fd://"])).toContain(
    "no sockets found via socket activation",
  );
  await engine.startDaemon();
});

test("on a terminal the log has colours, and with raw-logs none", async () => {
  const empty = join(engine.root, "empty.json");
  writeFileSync(empty, "{}");
  const root = join(engine.root, "terminal");
  const where = ["--data-root", `${root}/data`, "--exec-root", `${root}/run`];
  // Certificates that are not there end it before anything is touched.
  const wrong = ["--tlsverify", "--tlscert", "/nowhere/cert.pem", "--config-file", empty];
  const command = [NARU, "daemon", ...where, "-H", `unix://${root}/naru.sock`, ...wrong];
  const logOf = async (...flags: string[]) => {
    const daemon = runOnTerminal([...command, ...flags], { columns: 80, rows: 24 });
    expect(await daemon.exited).toBe(1);
    await until(() => daemon.output().includes("\n"));
    return daemon.output();
  };
  expect(await logOf()).toStartWith("\u001b[31mERRO\u001b[0m[");
  const raw = await logOf("--raw-logs");
  expect(raw).toMatch(/^time=\d{4}-\S+ level=error msg="failed to start the daemon: /);
  expect(raw).not.toContain("\u001b");
});

test("--validate tells what is wrong, and starts nothing", async () => {
  const file = join(engine.root, "check.json");
  const check = async (text: string) => {
    writeFileSync(file, text);
    return await run([NARU, "daemon", "--validate", "--config-file", file]);
  };
  expect(await check('{"live-restore": true}')).toMatchObject({
    code: 0,
    stdout: "configuration OK\n",
  });
  const unknown = await check('{"live-restor": true}');
  expect(unknown.code).not.toBe(0);
  expect(unknown.stderr).toContain(
    "the following directives don't match any configuration option: live-restor",
  );
});

test("every JSON answer was as the definition says", () => {
  expect(engine.violations()).toEqual([]);
});
