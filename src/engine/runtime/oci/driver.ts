/**
 * Drives crun, runc or any other OCI runtime, for `--runtime` and for hosts that want it.
 *
 *   <scratch>/config.json    the bundle's spec; what else is in the bundle: bundle.ts
 *   <scratch>/state          the runtime's own state (--root), so that nothing is shared with another engine
 *   <scratch>/oci.log        what the runtime says
 *
 * The runtime's `create` makes the namespaces and leaves an init that waits; the supervisor builds the network;
 * `start` lets the init execute the program. The init becomes the supervisor's child when `create` has ended,
 * because the supervisor is a subreaper. Spec: OCI runtime-spec 1.2, runtime.md, "Lifecycle".
 */
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { anyMayStall, readMountInfo } from "#linux/mount";
import { closeFd, FileDescriptor, O_DIRECTORY, O_PATH, O_RDONLY, openPath } from "#linux/path";
import { pidfdOpen } from "#linux/process";
import { setWindowSize } from "#linux/pty";

import {
  type BirthRequest,
  type Born,
  type ExecRequest,
  type ProcessStdio,
  type RuntimeDriver,
  RuntimeError,
} from "../driver.ts";
import { withIdentity } from "../identity.ts";
import { openTrampoline, type Trampoline } from "../native/trampoline.ts";
import { isRemapped, refuseUnmappable } from "../native/remapped-plan.ts";
import { giveStreams, idMapsOf, type Shift, UserNamespaces } from "../native/user-namespaces.ts";
import { openBundle, processFor } from "./bundle.ts";
import { parseRuntimeCommand } from "./command.ts";
import { type ConsoleSocket, listenForConsole } from "./console.ts";
import { launch, type MountChange } from "./launch.ts";
import { isNullDevice, openNullDevice } from "./null.ts";
import { createError, errorOf, execError } from "./sentences.ts";

export interface OciDriverOptions {
  /** The runtime's program, by name or path: "runc"; with words of its own, see command.ts. */
  readonly command: string;
}

/** @throws RuntimeError from birth, when the program is not installed */
export function openOciDriver({ command }: OciDriverOptions): RuntimeDriver {
  const host = new OciHost(command);
  return {
    name: command,
    birth: (request) => birth(host, request),
    exec: (request) => exec(host, request),
    async release({ id, scratch }) {
      if (existsSync(join(scratch, "state"))) {
        await remove(host, scratch, id).catch(() => undefined);
      }
      rmSync(scratch, { recursive: true, force: true });
    },
    [Symbol.dispose]: () => host[Symbol.dispose](),
  };
}

/** What is made once for a runtime, when its first container is born. */
class OciHost implements Disposable {
  readonly command: string;
  #trampoline: Trampoline | null = null;
  #userNamespaces: UserNamespaces | null = null;

  constructor(command: string) {
    this.command = command;
  }

  /** @param folder for its source, for a moment */
  trampoline(folder: string): Trampoline {
    return (this.#trampoline ??= openTrampoline(folder));
  }

  /** Null: the container has the host's ids. @throws EngineError, SyscallError */
  shift({ spec, scratch }: BirthRequest): Shift | null {
    const maps = isRemapped(spec) ? idMapsOf(spec) : null;
    if (maps === null) return null;
    refuseUnmappable(spec);
    this.#userNamespaces ??= new UserNamespaces(this.trampoline(scratch));
    return this.#userNamespaces.shift(maps);
  }

  [Symbol.dispose](): void {
    this.#userNamespaces?.[Symbol.dispose]();
    this.#userNamespaces = null;
  }
}

async function birth(host: OciHost, request: BirthRequest): Promise<Born> {
  const { id, scratch, stdio } = request;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rmSync(scratch, { recursive: true, force: true }));
  const terminal = openTerminal(scratch, stdio);
  undo.defer(() => terminal?.[Symbol.dispose]());
  const pidFile = join(scratch, "init.pid");
  const args = [
    "create",
    "--bundle",
    scratch,
    "--pid-file",
    pidFile,
    ...(terminal?.flags ?? []),
    id,
  ];
  undo.defer(() => remove(host, scratch, id));
  await create(host, request, { args, look: () => terminal?.look() });

  const pid = Number(readFileSync(pidFile, "utf8"));
  const pidfd = pidfdOpen(pid);
  undo.defer(() => closeFd(pidfd));
  const networkNamespace = openPath(`/proc/${pid}/ns/net`, O_RDONLY);
  try {
    request.prepare({ pid, networkNamespace });
  } finally {
    closeFd(networkNamespace);
  }
  const ptyMaster = terminal?.take() ?? null;
  undo.defer(() => (ptyMaster === null ? undefined : closeFd(ptyMaster)));
  const started = await runtime(host, scratch, { args: ["start", id] });
  if (!started.ok) throw createError(started.error);
  terminal?.[Symbol.dispose]();
  undo.move(); // it lives: from here `release` owns bundle and state
  return { pid, pidfd, ptyMaster, mountNamespace: null };
}

/** @throws RuntimeError, EngineError, SyscallError */
async function create(
  host: OciHost,
  request: BirthRequest,
  run: Pick<Run, "args" | "look">,
): Promise<void> {
  const { scratch, stdio } = request;
  const shift = host.shift(request);
  // The container's root looks for its own tree in there.
  if (shift !== null) chmodSync(scratch, 0o711);
  using bundle = openBundle(request, shift);
  const { changes, names } = bundle;
  const { signal } = request;
  const stoppable = signal === undefined ? {} : { signal };
  const created = await runtime(host, scratch, { ...run, stdio, changes, ...stoppable });
  if (created.ok) return;
  throw createError(inOwnWords(created.error, names));
}

/** The longest first: one path may begin another. */
const inOwnWords = (text: string, names: ReadonlyMap<string, string>): string =>
  [...names]
    .toSorted(([a], [b]) => b.length - a.length)
    .reduce((words, [path, source]) => words.replaceAll(path, source), text);

async function exec(host: OciHost, request: ExecRequest): Promise<Born> {
  const { id, scratch, stdio } = request;
  const process = (() => {
    using root = new FileDescriptor(openPath(`/proc/${request.pid}/root`, O_PATH | O_DIRECTORY));
    const mayStall = () => anyMayStall(readMountInfo(request.pid));
    return withIdentity(request.process, request.identity, root.fd, mayStall);
  })();
  const maps = idMapsOf(request.spec);
  if (maps !== null && stdio.type === "pipes") {
    giveStreams([stdio.stdin, stdio.stdout, stdio.stderr], maps, process.user.uid);
  }
  const unique = crypto.randomUUID().slice(0, 8);
  const [processFile, pidFile] = [
    join(scratch, `exec-${unique}.json`),
    join(scratch, `exec-${unique}.pid`),
  ];
  writeFileSync(processFile, JSON.stringify(processFor(process, stdio)), { mode: 0o600 });
  using terminal = openTerminal(scratch, stdio);
  try {
    const flags = ["exec", "--detach", "--process", processFile, "--pid-file", pidFile];
    const args = [...flags, ...(terminal?.flags ?? []), id];
    const done = await runtime(host, scratch, { args, stdio, look: () => terminal?.look() });
    if (!done.ok) throw execError(done.error);
    const pid = Number(readFileSync(pidFile, "utf8"));
    return {
      pid,
      pidfd: pidfdOpen(pid),
      ptyMaster: terminal?.take() ?? null,
      mountNamespace: null,
    };
  } finally {
    rmSync(processFile, { force: true });
    rmSync(pidFile, { force: true });
  }
}

/** A terminal's master, which the runtime sends some time before it ends. */
class Terminal implements Disposable {
  readonly #socket: ConsoleSocket;
  readonly #size: { readonly columns: number; readonly rows: number };
  #master: number | null = null;

  constructor(scratch: string, size: { readonly columns: number; readonly rows: number }) {
    this.#socket = listenForConsole(scratch);
    this.#size = size;
  }

  get flags(): string[] {
    return ["--console-socket", this.#socket.name];
  }

  /** Takes the master as soon as it is there: programs may ask for the size at once. */
  look(): void {
    if (this.#master !== null) return;
    this.#master = this.#socket.receive();
    if (this.#master !== null) setWindowSize(this.#master, this.#size);
  }

  /** The caller's from now on. @throws Error when the runtime has sent none */
  take(): number {
    this.look();
    const master = this.#master;
    if (master === null) throw new Error("the runtime sent no terminal");
    this.#master = null;
    return master;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
    if (this.#master !== null) closeFd(this.#master);
    this.#master = null;
  }
}

const openTerminal = (scratch: string, stdio: ProcessStdio): Terminal | null =>
  stdio.type === "terminal" ? new Terminal(scratch, stdio) : null;

/** What a runtime may take to remove a container: one that is stuck in the kernel is left to its cgroup. */
const REMOVAL_LIMIT_MS = 10_000;

async function remove(host: OciHost, scratch: string, id: string): Promise<void> {
  const signal = AbortSignal.timeout(REMOVAL_LIMIT_MS);
  await runtime(host, scratch, { args: ["delete", "--force", id], signal });
}

type Outcome = { readonly ok: true } | { readonly ok: false; readonly error: string };

interface Run {
  readonly args: readonly string[];
  /** With pipes, they become the program's own streams. */
  readonly stdio?: ProcessStdio;
  readonly changes?: readonly MountChange[];
  readonly signal?: AbortSignal;
  /** Called now and then meanwhile. */
  readonly look?: () => void;
}

/** One run of the runtime. @throws RuntimeError where it is not installed */
async function runtime(host: OciHost, scratch: string, run: Run): Promise<Outcome> {
  const { args, stdio, changes = [] } = run;
  const log = join(scratch, "oci.log");
  rmSync(log, { force: true });
  const global = ["--root", join(scratch, "state"), "--log", log, "--log-format", "json"];
  const { path, args: own } = parseRuntimeCommand(host.command);
  const PATH = process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin";
  const program = Bun.which(path, { PATH });
  if (program === null) {
    throw new RuntimeError("failed", `exec: "${path}": executable file not found in $PATH`);
  }
  using nothing = new FileDescriptor(openNullDevice());
  const streamOf = (fd: number): number => (isNullDevice(fd) ? nothing.fd : fd);
  const code = await launch({
    trampoline: host.trampoline(scratch),
    words: [program, ...own, ...global, ...args],
    environment: [`PATH=${PATH}`],
    folder: scratch,
    streams:
      stdio?.type === "pipes"
        ? [streamOf(stdio.stdin), streamOf(stdio.stdout), streamOf(stdio.stderr)]
        : [nothing.fd, nothing.fd, nothing.fd],
    changes: [...hybridChanges(path), ...changes],
    look: run.look ?? (() => undefined),
    signal: run.signal ?? null,
  });
  if (code === 0) return { ok: true };
  const text = existsSync(log) ? readFileSync(log, "utf8") : "";
  return { ok: false, error: errorOf(text, "") };
}

let unified: boolean | undefined;

/** crun 1.8 refuses hybrid cgroups while the v2 tree has a controller, unless it does not see that tree; runc works as it is. */
function hybridChanges(command: string): MountChange[] {
  const tree = "/sys/fs/cgroup/unified";
  const controllers = `${tree}/cgroup.controllers`;
  unified ??= existsSync(controllers) && readFileSync(controllers, "utf8").trim() !== "";
  return unified && /(^|\/)crun$/.test(command) ? [{ change: "hide", path: tree }] : [];
}
