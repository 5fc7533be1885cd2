/**
 * Runs an OCI runtime's program in a mount namespace of its own, where what it cannot open by path is attached: the
 * container's root, and the sources of its mounts. Nobody else sees these mounts, and whenever the program ends they
 * are gone, whatever became of us: nothing of a container's is left in a folder that somebody may remove.
 *
 * It is cloned from the supervisor and runs a plan, as the native driver's children do.
 */
import { allocate, attempt } from "#linux/ffi";
import {
  MNT_DETACH,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_REC,
  MS_SLAVE,
} from "#linux/mount";
import { AT_FDCWD, O_DIRECTORY, O_PATH } from "#linux/path";
import { exitCodeOf, waitPid } from "#linux/process";
import type { CgroupJoin } from "#linux/cgroup";

import { RuntimeError } from "../driver.ts";
import { encodePlan, fillSlots } from "../native/encode.ts";
import { namespaceFlags } from "../native/facts.ts";
import { type BirthPipes, openPipes } from "../native/nursery.ts";
import { errnoOf, type Plan, PlanWriter, stepFailure } from "../native/plan.ts";
import { reap, reapInTime } from "../native/reap.ts";
import { readMessage } from "../native/report.ts";
import { writeCgroupJoin, writeSysctl } from "../native/tail.ts";
import type { Trampoline } from "../native/trampoline.ts";
import { type Passage, PASSAGE_OPTIONS } from "../passage.ts";

const SIGCHLD = 17n;
const CLONE_INTO_CGROUP = 0x2_0000_0000n;
const F_SETFD = 2;
const SIG_SETMASK = 2;
const CLOSE_RANGE_CLOEXEC = 4;
const DEFAULT_UMASK = 0o022;
const LONGEST_LOOK_MS = 2;

/** What is done to the mounts that the program sees, in this order. */
export type MountChange =
  /** Attaches a detached mount; the descriptor is borrowed. */
  | { readonly change: "attach"; readonly tree: number; readonly path: string }
  /** Takes a mount out of sight, where there is one. */
  | { readonly change: "hide"; readonly path: string }
  | ({ readonly change: "open" } & Passage);

/** Where a program lives whose children become a container. */
export interface LaunchPlace {
  readonly join: CgroupJoin;
  /** A cgroup namespace rooted there. */
  readonly cgroupNamespace: boolean;
  /** Parameters of a network namespace, which is in `descriptor`. */
  readonly network: {
    readonly descriptor: number;
    readonly home: number;
    readonly sysctls: Readonly<Record<string, string>>;
  } | null;
  /** Descriptors that the program gets, by the numbers they have here. */
  readonly kept: readonly number[];
  /** Called once, synchronously, before the program begins. A throw ends it. */
  readonly prepare: (pid: number) => void;
}

export interface LaunchRequest {
  readonly trampoline: Trampoline;
  /** The program's absolute path, and its arguments. */
  readonly words: readonly string[];
  readonly environment: readonly string[];
  readonly folder: string;
  readonly streams: readonly [stdin: number, stdout: number, stderr: number];
  readonly changes: readonly MountChange[];
  /** Called now and then while the program runs. */
  readonly look: () => void;
  /** Kills the program; who waits is not kept waiting for its end. */
  readonly signal: AbortSignal | null;
  /** Absent: it lives where we do. */
  readonly place?: LaunchPlace;
}

/** @returns the exit code @throws RuntimeError when it could not be started, SyscallError */
export async function launch(request: LaunchRequest): Promise<number> {
  const { trampoline, words, environment, streams, changes, place } = request;
  using pipes = openPipes(request.signal);
  const plan = compileLaunch(request);
  const slots: Record<string, number | readonly string[]> = {
    args: words,
    env: environment,
    stdin: streams[0],
    stdout: streams[1],
    stderr: streams[2],
  };
  for (const [index, change] of changes.entries()) {
    if (change.change === "attach") slots[`tree${index}`] = change.tree;
  }
  if (place !== undefined) Object.assign(slots, placeSlots(place, pipes));
  let encoded = encodePlan(plan, { slotBytes: 0 });
  const missing = fillSlots(encoded, slots);
  if (missing > 0) {
    encoded = encodePlan(plan, { slotBytes: missing * 2 + 64 });
    fillSlots(encoded, slots);
  }
  const pid = trampoline.clone({
    arguments: cloneArguments(place?.join.unified ?? null),
    plan: encoded,
    report: pipes.reportWriter,
  });
  pipes.closeChildEnds();
  if (place !== undefined) letGo(pid, place, pipes);
  const message = await readMessage(pipes);
  if (message === null) return await ended(pid, request);
  reap(pid);
  const step = plan.steps[message.step];
  const why = step === undefined ? `step ${message.step}` : stepFailure(step, message.error);
  throw new RuntimeError("failed", `failed to start ${words[0] ?? ""}: ${why}`);
}

function cloneArguments(unified: number | null): Uint8Array<ArrayBuffer> {
  const args = allocate(88);
  const view = new DataView(args.buffer);
  const into = unified === null ? 0n : CLONE_INTO_CGROUP;
  view.setBigUint64(0, BigInt(namespaceFlags.mount) | into, true);
  view.setBigUint64(32, SIGCHLD, true);
  view.setBigUint64(80, BigInt(unified ?? 0), true);
  return args;
}

function placeSlots(place: LaunchPlace, pipes: BirthPipes): Record<string, number> {
  const { join, network, kept } = place;
  const slots: Record<string, number> = { go: pipes.goReader, goWriter: pipes.goWriter };
  for (const [index, fd] of join.tasks.entries()) slots[`task${index}`] = fd;
  for (const [index, fd] of kept.entries()) slots[`kept${index}`] = fd;
  if (network !== null) Object.assign(slots, { network: network.descriptor, home: network.home });
  return slots;
}

/** @throws what `prepare` throws; the child has ended then */
function letGo(pid: number, { prepare }: LaunchPlace, { goWriter }: BirthPipes): void {
  try {
    prepare(pid);
  } catch (thrown) {
    // Our own child, not reaped: the number is nobody else's.
    process.kill(pid, "SIGKILL");
    reap(pid);
    throw thrown;
  }
  attempt("write", goWriter, allocate(1), 1);
}

/** Our own child, which nobody else waits for. @throws the signal's reason */
async function ended(
  pid: number,
  { look, signal }: Pick<LaunchRequest, "look" | "signal">,
): Promise<number> {
  let pauseMs = 1;
  for (;;) {
    const end = waitPid(pid, { noHang: true });
    look();
    if (end !== null) return exitCodeOf(end);
    if (signal?.aborted === true) {
      // Not reaped, so the number is nobody else's.
      process.kill(pid, "SIGKILL");
      void reapInTime(pid);
      throw signal.reason;
    }
    await Bun.sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 1.5, LONGEST_LOOK_MS);
  }
}

/**
 * Pure: slots "args", "env", "stdin", "stdout", "stderr", and "tree<index>" of each change that attaches; with a place
 * "go", "goWriter", "task<index>", "kept<index>", "network" and "home".
 */
export function compileLaunch({
  words,
  folder,
  changes,
  place,
}: Pick<LaunchRequest, "words" | "folder" | "changes" | "place">): Plan {
  const writer = new PlanWriter();
  writer.control("defaultSignals", [], "every signal acts as by default");
  writer.call("umask", [0], "make folders with exact modes");
  if (place !== undefined) writeArrival(writer, place);
  // As a slave: what the host unmounts goes here as well, and nothing that happens here is seen there.
  const slave = [{ text: "none" }, { text: "/" }, { text: "none" }, MS_REC | MS_SLAVE, 0];
  writer.call("mount", slave, "mounts that change here change nowhere else");
  for (const [index, change] of changes.entries()) writeChange(writer, index, change);
  writer.call("chdir", [{ text: folder }], "go to the bundle");
  for (const [fd, slot] of ["stdin", "stdout", "stderr"].entries()) {
    writer.call("dup3", [{ slot }, fd, 0], `standard stream ${fd}`);
  }
  writer.call("umask", [DEFAULT_UMASK], "the usual umask");
  const close = [3, 0xffff_ffff, CLOSE_RANGE_CLOEXEC];
  writer.call("close_range", close, "no descriptor but 0, 1, 2 outlives execve");
  if (place !== undefined) writeDeparture(writer, place);
  const none = { bytes: new Uint8Array(8) };
  writer.call("rt_sigprocmask", [SIG_SETMASK, none, 0, 8], "let signals in");
  const program = words[0] ?? "";
  writer.call("execve", [{ text: program }, { slot: "args" }, { slot: "env" }], program, {
    context: `exec: ${JSON.stringify(program)}`,
  });
  return writer.finish();
}

function writeArrival(writer: PlanWriter, { join, cgroupNamespace, network }: LaunchPlace): void {
  writer.call("close", [{ slot: "goWriter" }], "close the parent's end of the barrier");
  writeCgroupJoin(writer, join.tasks.length);
  if (cgroupNamespace) {
    writer.call("unshare", [namespaceFlags.cgroup], "a cgroup namespace rooted here");
  }
  const sysctls = Object.entries(network?.sysctls ?? {});
  if (sysctls.length === 0) return;
  writer.call("setns", [{ slot: "network" }, namespaceFlags.network], "visit its network");
  writer.call("openat", [AT_FDCWD, { text: "/proc" }, O_PATH | O_DIRECTORY, 0], "open /proc", {
    result: "proc",
  });
  for (const [key, value] of sysctls) writeSysctl(writer, key, value);
  writer.call("setns", [{ slot: "home" }, namespaceFlags.network], "come home");
}

function writeDeparture(writer: PlanWriter, { kept }: LaunchPlace): void {
  for (const index of kept.keys()) {
    writer.call("fcntl", [{ slot: `kept${index}` }, F_SETFD, 0], "but what the program is given");
  }
  const byte = { area: "go", sizeBytes: 8 };
  writer.call("read", [{ slot: "go" }, byte, 1], "wait until the parent built the network", {
    result: "went",
  });
  const wanted = [{ register: "went" }, 1, errnoOf("ECANCELED")];
  writer.control("requireEqual", wanted, "the parent wants this to go on");
}

function writeChange(writer: PlanWriter, index: number, change: MountChange): void {
  const { path } = change;
  switch (change.change) {
    case "attach": {
      const to = [AT_FDCWD, { text: path }, MOVE_MOUNT_F_EMPTY_PATH];
      const args = [{ slot: `tree${index}` }, { text: "" }, ...to];
      writer.call("move_mount", args, `attach a tree at ${path}`);
      return;
    }
    case "hide":
      writer.call("umount2", [{ text: path }, MNT_DETACH], `take ${path} out of sight`, {
        allow: ["EINVAL", "ENOENT"],
      });
      return;
    case "open": {
      const flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
      const options = { text: PASSAGE_OPTIONS };
      const args = [{ text: "tmpfs" }, { text: path }, { text: "tmpfs" }, flags, options];
      writer.call("mount", args, `lay a folder over ${path}`);
      for (const folder of change.folders) {
        writer.call("mkdirat", [AT_FDCWD, { text: folder }, 0o711], `make ${folder}`);
      }
    }
  }
}
