/**
 * A file system in a container that stops answering: copies that touch it wait and are given up, everyone else's
 * daemon goes on. The file system is a FUSE server of the test's own, which answers until it is told not to.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

/** Without it the kernel has no such file systems, and nothing can be stalled. */
const HAS_FUSE =
  existsSync("/dev/fuse") && /\bfuse\b/.test(readFileSync("/proc/filesystems", "utf8"));

/** A root with one file, "file"; argv: the mount point. SIGUSR1: no answers any more; each is told on stdout. */
const SERVER = `
import ctypes, os, signal, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"stuck", sys.argv[1].encode(), b"fuse.test", 0, options) != 0:
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
stalled = False
def stall(*_):
    global stalled
    stalled = True
    print("stalled", flush=True)
signal.signal(signal.SIGUSR1, stall)
print("mounted", flush=True)
DATA = b"of the server\\n"
def attributes(node):
    mode, size, links = (0o40755, 0, 2) if node == 1 else (0o100644, len(DATA), 1)
    return struct.pack("<6Q3I7I", node, size, 1, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)
def entry(name, node, offset, kind):
    text = struct.pack("<QQII", node, offset, len(name), kind) + name
    return text + bytes(-len(text) % 8)
def answer(code, node, body):
    if code == 26: return struct.pack("<4I2H3I8I", 7, 31, 0, 0, 0, 0, 65536, 1, 0, *[0] * 8)[:64]
    if code == 3: return struct.pack("<QII", 0, 0, 0) + attributes(node)
    if code == 1:
        if body.rstrip(b"\\0") != b"file": return 2
        return struct.pack("<4Q2I", 2, 0, 0, 0, 0, 0) + attributes(2)
    if code in (14, 27): return struct.pack("<QII", 0, 0, 0)
    offset = struct.unpack("<Q", body[8:16])[0] if code in (15, 28) else 0
    if code == 15: return DATA[offset:]
    if code == 28: return b"" if offset else entry(b".", 1, 1, 4) + entry(b"file", 2, 2, 8)
    if code == 17: return struct.pack("<5Q4I6I", 0, 0, 0, 1, 1, 4096, 255, 4096, 0, *[0] * 6)
    if code in (18, 25, 29, 20, 30): return b""
    return 38
while True:
    try:
        request = os.read(fd, 1 << 20)
    except InterruptedError:
        continue
    length, code, unique, node = struct.unpack("<IIQQ", request[:24])
    if code in (2, 42): continue
    if stalled:
        print("asked", code, flush=True)
        continue
    told = answer(code, node, request[40:])
    error, body = (-told, b"") if isinstance(told, int) else (0, told)
    os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
`;

let engine: Engine;
let folder = "";
let server: Bun.Subprocess<"ignore", "pipe", "inherit">;
let lines: AsyncIterator<string>;

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    const whole = text.split("\n");
    text = whole.pop() ?? "";
    yield* whole;
  }
}

const nextLine = async (): Promise<string> => ((await lines.next()).value as string) ?? "";

beforeAll(async () => {
  if (!HAS_FUSE) return;
  engine = await startEngine();
  folder = join(engine.root, "stuck");
  mkdirSync(folder);
  server = Bun.spawn(["python3", "-c", SERVER, folder], { stdin: "ignore", stdout: "pipe" });
  lines = linesOf(server.stdout);
  expect(await nextLine()).toBe("mounted");
}, 120_000);

afterAll(async () => {
  if (!HAS_FUSE) return;
  server.kill("SIGKILL");
  await server.exited;
  await run(["umount", "-l", folder]);
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const tarOf = async (container: string, path: string): Promise<string> => {
  const answer = await engine.fetch(`/containers/${container}/archive?path=${path}`);
  const list = Bun.spawn(["tar", "-xOf", "-"], { stdin: answer, stdout: "pipe" });
  return await new Response(list.stdout).text();
};

test.skipIf(!HAS_FUSE)(
  "a container with such a file system is copied from and into as any other",
  async () => {
    const mount = ["-v", `${folder}:/stuck`];
    await engine.ok(["run", "-d", "--name", "live", ...mount, "busybox", "sleep", "1000"]);
    await engine.ok(["create", "--name", "still", ...mount, "busybox", "true"]);
    for (const name of ["live", "still"]) {
      expect(await tarOf(name, "/stuck/file")).toBe("of the server\n");
      expect(await tarOf(name, "/stuck")).toBe("of the server\n");
      const source = join(engine.root, "local");
      writeFileSync(source, "local\n");
      await engine.ok(["cp", source, `${name}:/etc/local`]);
      expect(await tarOf(name, "/etc/local")).toBe("local\n");
      const missing = await engine.docker(["cp", `${name}:/stuck/nothing`, "-"]);
      expect(missing.stderr).toContain(
        `Could not find the file /stuck/nothing in container ${name}`,
      );
      const refused = await engine.docker(["cp", source, `${name}:/stuck/file/below`]);
      expect(refused.code).toBe(1);
      expect(await engine.ok(["export", name])).toContain("etc/local");
    }
    await engine.ok(["start", "-a", "still"]);
  },
);

test.skipIf(!HAS_FUSE)(
  "while it does not answer everybody else is served, and the copy ends when it is gone",
  async () => {
    server.kill("SIGUSR1");
    expect(await nextLine()).toBe("stalled");
    const stuck = ["live", "still"].map((name) =>
      engine.docker(["cp", `${name}:/stuck/file`, "-"]),
    );
    const exported = engine.docker(["export", "-o", join(engine.root, "out"), "live"]);
    expect(await nextLine()).toStartWith("asked");
    // The daemon lives, and so do other files of the same container.
    expect(await (await engine.fetch("/_ping")).text()).toBe("OK");
    expect(await tarOf("live", "/etc/local")).toBe("local\n");
    expect(await engine.ok(["ps", "-q"])).not.toBe("");
    expect(await engine.ok(["diff", "live"])).toContain("A /etc/local");
    server.kill("SIGKILL");
    for (const { code } of await Promise.all(stuck)) expect(code).toBe(1);
    await exported;
    await engine.ok(["rm", "-f", "live", "still"]);
  },
);
