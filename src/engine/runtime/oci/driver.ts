/**
 * Drives crun, runc or any other OCI runtime, for `--runtime` and for hosts that want it.
 *
 *   <scratch>/config.json    the bundle's spec
 *   <scratch>/rootfs         the overlay, mounted here while the container lives
 *   <scratch>/state          the runtime's own state (--root), so that nothing is shared with another engine
 *   <scratch>/oci.log        what the runtime says
 *
 * The runtime's `create` makes the namespaces and leaves an init that waits; the supervisor builds the network;
 * `start` lets the init execute the program. The init becomes the supervisor's child when `create` has ended,
 * because the supervisor is a subreaper. Spec: OCI runtime-spec 1.2, runtime.md, "Lifecycle".
 */
import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { notImplemented } from "#base";
import { closeFd, O_CLOEXEC, O_DIRECTORY, O_PATH, O_RDONLY, openPath } from "#linux/path";
import {
  anyMayStall,
  createDetachedOverlay,
  MNT_DETACH,
  mount,
  moveMount,
  MS_BIND,
  MS_REC,
  readMountInfo,
  unmount,
} from "#linux/mount";
import { parseResourceName, pidfdOpen, readResourceLimit } from "#linux/process";
import { setWindowSize } from "#linux/pty";
import type { ProcessSpec, RuntimeSpec } from "#oci";

import {
  type BirthRequest,
  type Born,
  type ExecRequest,
  type ProcessStdio,
  type RootFileSystem,
  type RuntimeDriver,
  RuntimeError,
} from "../driver.ts";
import { type ResolvedIdentity, resolveIdentity } from "../identity.ts";
import { parseRuntimeCommand } from "./command.ts";
import { type ConsoleSocket, listenForConsole } from "./console.ts";
import { createError, errorOf, execError } from "./sentences.ts";

export interface OciDriverOptions {
  /** The runtime's program, by name or path: "runc"; with words of its own, see command.ts. */
  readonly command: string;
}

/** @throws RuntimeError from birth, when the program is not installed */
export function openOciDriver({ command }: OciDriverOptions): RuntimeDriver {
  return {
    name: command,
    birth: (request) => birth(command, request),
    exec: (request) => exec(command, request),
    async release({ id, scratch }) {
      if (existsSync(join(scratch, "state"))) {
        await runtime(command, scratch, ["delete", "--force", id], ignored).catch(() => undefined);
      }
      unmount(join(scratch, "rootfs"), MNT_DETACH);
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}

const ignored: ProcessStdio = { type: "terminal", columns: 0, rows: 0 };

async function birth(command: string, request: BirthRequest): Promise<Born> {
  const { id, scratch, stdio } = request;
  await using undo = new AsyncDisposableStack();
  const rootfs = join(scratch, "rootfs");
  mkdirSync(rootfs, { recursive: true });
  undo.defer(() => rmSync(scratch, { recursive: true, force: true }));
  mountRoot(request.root, rootfs);
  undo.defer(() => void unmount(rootfs, MNT_DETACH));
  checkFolders(rootfs);
  writeFileSync(join(scratch, "config.json"), JSON.stringify(bundleSpec(request, rootfs)));

  const terminal = request.spec.process.terminal ? listenForConsole(scratch) : null;
  undo.defer(() => terminal?.[Symbol.dispose]());
  const pidFile = join(scratch, "init.pid");
  const create = [
    "create",
    "--bundle",
    scratch,
    "--pid-file",
    pidFile,
    ...consoleFlags(terminal),
    id,
  ];
  const created = await runtime(command, scratch, create, stdio);
  undo.defer(
    async () => void (await runtime(command, scratch, ["delete", "--force", id], ignored)),
  );
  if (!created.ok) throw createError(created.error);

  const pid = Number(readFileSync(pidFile, "utf8"));
  const pidfd = pidfdOpen(pid);
  undo.defer(() => closeFd(pidfd));
  const networkNamespace = openPath(`/proc/${pid}/ns/net`, O_RDONLY | O_CLOEXEC);
  try {
    request.prepare({ pid, networkNamespace });
  } finally {
    closeFd(networkNamespace);
  }
  const ptyMaster = masterOf(terminal, stdio);
  undo.defer(() => (ptyMaster === null ? undefined : closeFd(ptyMaster)));
  const started = await runtime(command, scratch, ["start", id], ignored);
  if (!started.ok) throw createError(started.error);
  terminal?.[Symbol.dispose]();
  undo.move(); // it lives: from here `release` owns bundle, mount and state
  return { pid, pidfd, ptyMaster, mountNamespace: null };
}

async function exec(command: string, request: ExecRequest): Promise<Born> {
  const { id, scratch, stdio } = request;
  const root = openPath(`/proc/${request.pid}/root`, O_PATH | O_DIRECTORY | O_CLOEXEC);
  let identity: ResolvedIdentity;
  try {
    identity = resolveIdentity(root, request.identity, () =>
      anyMayStall(readMountInfo(request.pid)),
    );
  } finally {
    closeFd(root);
  }
  const unique = crypto.randomUUID().slice(0, 8);
  const [processFile, pidFile] = [
    join(scratch, `exec-${unique}.json`),
    join(scratch, `exec-${unique}.pid`),
  ];
  writeFileSync(processFile, JSON.stringify(processSpec(request.process, identity, stdio)));
  using terminal = request.process.terminal ? listenForConsole(scratch) : null;
  try {
    const flags = ["exec", "--detach", "--process", processFile, "--pid-file", pidFile];
    const done = await runtime(command, scratch, [...flags, ...consoleFlags(terminal), id], stdio);
    if (!done.ok) throw execError(done.error);
    const pid = Number(readFileSync(pidFile, "utf8"));
    return {
      pid,
      pidfd: pidfdOpen(pid),
      ptyMaster: masterOf(terminal, stdio),
      mountNamespace: null,
    };
  } finally {
    rmSync(processFile, { force: true });
    rmSync(pidFile, { force: true });
  }
}

const consoleFlags = (terminal: ConsoleSocket | null): string[] =>
  terminal === null ? [] : ["--console-socket", terminal.name];

function masterOf(terminal: ConsoleSocket | null, stdio: ProcessStdio): number | null {
  if (terminal === null) return null;
  const master = terminal.receive();
  if (stdio.type === "terminal") setWindowSize(master, stdio);
  return master;
}

function mountRoot(root: RootFileSystem, target: string): void {
  if (root.type === "directory") {
    mount({ source: root.path, target, flags: MS_BIND | MS_REC });
    return;
  }
  const { lowers, upper, work } = root;
  const overlay = createDetachedOverlay({ lowers, upper, work });
  try {
    moveMount({ fromFd: overlay, toPath: target });
  } finally {
    closeFd(overlay);
  }
}

/**
 * runc makes the links of /dev (fd, stdin, ptmx) by path before it changes root: where an image's /dev is a link,
 * it makes them on the host.
 */
function checkFolders(rootfs: string): void {
  if (lstatSync(join(rootfs, "dev"), { throwIfNoEntry: false })?.isSymbolicLink() !== true) return;
  throw createError(
    'error mounting "tmpfs" to rootfs at "/dev": filesystem "tmpfs" must be mounted on ordinary directory',
  );
}

/** The spec as the runtime gets it: its root is the mounted one, its user is a number. */
function bundleSpec(request: BirthRequest, rootfs: string): RuntimeSpec {
  const root = openPath(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC);
  try {
    const identity = resolveIdentity(root, request.identity);
    if (request.spec.linux.uidMappings !== undefined) {
      throw notImplemented("user namespaces with an OCI runtime are not implemented yet");
    }
    const process = processSpec(request.spec.process, identity, request.stdio);
    if (request.spec.mounts.some(({ lowers }) => lowers !== undefined)) {
      throw notImplemented("image mounts with an OCI runtime are not implemented yet");
    }
    if (request.spec.mounts.some(({ subpath }) => subpath !== undefined)) {
      // An OCI runtime opens sources by path: whoever writes to the volume could lead it elsewhere.
      throw notImplemented("volume-subpath with an OCI runtime is not implemented yet");
    }
    const spec = { ...request.spec, root: { ...request.spec.root, path: rootfs }, process };
    return request.init === null ? spec : withInit(spec, request.init);
  } finally {
    closeFd(root);
  }
}

function withInit(spec: RuntimeSpec, init: string): RuntimeSpec {
  const destination = "/sbin/docker-init";
  return {
    ...spec,
    mounts: [...spec.mounts, { type: "bind", source: init, destination, options: ["bind", "ro"] }],
    process: { ...spec.process, args: [destination, "--", ...spec.process.args] },
  };
}

function processSpec(
  process: ProcessSpec,
  { uid, gid, groups, home }: ResolvedIdentity,
  stdio: ProcessStdio,
): ProcessSpec {
  const env = process.env.some((entry) => entry.startsWith("HOME="))
    ? process.env
    : [...process.env, `HOME=${home}`];
  const rlimits = process.rlimits?.map(clampToHost);
  const user = { ...process.user, uid, gid, additionalGids: [...groups] };
  // The runtime sets the size before the program runs; afterwards would be a race that programs see.
  const size =
    stdio.type === "terminal" && stdio.rows > 0 && stdio.columns > 0
      ? { consoleSize: { height: stdio.rows, width: stdio.columns } }
      : {};
  return { ...process, ...size, env, user, ...(rlimits === undefined ? {} : { rlimits }) };
}

type Rlimit = NonNullable<ProcessSpec["rlimits"]>[number];

/** Without CAP_SYS_RESOURCE a limit above our own hard limit cannot be set: it is clamped, not refused. */
function clampToHost(limit: Rlimit): Rlimit {
  const name = parseResourceName(limit.type);
  if (name === null) return limit;
  const { hard } = readResourceLimit(0, name);
  const highest = hard > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(hard);
  return { ...limit, soft: Math.min(limit.soft, highest), hard: Math.min(limit.hard, highest) };
}

type Outcome = { readonly ok: true } | { readonly ok: false; readonly error: string };

/** One run of the runtime; with pipes, they become the program's own streams. */
async function runtime(
  command: string,
  scratch: string,
  args: readonly string[],
  stdio: ProcessStdio,
): Promise<Outcome> {
  const log = join(scratch, "oci.log");
  rmSync(log, { force: true });
  const global = ["--root", join(scratch, "state"), "--log", log, "--log-format", "json"];
  const { path, args: own } = parseRuntimeCommand(command);
  const words = [...hybridPrefix(path), path, ...own, ...global, ...args];
  const streams: [number | "ignore", number | "ignore", number | "ignore"] =
    stdio.type === "pipes"
      ? [stdio.stdin, stdio.stdout, stdio.stderr]
      : ["ignore", "ignore", "ignore"];
  const env = { PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin" };
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn(words, { cwd: scratch, stdio: streams, env });
  } catch (cause) {
    throw new RuntimeError("failed", `exec: "${path}": executable file not found in $PATH`, {
      cause,
    });
  }
  if ((await child.exited) === 0) return { ok: true };
  const text = existsSync(log) ? readFileSync(log, "utf8") : "";
  return { ok: false, error: errorOf(text, "") };
}

let unified: boolean | undefined;

/**
 * crun 1.8 refuses hybrid cgroups while the v2 tree has a controller. It works in a mount namespace where that tree
 * is unmounted; runc works as it is.
 */
function hybridPrefix(command: string): string[] {
  const controllers = "/sys/fs/cgroup/unified/cgroup.controllers";
  unified ??= existsSync(controllers) && readFileSync(controllers, "utf8").trim() !== "";
  if (!unified || !/(^|\/)crun$/.test(command)) return [];
  return ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified && exec "$0" "$@"'];
}
