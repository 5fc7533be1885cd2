/** For tests: starts containers through a driver, reads what they print, and finds what they leave. */
import { closeSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { CgroupHost } from "#linux/cgroup";
import { allocate, attempt, checked, errnoNumbers } from "#linux/ffi";
import { readMountInfo } from "#linux/mount";
import {
  exitCodeOf,
  listChildren,
  pidfdSendSignal,
  readProcessStat,
  SIGKILL,
  waitPid,
} from "#linux/process";
import type { RuntimeSpec } from "#oci";

import type { Born, Identity, ProcessStdio, RuntimeDriver } from "./driver.ts";
import {
  defaultSpec,
  makeBusyboxRoot,
  temporaryFolder,
  testId,
  TEST_CGROUPS,
} from "./test-container.ts";

export interface ExecLaunch {
  readonly args: readonly string[];
  readonly identity?: Identity;
  readonly terminal?: { readonly columns: number; readonly rows: number };
}

export interface Launch extends ExecLaunch {
  readonly change?: (spec: RuntimeSpec) => void;
  readonly prepare?: () => void;
  readonly init?: string;
  /** Adds to the image, in a layer of its own on top. */
  readonly image?: (root: string) => void;
  /** Names in the base image's root that the container does not get. */
  readonly hide?: readonly string[];
}

export interface Outcome {
  readonly output: string;
  readonly exitCode: number;
}

export interface Running {
  readonly born: Born;
  exec(launch: ExecLaunch): Promise<Outcome>;
  end(): Promise<void>;
}

type OpenDriver = (scratchRoot: string, cgroups: CgroupHost) => RuntimeDriver & Partial<Disposable>;

const O_CLOEXEC = 0o2000000;
const O_NONBLOCK = 0o4000;
const F_SETFL = 4;
const nobody: Identity = { user: "", groups: [] };

export class Lab {
  readonly #top: ReturnType<typeof temporaryFolder>;
  readonly #driver: ReturnType<OpenDriver>;
  readonly #cgroups: CgroupHost;

  private constructor(
    top: ReturnType<typeof temporaryFolder>,
    driver: ReturnType<OpenDriver>,
    cgroups: CgroupHost,
  ) {
    this.#top = top;
    this.#driver = driver;
    this.#cgroups = cgroups;
  }

  static async open(open: OpenDriver, cgroups: CgroupHost): Promise<Lab> {
    const top = temporaryFolder("runtime");
    await makeBusyboxRoot(join(top.path, "lower"));
    return new Lab(top, open(join(top.path, "driver"), cgroups), cgroups);
  }

  async close(): Promise<void> {
    this.#driver[Symbol.dispose]?.();
    this.#cgroups.at(TEST_CGROUPS).tryRemove();
    this.#top[Symbol.dispose]();
    await Promise.resolve();
  }

  /** A fresh folder of the host. */
  folder(name: string): string {
    const path = join(this.#top.path, `${name}-${testId().slice(0, 8)}`);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** Mounts and cgroups that tests made and that are still there. */
  leftovers(): string[] {
    const mounts = readMountInfo()
      .map(({ target }) => target)
      .filter((target) => target.startsWith(this.#top.path));
    const children = readdirSync(join(this.#top.path, "driver"), { recursive: true });
    return [...mounts, ...this.#cgroups.list(TEST_CGROUPS), ...children.map(String)];
  }

  async run(launch: Launch): Promise<Outcome & { readonly oomKills: number }> {
    const started = await this.#start(launch);
    const outcome = await started.outcome;
    const oomKills = this.#cgroups.at(started.cgroupsPath).oomKills();
    await started.release();
    return { ...outcome, oomKills };
  }

  async start(launch: Launch): Promise<Running> {
    const { born, outcome, release, exec } = await this.#start(launch);
    return {
      born,
      exec,
      end: async () => {
        pidfdSendSignal(born.pidfd, SIGKILL);
        await outcome;
        await release();
      },
    };
  }

  async #start(launch: Launch) {
    const id = testId();
    const base = join(this.#top.path, "containers", id);
    const scratch = join(this.#top.path, "driver", id);
    for (const folder of ["upper", "work", "image"]) {
      mkdirSync(join(base, folder), { recursive: true });
    }
    mkdirSync(scratch, { recursive: true });
    const spec = defaultSpec(id, launch.args);
    spec.process.terminal = launch.terminal !== undefined;
    launch.change?.(spec);
    const lower = join(this.#top.path, "lower");
    for (const name of launch.hide ?? []) {
      await Bun.$`mknod ${join(base, "upper", name)} c 0 0`.quiet();
    }
    launch.image?.(launch.hide === undefined ? join(base, "image") : replaced(base, launch.hide));
    using streams = new Streams(launch.terminal);
    const release = async () => {
      const cgroup = this.#cgroups.at(spec.linux.cgroupsPath);
      await cgroup.killAll({ timeoutMs: 5000 });
      await this.#driver.release({ id, scratch });
      await cgroup.remove({ timeoutMs: 5000 });
    };
    const identity = launch.identity ?? nobody;
    let born: Born;
    try {
      born = await this.#driver.birth({
        id,
        spec,
        root: {
          type: "overlay",
          lowers: [join(base, "image"), lower],
          upper: join(base, "upper"),
          work: join(base, "work"),
        },
        identity,
        stdio: streams.stdio,
        scratch,
        init: launch.init ?? null,
        prepare: launch.prepare ?? (() => undefined),
      });
    } catch (thrown) {
      await this.#driver.release({ id, scratch });
      throw thrown;
    }
    const outcome = streams.outcome(born);
    const { linux } = spec;
    const exec = async ({ args, terminal, identity = nobody }: ExecLaunch): Promise<Outcome> => {
      using inner = new Streams(terminal);
      const process = { ...spec.process, args: [...args], terminal: terminal !== undefined };
      const stdio = inner.stdio;
      const { pid, pidfd } = born;
      const request = { id, pid, pidfd, spec, process, identity, stdio, scratch };
      return await inner.outcome(await this.#driver.exec(request));
    };
    return { born, outcome, release, exec, cgroupsPath: linux.cgroupsPath };
  }
}

// A whiteout in the upper directory gives way to what the test puts there.
function replaced(base: string, names: readonly string[]): string {
  for (const name of names) rmSync(join(base, "upper", name));
  writeFileSync(join(base, "image", ".keep"), "");
  return join(base, "upper");
}

/** The three streams of one process: one pipe for what it prints, nothing to read. */
class Streams implements Disposable {
  readonly stdio: ProcessStdio;
  readonly #reader: number | null;
  readonly #ends: number[] = [];

  constructor(terminal: Launch["terminal"]) {
    if (terminal !== undefined) {
      this.stdio = { type: "terminal", ...terminal };
      this.#reader = null;
      return;
    }
    const pair = allocate(8);
    checked("pipe2", "pipe", pair, O_CLOEXEC);
    const view = new DataView(pair.buffer);
    this.#reader = view.getInt32(0, true);
    const writer = view.getInt32(4, true);
    const stdin = checked("openat", "/dev/null", -100, Buffer.from("/dev/null\0"), O_CLOEXEC, 0);
    this.#ends.push(writer, stdin);
    this.stdio = { type: "pipes", stdin, stdout: writer, stderr: writer };
  }

  /** What the process prints until it ends; reaps it and closes what was born with it. */
  async outcome(born: Born): Promise<Outcome> {
    this[Symbol.dispose]();
    const reader = this.#reader ?? born.ptyMaster;
    if (reader === null) throw new Error("a terminal was asked for and none came");
    const output = await readToEnd(reader);
    closeSync(reader);
    return { output, exitCode: await reaped(born.pid) };
  }

  [Symbol.dispose](): void {
    for (const fd of this.#ends.splice(0)) closeSync(fd);
  }
}

/** An exit code. Orphans are reaped meanwhile: a pid namespace ends only when its last zombie is gone. */
async function reaped(pid: number): Promise<number> {
  for (;;) {
    const end = waitPid(pid, { noHang: true });
    if (end !== null) return exitCodeOf(end);
    for (const orphan of listChildren(process.pid)) {
      if (orphan !== pid && readProcessStat(orphan)?.state === "Z") waitPid(orphan);
    }
    await Bun.sleep(1);
  }
}

/** Reads until the other side is gone. A blocking read would take a thread of the pool for each container. */
async function readToEnd(fd: number): Promise<string> {
  const buffer = allocate(65_536);
  let text = "";
  attempt("fcntl", fd, F_SETFL, O_NONBLOCK);
  for (;;) {
    const length = attempt("read", fd, buffer, buffer.length);
    if (length > 0) text += new TextDecoder().decode(buffer.subarray(0, length));
    else if (length === -errnoNumbers.EAGAIN) await Bun.sleep(1);
    // A pty whose last slave closed answers EIO.
    else return text;
  }
}
