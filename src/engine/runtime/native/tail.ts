/**
 * The end of every plan, births and execs alike: from the supervisor's powers to the container's process.
 * The order matters: what needs a power comes before it is given up, and the seccomp filter comes as late as
 * possible, so that a strict filter needs to allow little more than capset and execve.
 */
import { invalid, notImplemented } from "#base";
import { FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC } from "#linux/mount";
import { AT_FDCWD, O_DIRECTORY, O_PATH, O_WRONLY, S_IFDIR, S_IFMT } from "#linux/path";
import { RLIM_INFINITY, parseResourceName, resourceNumber } from "#linux/process";
import { capabilityMask, compileSeccomp, type SeccompFilter } from "#linux/security";
import type { ProcessSpec, SeccompSpec } from "#oci";

import { RuntimeError } from "../driver.ts";
import type { HostFacts, StdioShape } from "./facts.ts";
import { openHow, openStep, type Root, targetStep } from "./files.ts";
import { type Argument, errnoOf, type PlanWriter, type SlotValues } from "./plan.ts";
import { asksListener } from "./seccomp-agent.ts";

const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_KEEPCAPS = 8;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const SECCOMP_SET_MODE_FILTER = 1;
const CAPABILITY_VERSION_3 = 0x2008_0522;
const KEYCTL_JOIN_SESSION_KEYRING = 1;
const SIG_SETMASK = 2;
const TIOCSCTTY = 0x540e;
const CLOSE_RANGE_CLOEXEC = 4;
const CLONE_PARENT = 0x8000;
const SIGCHLD = 17;
const PATH_MAX = 4096;
const STATX_TYPE = 1;
const STATX_MODE_WORD = 24;
const DEFAULT_UMASK = 0o022;
// RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
const RESOLVE_PLAIN = 0x0f;
// RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_BENEATH: thread-self is a link.
const RESOLVE_OWN = 0x0b;

/** First steps of every child: nobody looks into it, nothing of the supervisor's habits remains. */
export function writeHead(writer: PlanWriter): void {
  const notDumpable = [PR_SET_DUMPABLE, 0, 0, 0, 0];
  writer.call("prctl", notDumpable, "hide from other processes");
  writer.call(
    "prctl",
    [PR_SET_PDEATHSIG, 9, 0, 0, 0],
    "die with the supervisor until the program runs",
  );
  writer.control("defaultSignals", [], "every signal acts as by default");
  writer.call("umask", [0], "make files with exact modes");
  writer.call("close", [{ slot: "goWriter" }], "close the parent's end of the barrier");
}

/**
 * Away from what is other processes', for a child that may wait for seconds, or be stuck for ever: what others close must
 * be closed, or the end of their streams would not be seen.
 * @param kept how many descriptors are kept: `gapSlots` tells which
 */
export function writeParting(writer: PlanWriter, kept: number | undefined): void {
  if (kept === undefined) return;
  for (let gap = 0; gap <= kept; gap += 1) {
    const range = [{ slot: `gap${gap}` }, { slot: `gapEnd${gap}` }, 0];
    writer.call("close_range", range, "close what is other processes'");
  }
}

/** Where nothing is: a range that is as good as none. */
const NOWHERE = 0x7fff_ffff;
const LAST_DESCRIPTOR = 0xffff_ffff;
const FIRST_DESCRIPTOR = 3;

/** The slots of the ranges between the descriptors that are kept. */
export function gapSlots(kept: readonly number[]): SlotValues {
  const slots: Record<string, number> = {};
  let from = FIRST_DESCRIPTOR;
  for (const [gap, descriptor] of kept.toSorted((one, other) => one - other).entries()) {
    const isEmpty = descriptor <= from;
    slots[`gap${gap}`] = isEmpty ? NOWHERE : from;
    slots[`gapEnd${gap}`] = isEmpty ? NOWHERE : descriptor - 1;
    from = Math.max(from, descriptor + 1);
  }
  slots[`gap${kept.length}`] = from;
  slots[`gapEnd${kept.length}`] = LAST_DESCRIPTOR;
  return slots;
}

/** Joins v1 cgroups: each file takes "0" for the writer itself. */
export function writeCgroupJoin(writer: PlanWriter, tasks: number): void {
  for (let index = 0; index < tasks; index += 1) {
    const context = "unable to apply cgroup configuration: failed to write 0 to tasks";
    writer.call(
      "write",
      [{ slot: `task${index}` }, { text: "0" }, 1],
      `join cgroup hierarchy ${index}`,
      { context },
    );
  }
}

export interface TailSteps {
  readonly facts: HostFacts;
  /** With uid, gids and HOME filled in. */
  readonly process: ProcessSpec;
  readonly seccomp: SeccompSpec | undefined;
  /** The root that the working directory is resolved below. */
  readonly root: Root;
  readonly stdio: StdioShape;
  /** A process in a joined pid namespace: it is cloned as late as possible, without power and without our memory. */
  readonly joinsPidNamespace: boolean;
  /** Make a working directory that is missing. */
  readonly makesDirectory: boolean;
}

/** Writes everything from the limits to execve. @throws EngineError */
export function writeTail(writer: PlanWriter, tail: TailSteps): void {
  const { process, joinsPidNamespace, stdio } = tail;
  if (process.args.length === 0) throw invalid("no command specified");
  if (process.selinuxLabel) throw notImplemented("the native runtime sets no SELinux label");
  const keyring = { allow: ["ENOSYS", "EPERM", "EACCES", "EDQUOT", "ENOKEY"] as const };
  writer.call(
    "keyctl",
    [KEYCTL_JOIN_SESSION_KEYRING, { slot: "keyring" }, 0, 0, 0],
    "a session keyring of the container's own",
    { allow: keyring.allow.filter((name) => name !== "ENOKEY") },
  );
  writeDirectory(writer, tail);
  if (!joinsPidNamespace && stdio.type === "terminal") writeSession(writer, true);
  writeStdio(writer, tail);
  if (process.apparmorProfile) writeProfile(writer, process.apparmorProfile);
  writeCredentials(writer, tail);
  if (!joinsPidNamespace && stdio.type === "pipes") writeSession(writer, false);
  writer.call("umask", [process.user.umask ?? DEFAULT_UMASK], "the program's umask");
  writer.call("prctl", [PR_SET_PDEATHSIG, 0, 0, 0, 0], "live on without the supervisor");
  const last = 0xffff_ffff;
  writer.call(
    "close_range",
    [3, last, CLOSE_RANGE_CLOEXEC],
    "no descriptor but 0, 1, 2 outlives execve",
  );
  // After everything that opens files: a small limit of descriptors must not stop the plan itself.
  writeLimits(writer, tail);
  if (joinsPidNamespace) {
    writer.control(
      "forget",
      [{ plan: "address" }, { plan: "length" }],
      "unmap the supervisor's memory",
    );
  } else unblockSignals(writer);
  writeConfinement(writer, tail);
  if (joinsPidNamespace) {
    const clone = [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0];
    writer.call("clone", clone, "enter the pid namespace", { result: "child" });
    writer.control("leaveIfParent", [{ register: "child" }], "leave the rest to the child");
    writeSession(writer, stdio.type === "terminal");
    unblockSignals(writer);
  }
  if (asksListener(tail.seccomp)) writeListenerBarrier(writer);
  writeProgram(writer, process);
}

/** From here on calls wait for the listener's word: it has to have the descriptor first. */
function writeListenerBarrier(writer: PlanWriter): void {
  writer.control("report", [], "tell the parent which descriptor the listener gets");
  const byte = { area: "go", sizeBytes: 8 };
  writer.call("read", [{ slot: "go" }, byte, 1], "wait until the listener has it", {
    result: "listened",
  });
  const wanted = [{ register: "listened" }, 1, errnoOf("ECANCELED")];
  writer.control("requireEqual", wanted, "the parent wants this to go on");
}

function unblockSignals(writer: PlanWriter): void {
  const none = { bytes: new Uint8Array(8) };
  writer.call("rt_sigprocmask", [SIG_SETMASK, none, 0, 8], "let signals in");
}

function writeSession(writer: PlanWriter, terminal: boolean): void {
  writer.call("setsid", [], "a session of its own");
  if (!terminal) return;
  const fd: Argument = { register: "slave" };
  writer.call("ioctl", [fd, TIOCSCTTY, 0], "the terminal becomes the controlling one");
}

function writeLimits(writer: PlanWriter, { process, facts }: TailSteps): void {
  for (const { type, soft, hard } of process.rlimits ?? []) {
    const name = parseResourceName(type);
    if (name === null) throw invalid(`invalid rlimit type: ${type}`);
    const ceiling = facts.canRaiseLimits
      ? RLIM_INFINITY
      : (facts.hardLimits.get(name) ?? RLIM_INFINITY);
    const clamp = (value: number) => {
      // -1, and everything that a double cannot hold exactly, is "unlimited".
      const limit = value < 0 || value > 2 ** 63 ? RLIM_INFINITY : BigInt(Math.trunc(value));
      return limit > ceiling ? ceiling : limit;
    };
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, clamp(soft), true);
    view.setBigUint64(8, clamp(hard), true);
    writer.call("prlimit64", [0, resourceNumber(name), { bytes }, 0], `limit ${type}`, {
      context: `error setting rlimit type ${resourceNumber(name)}`,
    });
  }
}

/** The working directory: resolved inside the root, never through a link of /proc, and proved to be inside. */
function writeDirectory(writer: PlanWriter, { process, root, makesDirectory }: TailSteps): void {
  const path = process.cwd || "/";
  // Only an exec's can be relative: create refuses a container's.
  if (!path.startsWith("/")) {
    throw new RuntimeError(
      "failed",
      "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown",
    );
  }
  const open = { root, path, flags: O_PATH | O_DIRECTORY, result: "cwd" };
  writer.within(`chdir to cwd (${JSON.stringify(path)}) set in config.json failed`, () => {
    if (makesDirectory) targetStep(writer, { root, path, directory: true, result: "cwd" });
    openStep(writer, open);
    writer.call("fchdir", [{ register: "cwd" }], `go to ${path}`);
    const name = { area: "cwd", sizeBytes: PATH_MAX };
    writer.call("getcwd", [name, PATH_MAX], "ask where that is");
  });
  writer.control(
    "requireWord",
    [{ area: "cwd", sizeBytes: PATH_MAX }, 0xff, 0x2f, errnoOf("ENOENT")],
    "the working directory is inside the root",
    {
      context:
        "current working directory is outside of container mount namespace root -- possible container breakout detected",
    },
  );
}

function writeStdio(writer: PlanWriter, { stdio, process }: TailSteps): void {
  const { uid } = process.user;
  const sources: Argument[] =
    stdio.type === "pipes"
      ? ["stdin", "stdout", "stderr"].map((slot) => ({ slot }))
      : Array.from({ length: 3 }, () => ({ register: "slave" }));
  for (const [fd, source] of sources.entries()) {
    writer.call("dup3", [source, fd, 0], `standard stream ${fd}`);
  }
  const given = stdio.type === "pipes" ? stdio.chown : [0];
  if (uid === 0) return;
  for (const fd of given) {
    // Without it /dev/stdout cannot be opened again by the user.
    writer.call("fchown", [fd, uid, 0xffff_ffff], `give standard stream ${fd} to uid ${uid}`, {
      allow: ["EINVAL", "EPERM", "EROFS"],
    });
  }
}

/**
 * The AppArmor profile that execve changes to. It is written into a procfs made for this alone: over the container's own
 * /proc something else could be mounted (CVE-2023-28642, CVE-2025-52881). The answer outlives the second clone of a
 * joined pid namespace, as every task's does.
 */
export function writeProfile(writer: PlanWriter, profile: string): void {
  const text = `exec ${profile}`;
  writer.within(`unable to apply apparmor profile: apparmor failed to apply profile`, () => {
    writer.call("fsopen", [{ text: "proc" }, FSOPEN_CLOEXEC], "configure a procfs", {
      result: "context",
    });
    const context = { register: "context" };
    writer.call("fsconfig", [context, FSCONFIG_CMD_CREATE, 0, 0, 0], "make it");
    writer.call("fsmount", [context, FSMOUNT_CLOEXEC, 0], "mount it nowhere", { result: "own" });
    const how = openHow(O_WRONLY, RESOLVE_OWN);
    const open = (path: string, allow: readonly "ENOENT"[]) =>
      writer.call("openat2", [{ register: "own" }, { text: path }, how, 24], `open ${path}`, {
        result: "profile",
        allow,
      });
    open("thread-self/attr/apparmor/exec", ["ENOENT"]);
    writer.ifFailed("profile", "this kernel has a file for AppArmor alone", () =>
      open("thread-self/attr/exec", []),
    );
    const args = [{ register: "profile" }, { text }, Buffer.byteLength(text)];
    writer.call("write", args, `AppArmor profile ${profile} from execve on`);
  });
}

function writeCredentials(writer: PlanWriter, { process, facts }: TailSteps): void {
  const { uid, gid, additionalGids = [] } = process.user;
  const bounding = capabilityMask(process.capabilities?.bounding ?? []);
  for (let bit = 0; bit <= facts.lastCapability; bit += 1) {
    if ((bounding & (1n << BigInt(bit))) !== 0n) continue;
    writer.call("prctl", [PR_CAPBSET_DROP, bit, 0, 0, 0], `drop capability ${bit} for ever`, {
      context: "unable to apply bounding set",
    });
  }
  writer.call("prctl", [PR_SET_KEEPCAPS, 1, 0, 0, 0], "keep capabilities while the user changes");
  const groups = new Uint8Array(Math.max(additionalGids.length, 1) * 4);
  const view = new DataView(groups.buffer);
  for (const [index, group] of additionalGids.entries()) view.setUint32(index * 4, group, true);
  writer.call("setgroups", [additionalGids.length, { bytes: groups }], "supplementary groups", {
    context: "unable to setup user: setgroups",
  });
  writer.call("setresgid", [gid, gid, gid], `become gid ${gid}`, {
    context: "unable to setup user: setgid",
  });
  writer.call("setresuid", [uid, uid, uid], `become uid ${uid}`, {
    context: "unable to setup user: setuid",
  });
  writer.call("prctl", [PR_SET_DUMPABLE, 0, 0, 0, 0], "hide again: new credentials undid it");
}

const filters = new WeakMap<SeccompFilter, Argument>();
const numbers = new WeakMap<SeccompFilter, number>();
let lastNumber = 0;

/** A number for each compiled filter: equal profiles, equal numbers. */
export function filterNumber(profile: SeccompSpec): number {
  const filter = compileSeccomp(profile);
  const number = numbers.get(filter) ?? (lastNumber += 1);
  numbers.set(filter, number);
  return number;
}

/** struct sock_fprog of a filter; the same filter is laid out from the same bytes each time. */
function filterArgument(filter: SeccompFilter): Argument {
  const known = filters.get(filter);
  if (known !== undefined) return known;
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint16(0, filter.program.length / 8, true);
  const argument = { bytes, pointers: [{ offset: 8, to: filter.program }] };
  filters.set(filter, argument);
  return argument;
}

function writeConfinement(writer: PlanWriter, { process, seccomp, facts }: TailSteps): void {
  const { capabilities, noNewPrivileges, user } = process;
  const filter = () => {
    if (seccomp === undefined) return;
    const compiled = compileSeccomp(seccomp);
    const args = [SECCOMP_SET_MODE_FILTER, compiled.flags, filterArgument(compiled)];
    writer.call("seccomp", args, "load the seccomp filter", {
      ...(asksListener(seccomp) ? { result: "listener" } : {}),
      context: "unable to init seccomp: error loading seccomp filter into kernel",
    });
  };
  const mask = (names: readonly string[] | undefined) =>
    capabilityMask(names ?? []) & facts.capabilities;
  const set = (sets: { effective: bigint; permitted: bigint; inheritable: bigint }, says: string) =>
    writer.call("capset", [capabilityHeader, { bytes: capabilityData(sets) }], says, {
      context: "unable to apply caps",
    });
  if (noNewPrivileges) {
    writer.call("prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0], "no program gains privileges");
  } else {
    if (seccomp !== undefined && user.uid !== 0) {
      const all = facts.capabilities;
      const sets = { effective: all, permitted: all, inheritable: 0n };
      set(sets, "take up what was kept, to load the filter");
    }
    filter();
  }
  const sets = {
    effective: mask(capabilities?.effective),
    permitted: mask(capabilities?.permitted),
    inheritable: mask(capabilities?.inheritable),
  };
  set(sets, "the program's capabilities");
  const ambient = mask(capabilities?.ambient) & sets.permitted & sets.inheritable;
  for (let bit = 0; bit <= facts.lastCapability; bit += 1) {
    if ((ambient & (1n << BigInt(bit))) === 0n) continue;
    const raise = [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0];
    writer.call("prctl", raise, `ambient capability ${bit}`, { context: "unable to apply caps" });
  }
  if (noNewPrivileges) filter();
}

const capabilityHeader: Argument = (() => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, CAPABILITY_VERSION_3, true);
  return { bytes };
})();

function capabilityData(sets: { effective: bigint; permitted: bigint; inheritable: bigint }) {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  for (const [index, mask] of [sets.effective, sets.permitted, sets.inheritable].entries()) {
    view.setUint32(index * 4, Number(mask & 0xffff_ffffn), true);
    view.setUint32(12 + index * 4, Number(mask >> 32n), true);
  }
  return bytes;
}

/** Tries the program where its name points to, else in each folder of PATH. */
function writeProgram(writer: PlanWriter, process: ProcessSpec): void {
  const [name = ""] = process.args;
  const run = (
    path: string,
    allow: readonly ("EACCES" | "ENOENT" | "ENOTDIR")[],
    context: string,
  ) =>
    writer.call("execve", [{ text: path }, { slot: "args" }, { slot: "env" }], `execute ${path}`, {
      allow,
      result: "executed",
      failure: "program",
      context,
    });
  if (!name.includes("/")) {
    const path = process.env.find((entry) => entry.startsWith("PATH="))?.slice(5) ?? "";
    for (const folder of path.split(":")) {
      const candidate = `${folder === "" ? "." : folder}/${name}`;
      run(candidate, ["ENOENT", "ENOTDIR", "EACCES"], `exec ${candidate}`);
    }
    writer.control("fail", [errnoOf("ENOENT")], "no folder of PATH has the program", {
      failure: "program",
      context: `exec: ${JSON.stringify(name)}: executable file not found in $PATH`,
    });
    return;
  }
  run(name, ["EACCES"], `exec: ${JSON.stringify(name)}: stat ${name}`);
  const area = { area: "statx", sizeBytes: 256 };
  writer.call("statx", [AT_FDCWD, { text: name }, 0, STATX_TYPE, area], `look at ${name}`, {
    allow: ["ENOENT", "EACCES", "ENOTDIR", "ELOOP"],
  });
  const options = { failure: "program", context: `exec: ${JSON.stringify(name)}` } as const;
  const mode = { ...area, offset: STATX_MODE_WORD };
  const type = [BigInt(S_IFMT) << 32n, BigInt(S_IFDIR) << 32n, errnoOf("EACCES")];
  writer.control("requireWord", [mode, ...type], `${name} is a directory`, options);
  writer.control("fail", [errnoOf("EACCES")], `${name} is a directory`, {
    failure: "program",
    context: `exec: ${JSON.stringify(name)}: is a directory`,
  });
}

/** Writes a kernel parameter of the container through its own bare /proc. */
export function writeSysctl(writer: PlanWriter, key: string, value: string): void {
  if (!/^[A-Za-z0-9_.\-/:]+$/.test(key) || key.includes("..")) {
    throw invalid(`invalid sysctl: ${key}`);
  }
  const path = `sys/${key.includes("/") ? key : key.replaceAll(".", "/")}`;
  const how = openHow(O_WRONLY, RESOLVE_PLAIN);
  writer.within(`open /proc/${path}`, () => {
    writer.call("openat2", [{ register: "proc" }, { text: path }, how, 24], `open /proc/${path}`, {
      result: "sysctl",
    });
  });
  const length = Buffer.byteLength(value);
  writer.within(`write sysctl key ${key}`, () =>
    writer.call("write", [{ register: "sysctl" }, { text: value }, length], `set ${key}`),
  );
}
