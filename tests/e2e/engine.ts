/**
 * A private engine for tests: own data root, exec root, socket, bridge, subnet and cgroup parent, all named
 * `naru-test-<tag>` or `narut<tag>`, so that what a crashed run leaves is found and removed by the next.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { startTap } from "../contract/tap.ts";
import { removeLeftovers, removeTraces } from "./traces.ts";

const REPOSITORY = join(import.meta.dir, "../..");
/** The binary under test: what script/build made. */
export const NARU = process.env["NARU_BINARY"] ?? join(REPOSITORY, "dist/naru");
/** Exec roots lie on a tmpfs, as /run is on every host with systemd; this one may have /run on its disk. */
export const VOLATILE =
  Bun.spawnSync(["stat", "-f", "-c", "%T", "/run"]).stdout.toString().trim() === "tmpfs"
    ? "/run"
    : "/dev/shm";
/** Far beyond what a busy, slow machine needs. */
const START_TIMEOUT_MS = 200_000;
/** Below a test's own limit, so that the command that hangs is named. */
const COMMAND_TIMEOUT_MS = 280_000;

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string | Uint8Array | Blob;
  readonly env?: Record<string, string>;
  readonly timeoutMs?: number;
}

/** Runs a program to its end; output is text. A program that outlives its time is killed and reads as code -1. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const stdin = options.stdin;
  const child = Bun.spawn([...command], {
    stdin: stdin === undefined ? "ignore" : stdin instanceof Blob ? stdin : new Blob([stdin]),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.env },
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill("SIGKILL");
  }, options.timeoutMs ?? COMMAND_TIMEOUT_MS);
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  clearTimeout(timer);
  return timedOut
    ? { code: -1, stdout, stderr: `${stderr}\ntimed out: ${command.join(" ")}` }
    : { code, stdout, stderr };
}

export interface Engine extends AsyncDisposable {
  readonly tag: string;
  readonly root: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  /** Where clients connect: the recording proxy in front of the daemon. */
  readonly socket: string;
  /** The daemon's own socket, without the proxy. */
  readonly daemonSocket: string;
  readonly bridge: string;
  readonly cgroupParent: string;
  readonly daemonPid: number;
  /** The real docker CLI on this engine. */
  docker(args: readonly string[], options?: RunOptions): Promise<Finished>;
  /** The same, and the test fails when it does not exit with 0. Answers stdout without its last newline. */
  ok(args: readonly string[], options?: RunOptions): Promise<string>;
  /** Our own CLI on this engine. */
  naru(args: readonly string[], options?: RunOptions): Promise<Finished>;
  /** A raw request, for what the CLI would never send. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** SIGKILL, as a crash would. The socket goes on to exist. */
  killDaemon(): Promise<void>;
  /**
   * @param binary another build of the engine than the one under test
   * @param flags more of them, for this start
   * @param prefix words in front of the binary: a program that becomes it
   */
  startDaemon(
    binary?: string,
    flags?: readonly string[],
    prefix?: readonly string[],
  ): Promise<void>;
  /** A start that has to fail: what the daemon said. */
  tryDaemon(flags: readonly string[], prefix?: readonly string[]): Promise<string>;
  /** Resolves when the daemon has ended by itself. */
  daemonEnded(): Promise<void>;
  restartDaemon(): Promise<void>;
  supervisorPid(): number;
  /** JSON answers that did not agree with the API definition. */
  violations(): string[];
  daemonLog(): string;
}

export interface EngineOptions {
  /** Where its data lies: on another file system than the engine's own folder. */
  readonly dataRoot?: string;
  readonly daemonFlags?: readonly string[];
  /** Words in front of the binary, at every start: a program that becomes it. */
  readonly prefix?: readonly string[];
  /** Images to import before the tests: "busybox" unless told. */
  readonly images?: readonly ("busybox" | "debian")[];
}

const baseImages = new Map<string, Promise<string>>();

/** The cached tar of a base image, made by script/base-images. */
export function baseImage(name: "busybox" | "debian"): Promise<string> {
  let made = baseImages.get(name);
  if (made === undefined) {
    made = run([join(REPOSITORY, "script/base-images"), name], { timeoutMs: 300_000 }).then(
      (finished) => {
        if (finished.code !== 0) throw new Error(finished.stderr);
        return finished.stdout.trim();
      },
    );
    baseImages.set(name, made);
  }
  return made;
}

const processesOf = (root: string): { pid: number; command: string }[] => {
  const found: { pid: number; command: string }[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, "utf8").replaceAll("\0", " ");
      if (command.includes(root)) found.push({ pid: Number(entry), command });
    } catch {
      // it ended meanwhile
    }
  }
  return found;
};

const nameOf = (pid: number): string => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return "midwife: a child of hers that ended meanwhile";
  }
};

/** Starts a private engine with its base images imported. */
export async function startEngine(options: EngineOptions = {}): Promise<Engine> {
  await removeLeftovers();
  const engine = new TestEngine(newTag(), options);
  await engine.startDaemon();
  await engine.startTap();
  for (const image of options.images ?? ["busybox"]) {
    await engine.ok(["import", await baseImage(image), `${image}:latest`], { timeoutMs: 120_000 });
  }
  return engine;
}

/** One that no engine of another suite has: its folder is made with it. */
function newTag(): string {
  for (;;) {
    const tag = crypto.getRandomValues(new Uint8Array(2)).toHex();
    try {
      mkdirSync(`/tmp/naru-test-${tag}`);
      return tag;
    } catch (thrown) {
      if (!(thrown instanceof Error && "code" in thrown && thrown.code === "EEXIST")) throw thrown;
    }
  }
}

class TestEngine implements Engine {
  readonly tag: string;
  readonly root: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly socket: string;
  readonly daemonSocket: string;
  readonly bridge: string;
  readonly cgroupParent: string;
  readonly #flags: readonly string[];
  readonly #prefix: readonly string[];
  readonly #clientConfig: string;
  #daemon: Bun.Subprocess | null = null;
  #tap: Awaited<ReturnType<typeof startTap>> | null = null;

  constructor(tag: string, { dataRoot, daemonFlags = [], prefix = [] }: EngineOptions) {
    this.tag = tag;
    this.root = `/tmp/naru-test-${tag}`;
    this.dataRoot = dataRoot ?? join(this.root, "data");
    this.execRoot = `${VOLATILE}/naru-test-${tag}`;
    this.socket = join(this.root, "tap.sock");
    this.daemonSocket = join(this.root, "naru.sock");
    this.bridge = `narut${tag}`;
    this.cgroupParent = `/naru-test-${tag}`;
    this.#flags = daemonFlags;
    this.#prefix = prefix;
    this.#clientConfig = join(this.root, "client");
    mkdirSync(this.#clientConfig, { recursive: true });
    writeFileSync(join(this.root, "owner.pid"), String(process.pid));
    writeFileSync(join(this.root, "daemon.json"), "{}");
  }

  get daemonPid(): number {
    if (this.#daemon === null) throw new Error("the daemon is not running");
    return this.#daemon.pid;
  }

  async startTap(): Promise<void> {
    this.#tap = await startTap({ listen: this.socket, upstream: this.daemonSocket });
  }

  docker(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return run(["docker", "-H", `unix://${this.socket}`, ...args], {
      ...options,
      env: { DOCKER_CONFIG: this.#clientConfig, DOCKER_CLI_HINTS: "false", ...options.env },
    });
  }

  async ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const finished = await this.docker(args, options);
    if (finished.code !== 0) {
      throw new Error(
        `docker ${args.join(" ")} exited with ${finished.code}\n${finished.stdout}${finished.stderr}\n` +
          `daemon log:\n${this.daemonLog().slice(-3000)}`,
      );
    }
    return finished.stdout.replace(/\n$/, "");
  }

  naru(args: readonly string[], options: RunOptions = {}): Promise<Finished> {
    return run([NARU, "-H", `unix://${this.socket}`, ...args], {
      ...options,
      env: { DOCKER_CONFIG: this.#clientConfig, ...options.env },
    });
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`http://engine${path}`, { ...init, unix: this.socket });
  }

  async startDaemon(
    binary = NARU,
    flags: readonly string[] = [],
    prefix: readonly string[] = [],
  ): Promise<void> {
    this.#spawn({ binary, flags, prefix });
    await this.#waitUntilServed();
  }

  async tryDaemon(flags: readonly string[], prefix: readonly string[] = []): Promise<string> {
    this.#spawn({ binary: NARU, flags, prefix });
    await this.#daemon?.exited;
    return this.daemonLog();
  }

  async daemonEnded(): Promise<void> {
    await this.#daemon?.exited;
  }

  #spawn(start: {
    readonly binary: string;
    readonly flags: readonly string[];
    readonly prefix: readonly string[];
  }): void {
    this.#daemon = Bun.spawn(
      [
        ...this.#prefix,
        ...start.prefix,
        start.binary,
        "daemon",
        "--data-root",
        this.dataRoot,
        "--exec-root",
        this.execRoot,
        "-H",
        `unix://${this.daemonSocket}`,
        "--bridge",
        this.bridge,
        "--cgroup-parent",
        this.cgroupParent,
        "--config-file",
        join(this.root, "daemon.json"),
        "--pidfile",
        join(this.root, "naru.pid"),
        ...this.#flags,
        ...start.flags,
        ...(process.env["NARU_DAEMON_FLAGS"]?.split(" ") ?? []),
      ],
      {
        stdin: "ignore",
        stdout: "ignore",
        stderr: Bun.file(join(this.root, `daemon-${Date.now()}.log`)),
      },
    );
  }

  async #waitUntilServed(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        const answer = await fetch("http://engine/_ping", { unix: this.daemonSocket });
        if (answer.ok) return;
      } catch {
        // not listening yet
      }
      if (this.#daemon?.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the daemon did not come up:\n${this.daemonLog()}`);
      }
      await Bun.sleep(10);
    }
  }

  async killDaemon(): Promise<void> {
    this.#daemon?.kill("SIGKILL");
    await this.#daemon?.exited;
  }

  async restartDaemon(): Promise<void> {
    await this.killDaemon();
    await this.startDaemon();
  }

  supervisorPid(): number {
    // Her midwife has the same command line, and after the kernel's pids began anew a lower pid.
    const found = processesOf(this.execRoot).find(
      ({ pid, command }) =>
        / supervisor /.test(`${command} `) && !nameOf(pid).startsWith("midwife"),
    );
    if (found === undefined) throw new Error("no supervisor is running");
    return found.pid;
  }

  violations(): string[] {
    return this.#tap?.violations() ?? [];
  }

  daemonLog(): string {
    return readdirSync(this.root)
      .filter((name) => /^daemon-\d+\.log$/.test(name))
      .toSorted()
      .map((name) => readFileSync(join(this.root, name), "utf8"))
      .join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tap?.close();
    await this.killDaemon();
    if (process.env["NARU_KEEP"] !== undefined) return;
    await removeTraces({ tag: this.tag });
    rmSync(this.execRoot, { recursive: true, force: true });
    rmSync(this.root, { recursive: true, force: true });
  }
}
