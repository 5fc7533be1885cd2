/** Seccomp profiles that leave calls to another program; links that are taken away. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/**
 * A listener: takes one descriptor a connection, tells the state that came with it, and answers each call with the
 * error 117 (EUCLEAN), which nothing else gives.
 */
const AGENT = `
import array, fcntl, json, os, socket, struct, sys, threading
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
def serve(fd):
    while True:
        notice = bytearray(80)
        try:
            fcntl.ioctl(fd, 0xC0502100, notice)
        except OSError:
            return
        fcntl.ioctl(fd, 0xC0182101, bytearray(notice[:8] + struct.pack("<qiI", 0, -117, 0)))
while True:
    connection, _ = server.accept()
    text, fds, _, _ = socket.recv_fds(connection, 65536, 4)
    print(text.decode(), flush=True)
    threading.Thread(target=serve, args=(fds[0],), daemon=True).start()
`;

test("a profile's listener gets the descriptor of its calls, of the container and of each exec", async () => {
  const path = join(engine.root, "agent.sock");
  const agent = Bun.spawn(["python3", "-c", AGENT, path], { stdin: "ignore", stdout: "pipe" });
  const lines = linesOf(agent.stdout);
  try {
    expect(await lines.next()).toMatchObject({ value: "ready" });
    const profile = join(engine.root, "notify.json");
    const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_NOTIFY" };
    const told = { listenerPath: path, listenerMetadata: "of the test" };
    const text = { defaultAction: "SCMP_ACT_ALLOW", ...told, syscalls: [rule] };
    writeFileSync(profile, JSON.stringify(text));
    const options = ["--security-opt", `seccomp=${profile}`];
    const script = "mkdir /made; ls -d /made; sleep 1000";
    const run = ["run", "-d", "--name", "asked", ...options, "busybox", "sh", "-c", script];
    const id = await engine.ok(run);
    const state = JSON.parse((await lines.next()).value as string);
    const pid = Number(await engine.ok(["inspect", "-f", "{{.State.Pid}}", "asked"]));
    expect(state).toMatchObject({ fds: ["seccompFd"], pid, metadata: "of the test" });
    expect(state.state).toMatchObject({ id, pid, status: "creating" });
    const exec = await engine.docker(["exec", "asked", "mkdir", "/other"]);
    expect(exec.stderr).toContain("Structure needs cleaning");
    const second = JSON.parse((await lines.next()).value as string);
    expect(second.state).toMatchObject({ id, pid, status: "running" });
    expect(second.pid).not.toBe(pid);
    // With a terminal too, and with no new privileges, where the filter comes last.
    const strict = [...options, "--security-opt", "no-new-privileges", "-t"];
    const refused = await engine.docker(["run", "--rm", ...strict, "busybox", "mkdir", "/made"]);
    expect(refused.stdout).toContain("Structure needs cleaning");
    const log = await engine.ok(["logs", "asked"]);
    expect(log).not.toContain("/made\n/made");
    await engine.ok(["rm", "-f", "asked"]);
  } finally {
    agent.kill("SIGKILL");
    await agent.exited;
  }
  const alone = await engine.docker([
    "run",
    "--rm",
    "--security-opt",
    `seccomp=${join(engine.root, "notify.json")}`,
    "busybox",
    "true",
  ]);
  expect(alone.code).toBe(125);
  expect(alone.stderr).toContain(`failed to connect with seccomp listener "${path}"`);
});

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    const whole = text.split("\n");
    text = whole.pop() ?? "";
    yield* whole;
  }
}

test("profiles that no listener could serve are refused in runc's words", async () => {
  const profile = join(engine.root, "wrong.json");
  const refused = async (changes: object) => {
    const base = { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/nowhere.sock", syscalls: [] };
    writeFileSync(profile, JSON.stringify({ ...base, ...changes }));
    const options = ["--rm", "--security-opt", `seccomp=${profile}`];
    const { code, stderr } = await engine.docker(["run", ...options, "busybox", "true"]);
    expect(code).toBe(125);
    return stderr;
  };
  const notify = (...names: string[]) => [{ names, action: "SCMP_ACT_NOTIFY" }];
  expect(await refused({ syscalls: notify("write") })).toContain(
    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
  );
  expect(await refused({ defaultAction: "SCMP_ACT_NOTIFY" })).toContain(
    "SCMP_ACT_NOTIFY cannot be used as default action",
  );
  expect(await refused({ listenerPath: "", syscalls: notify("mkdir") })).toContain(
    "seccomp listenerPath is not set",
  );
  expect(await refused({ listenerPath: 7, syscalls: notify("mkdir") })).toContain(
    "Decoding seccomp profile failed",
  );
});

test("rm --link takes the link, and leaves both containers", async () => {
  await engine.ok(["run", "-d", "--name", "db", "busybox", "sleep", "1000"]);
  const links = ["--link", "db:database", "--link", "db:second"];
  await engine.ok(["run", "-d", "--name", "web", ...links, "busybox", "sleep", "1000"]);
  const hosts = () => engine.ok(["exec", "web", "cat", "/etc/hosts"]);
  const linked = () => engine.ok(["inspect", "-f", "{{.HostConfig.Links}}", "web"]);
  expect(await hosts()).toContain("\tdatabase ");
  expect(await engine.ok(["rm", "--link", "web/database"])).toBe("web/database");
  expect(await linked()).toBe("[/db:/web/second]");
  expect(await hosts()).not.toContain("\tdatabase ");
  expect(await hosts()).toContain("\tsecond ");
  const refused = async (name: string) => (await engine.docker(["rm", "--link", name])).stderr;
  expect(await refused("web")).toContain(
    "Conflict, cannot remove the default link name of the container",
  );
  expect(await refused("web/database")).toContain("No such container: web/database");
  expect(await refused("nothing/x")).toContain("No such container: nothing/x");
  const { code } = await engine.naru(["rm", "--link", "/web/second"]);
  expect(code).toBe(0);
  expect(await linked()).toBe("[]");
  await engine.restartDaemon();
  expect(await linked()).toBe("[]");
  await engine.ok(["restart", "-t", "0", "web"]);
  expect(await hosts()).not.toContain("\tsecond ");
  await engine.ok(["rm", "-f", "web", "db"]);
});
