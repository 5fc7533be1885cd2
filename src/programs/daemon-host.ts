/** The daemon's dealings with its host: one engine a data root, systemd's sockets, the socket's group. */
import { chownSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { unavailable } from "#base";
import { attempt, cstring } from "#linux/ffi";

const LOCK_EX = 2;
const LOCK_NB = 4;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const CLOCK_MONOTONIC = 1;
const MSG_NOSIGNAL = 0x4000;
/** Between fork and exec of a program on a busy machine. */
const LOCK_PATIENCE_MS = 1000;
const LOCK_LOOK_MS = 10;
/** A manager that is busy ending everything still answers at once. */
const SYSTEMD_PATIENCE_MS = 5000;
/** Where systemd's descriptors begin. */
const LISTEN_FDS_START = 3;

/**
 * Takes a folder for this process, until it ends. The kernel lets go of the lock with the process, so nothing is
 * left to clean up after a crash.
 * @throws EngineError "unavailable" when another engine has it
 */
export async function lockFolder(folder: string, what: string): Promise<void> {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  // Stays open, and with it the lock, as long as the process lives.
  const fd = openSync(join(folder, "daemon.lock"), "a", 0o600);
  // One that was killed while it started a program has left the lock to that program, for the moment it begins.
  for (const end = performance.now() + LOCK_PATIENCE_MS; ;) {
    if (attempt("flock", fd, LOCK_EX | LOCK_NB) >= 0) return;
    if (performance.now() > end) break;
    await Bun.sleep(LOCK_LOOK_MS);
  }
  throw unavailable(
    `another naru daemon uses the ${what} ${folder}: stop it, or choose another with --${what.replace(" ", "-")}`,
  );
}

/**
 * Whether this daemon's end is the machine's: its systemd is turning everything off. Whoever is no service of
 * systemd's, or gets no answer, takes it for an end of the daemon alone.
 */
export async function machineIsEnding(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<boolean> {
  const systemctl = Bun.which("systemctl", { PATH: environment["PATH"] ?? "" });
  if (environment["INVOCATION_ID"] === undefined || systemctl === null) return false;
  const asked = Bun.spawn([systemctl, "is-system-running"], {
    stdio: ["ignore", "pipe", "ignore"],
    timeout: SYSTEMD_PATIENCE_MS,
  });
  return (await asked.stdout.text()).trim() === "stopping";
}

export function writePidFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, `${process.pid}`, { mode: 0o644 });
}

/** Only if it is still ours. */
export function removePidFile(path: string): void {
  try {
    if (readFileSync(path, "utf8").trim() === String(process.pid)) rmSync(path);
  } catch {
    // It is gone already, or its folder is.
  }
}

/** A listening socket that was open before this process began. */
export type InheritedSocket =
  | { readonly fd: number; readonly network: "unix" }
  | { readonly fd: number; readonly network: "tcp"; readonly loopback: boolean };

/**
 * The listening sockets that systemd opened for this process; their numbers are not handed on.
 * @throws EngineError "unavailable" for one that nobody can connect to
 */
export function takeActivationSockets(): InheritedSocket[] {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  delete process.env["LISTEN_PID"];
  delete process.env["LISTEN_FDS"];
  delete process.env["LISTEN_FDNAMES"];
  if (pid !== String(process.pid) || count === undefined || !/^\d{1,3}$/.test(count)) return [];
  return Array.from({ length: Number(count) }, (_, index) => inherited(LISTEN_FDS_START + index));
}

function inherited(fd: number): InheritedSocket {
  const option = (name: number): number => {
    const [value, length] = [new Int32Array(new ArrayBuffer(4)), new Int32Array([4])];
    const done = attempt("getsockopt", fd, SOL_SOCKET, name, bytesOf(value), bytesOf(length));
    return done < 0 ? -1 : (value[0] ?? -1);
  };
  const family = option(SO_DOMAIN);
  if (option(SO_ACCEPTCONN) !== 1) {
    throw unavailable(`failed to listen on systemd activated file: fd ${fd}: nobody listens on it`);
  }
  if (family === AF_UNIX) return { fd, network: "unix" };
  if (family !== AF_INET && family !== AF_INET6) {
    throw unavailable(`failed to listen on systemd activated file: fd ${fd}: it is no TCP socket`);
  }
  const address = new Uint8Array(new ArrayBuffer(28));
  const length = new Int32Array([address.length]);
  attempt("getsockname", fd, address, bytesOf(length));
  const isLoopback6 = address.subarray(8, 23).every((byte) => byte === 0) && address[23] === 1;
  return { fd, network: "tcp", loopback: family === AF_INET ? address[4] === 127 : isLoopback6 };
}

const bytesOf = (words: Int32Array<ArrayBuffer>): Uint8Array => new Uint8Array(words.buffer);

/** Those that a host of the options means. @throws EngineError "unavailable" in Docker's words */
export function chooseSockets(
  sockets: readonly InheritedSocket[],
  asked: number | null,
): readonly InheritedSocket[] {
  if (sockets.length === 0) {
    throw unavailable(
      "no sockets found via socket activation: make sure the service was started by systemd",
    );
  }
  if (asked === null) return sockets;
  const chosen = sockets.filter(({ fd }) => fd === asked);
  if (chosen.length === 0) {
    throw unavailable("too few socket activated files passed in by systemd");
  }
  return chosen;
}

/** Tells systemd how it stands (`READY=1`, `STOPPING=1`); without systemd it does nothing. */
export function notifySystemd(state: string): void {
  const path = process.env["NOTIFY_SOCKET"];
  if (path === undefined || path === "") return;
  const address = socketAddress(path);
  const fd = attempt("socket", AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const message = cstring(state);
  attempt("sendto", fd, message, message.length - 1, MSG_NOSIGNAL, address, address.length);
  attempt("close", fd);
}

/** A reload begins; its end is `READY=1`. The clock is systemd's condition (Type=notify-reload). */
export function notifyReloading(): void {
  const time = new BigInt64Array(new ArrayBuffer(16));
  attempt("clock_gettime", CLOCK_MONOTONIC, new Uint8Array(time.buffer));
  const [seconds = 0n, nano = 0n] = time;
  notifySystemd(`RELOADING=1\nMONOTONIC_USEC=${seconds * 1_000_000n + nano / 1000n}`);
}

/** A path, or with "@" in front a name of the abstract kind. */
function socketAddress(path: string): Uint8Array {
  const name = cstring(path.startsWith("@") ? path.slice(1) : path);
  const isAbstract = path.startsWith("@");
  const address = new Uint8Array(new ArrayBuffer(2 + name.length));
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  // An abstract name begins with the NUL and has none at its end.
  address.set(isAbstract ? name.subarray(0, -1) : name, isAbstract ? 3 : 2);
  return address;
}

/** Gives a socket to a group; without a name to naru's or docker's, where there is one. */
export function giveToGroup(path: string, group: string | null): void {
  const groups = readGroups();
  const id = group === null ? (groups.get("naru") ?? groups.get("docker") ?? 0) : groups.get(group);
  const number = id ?? (/^\d{1,9}$/.test(group ?? "") ? Number(group) : null);
  if (number === null) throw unavailable(`group ${group} not found`);
  chownSync(path, 0, number);
}

function readGroups(): Map<string, number> {
  const groups = new Map<string, number>();
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [name = "", , id = ""] = line.split(":");
    if (/^\d+$/.test(id)) groups.set(name, Number(id));
  }
  return groups;
}
