/** A FUSE server of the tests' own, which answers until it is told not to. */
import { afterAll, beforeAll, expect } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, run, startEngine } from "./engine.ts";

/** Without it the kernel has no such file systems, and nothing can be stalled. */
export const HAS_FUSE =
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

interface StuckServer extends AsyncDisposable {
  /** What it tells next: "asked 3". */
  nextLine(): Promise<string>;
  /** No answers any more; each question is told. */
  stall(): Promise<void>;
  /** Whoever waits for it gets an error. */
  kill(): void;
}

/** Mounts it on a new folder. */
export async function startStuckServer(folder: string): Promise<StuckServer> {
  mkdirSync(folder);
  const server = Bun.spawn(["python3", "-c", SERVER, folder], { stdin: "ignore", stdout: "pipe" });
  const lines = linesOf(server.stdout);
  const nextLine = async (): Promise<string> => ((await lines.next()).value as string) ?? "";
  const expectLine = async (wanted: string) => {
    const line = await nextLine();
    if (line !== wanted) throw new Error(`the server told ${line}`);
  };
  await expectLine("mounted");
  return {
    nextLine,
    stall: async () => {
      server.kill("SIGUSR1");
      await expectLine("stalled");
    },
    kill: () => server.kill("SIGKILL"),
    [Symbol.asyncDispose]: async () => {
      server.kill("SIGKILL");
      await server.exited;
      await run(["umount", "-l", folder]);
    },
  };
}

/** What the tests of one file share: an engine, and the server on a folder of the engine's. */
export interface StuckLab {
  readonly engine: Engine;
  readonly server: StuckServer;
  readonly folder: string;
}

/** From before the first test of a file until after the last; nothing where the kernel has no such file systems. */
export function stuckLab(): StuckLab {
  const made: { engine?: Engine; server?: StuckServer } = {};
  const there = <Thing>(thing: Thing | undefined): Thing => {
    if (thing === undefined) throw new Error("only tests have it");
    return thing;
  };
  const lab: StuckLab = {
    get engine() {
      return there(made.engine);
    },
    get server() {
      return there(made.server);
    },
    get folder() {
      return join(lab.engine.root, "stuck");
    },
  };
  beforeAll(async () => {
    if (!HAS_FUSE) return;
    made.engine = await startEngine();
    made.server = await startStuckServer(lab.folder);
  });
  afterAll(async () => {
    if (!HAS_FUSE) return;
    await made.server?.[Symbol.asyncDispose]();
    const violations = made.engine?.violations();
    await made.engine?.[Symbol.asyncDispose]();
    expect(violations).toEqual([]);
  });
  return lab;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream) {
    text += new TextDecoder().decode(chunk);
    const whole = text.split("\n");
    text = whole.pop() ?? "";
    yield* whole;
  }
}
