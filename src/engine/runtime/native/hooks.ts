/**
 * Programs of vendors that run while a container is born and when it is gone, as the OCI runtime specification has
 * them (config.md, "POSIX-platform Hooks"):
 *
 *   prestart, createRuntime   on the host, when the container's namespaces, mounts and network are there
 *   createContainer           in the container's namespaces, before its root becomes /: the host's files are in sight,
 *                             and what is mounted below `<bundle>/rootfs` stays in the container
 *   startContainer            in the container, confined as its program is
 *   poststart, poststop       on the host, when the program runs, and when the container is gone
 *
 * Each reads the container's state as JSON, and finds the spec in `<bundle>/config.json`. They are cloned by the midwife
 * and know no descriptor of ours. One that fails before the program runs ends the birth; a later one is told and no more.
 */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { invalid, sentenceOf } from "#base";
import { allocate, attempt, checked } from "#linux/ffi";
import { exitCodeOf, waitPid } from "#linux/process";
import { closeFd, FileDescriptor } from "#linux/path";
import type { HookName, HookSpec, RuntimeSpec } from "#oci";

import type { Born, BirthRequest } from "../driver.ts";
import { reap } from "./reap.ts";
import { isReadable } from "./report.ts";

/** A hook that names no time-out of its own gets this: a start must not hang for ever. */
const TIMEOUT_SECONDS = 300;
const OUTPUT_LIMIT_BYTES = 64 * 1024;
const LONGEST_LOOK_MS = 20;
const O_CLOEXEC = 0o2000000;
const O_TMPFILE = 0o20200000;
const O_RDWR = 2;
const ENVIRONMENT_LIMIT_BYTES = 1024 * 1024;

export interface HookStreams {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** Starts one hook; where it runs is the caller's. */
export type StartHook = (hook: HookSpec, streams: HookStreams) => Promise<Born>;

export const hasHooks = ({ hooks }: RuntimeSpec): boolean =>
  hooks !== undefined && Object.values(hooks).some((list) => list.length > 0);

/** @throws EngineError "invalid" for a hook that cannot be run */
export function checkHooks({ hooks = {} }: RuntimeSpec): void {
  for (const { path, args = [], env = [], timeout } of Object.values(hooks).flat()) {
    if (!path.startsWith("/")) throw invalid(`hook path ${path} is not absolute`);
    if (timeout !== undefined && !(timeout > 0)) throw invalid(`hook ${path}: invalid timeout`);
    const words = [path, ...args, ...env];
    if (words.some((word) => typeof word !== "string" || word.includes("\0"))) {
      throw invalid(`hook ${path}: its words must be texts without NUL`);
    }
    if (words.join("").length > ENVIRONMENT_LIMIT_BYTES) throw invalid(`hook ${path}: too long`);
  }
}

/**
 * Makes the folder that hooks know as the container's bundle.
 * @param owner the container's root, where it is not the host's: hooks inside its namespaces are that
 * @returns its path without links
 */
export function writeBundle(
  { spec, scratch }: Pick<BirthRequest, "spec" | "scratch">,
  owner: { readonly gid: number } | null,
): string {
  mkdirSync(join(scratch, "rootfs"), { recursive: true, mode: 0o700 });
  const document = { ...spec, root: { ...spec.root, path: "rootfs" } };
  writeFileSync(configOf(scratch), JSON.stringify(document), { mode: 0o600 });
  if (owner !== null) {
    // To be read, and no more: the last hooks are taken from it, and those run on the host.
    chownSync(configOf(scratch), 0, owner.gid);
    chmodSync(configOf(scratch), 0o640);
    chmodSync(scratch, 0o711);
  }
  return realpathSync(scratch);
}

const configOf = (scratch: string): string => join(scratch, "config.json");

/** The hooks of a container that was born with some, by whichever process; null: it had none. */
export function readBundle(scratch: string): RuntimeSpec | null {
  const path = configOf(scratch);
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as RuntimeSpec) : null;
}

export interface HookRun {
  readonly id: string;
  readonly spec: RuntimeSpec;
  readonly scratch: string;
  /** 0 when there is none any more. */
  readonly pid: number;
}

const STATUS: Readonly<Record<HookName, string>> = {
  prestart: "creating",
  createRuntime: "creating",
  createContainer: "creating",
  startContainer: "created",
  poststart: "running",
  poststop: "stopped",
};

/** One after the other. @throws Error in runc's words for the first that fails */
export async function runHooks(name: HookName, run: HookRun, start: StartHook): Promise<void> {
  for (const [index, hook] of (run.spec.hooks?.[name] ?? []).entries()) {
    const failed = (why: string) => new Error(`error running ${name} hook #${index}: ${why}`);
    const outcome = await runHook(
      { hook, state: stateOf(name, run), scratch: run.scratch },
      start,
    ).catch((thrown: unknown) => {
      throw failed(sentenceOf(thrown));
    });
    if (outcome.code === null) {
      throw failed(`hook ran past specified timeout of ${hook.timeout ?? TIMEOUT_SECONDS}s`);
    }
    if (outcome.code === 0) continue;
    const { code, stdout, stderr } = outcome;
    throw failed(`exit status ${code}, stdout: ${stdout.trim()}, stderr: ${stderr.trim()}`);
  }
}

const stateOf = (name: HookName, { id, spec, scratch, pid }: HookRun): string =>
  JSON.stringify({
    ociVersion: spec.ociVersion,
    id,
    status: STATUS[name],
    ...(pid === 0 ? {} : { pid }),
    bundle: scratch,
    annotations: spec.annotations ?? {},
  });

interface Outcome {
  /** null: it was killed because it took too long. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function runHook(
  { hook, state, scratch }: { hook: HookSpec; state: string; scratch: string },
  start: StartHook,
): Promise<Outcome> {
  using input = stateDescriptor(state, scratch);
  using stdout = new Output();
  using stderr = new Output();
  const { pid, pidfd } = await start(hook, {
    stdin: input.fd,
    stdout: stdout.writer,
    stderr: stderr.writer,
  });
  const deadline = performance.now() + (hook.timeout ?? TIMEOUT_SECONDS) * 1000;
  try {
    stdout.closeWriter();
    stderr.closeWriter();
    let pauseMs = 1;
    for (;;) {
      const end = waitPid(pid, { noHang: true });
      stdout.drain();
      stderr.drain();
      if (end !== null) {
        return { code: exitCodeOf(end), stdout: stdout.text(), stderr: stderr.text() };
      }
      if (performance.now() > deadline) break;
      await Bun.sleep(pauseMs);
      pauseMs = Math.min(pauseMs * 1.5, LONGEST_LOOK_MS);
    }
    // The whole session: our own child, not reaped, so the number is nobody else's.
    process.kill(-pid, "SIGKILL");
    reap(pid);
    return { code: null, stdout: "", stderr: "" };
  } finally {
    closeFd(pidfd);
  }
}

/** A file without a name: whoever does not read it does not block us. */
function stateDescriptor(state: string, scratch: string): FileDescriptor {
  const input = new FileDescriptor(openSync(scratch, O_TMPFILE | O_RDWR, 0o600));
  writeFileSync(input.fd, state);
  checked("lseek", "state", input.fd, 0, 0);
  return input;
}

/** What a hook prints, as much of it as is kept. */
class Output implements Disposable {
  readonly #reader: number;
  readonly writer: number;
  #open = true;
  #kept = Buffer.alloc(0);

  constructor() {
    const pair = allocate(8);
    checked("pipe2", "pipe", pair, O_CLOEXEC);
    const view = new DataView(pair.buffer);
    this.#reader = view.getInt32(0, true);
    this.writer = view.getInt32(4, true);
  }

  closeWriter(): void {
    if (this.#open) closeFd(this.writer);
    this.#open = false;
  }

  drain(): void {
    const chunk = allocate(OUTPUT_LIMIT_BYTES);
    // Not for ever: one that prints without end must reach its time-out.
    for (let round = 0; round < 16 && isReadable(this.#reader, 0); round += 1) {
      const length = attempt("read", this.#reader, chunk, chunk.length);
      if (length <= 0) return;
      const room = OUTPUT_LIMIT_BYTES - this.#kept.length;
      if (room > 0)
        this.#kept = Buffer.concat([this.#kept, chunk.subarray(0, Math.min(length, room))]);
    }
  }

  text(): string {
    return this.#kept.toString("utf8");
  }

  [Symbol.dispose](): void {
    this.closeWriter();
    closeFd(this.#reader);
  }
}
