/**
 * SCMP_ACT_NOTIFY: another program decides about the calls that a profile names. The child loads its filter, which gives
 * it a descriptor of such calls; this side takes it and sends it to the profile's listener, with the container
 * process' state; then the child goes on.
 * Spec: OCI runtime specification 1.2, config-linux.md "Seccomp" and "The Container Process State".
 */
import { invalid, sentenceOf } from "#base";
import { addressOf, allocate, checked, cstring } from "#linux/ffi";
import { closeFd, FileDescriptor } from "#linux/path";
import { pidfdGetfd } from "#linux/process";
import type { RuntimeSpec, SeccompSpec } from "#oci";

import { RuntimeError } from "../driver.ts";

const NOTIFY = "SCMP_ACT_NOTIFY";
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** sun_path, with its NUL. */
const PATH_LIMIT_BYTES = 108;
/** What a plan still does between its filter and its program, before anybody could answer for it. */
const OWN_CALLS = new Set([
  "write",
  "read",
  "capset",
  "prctl",
  "clone",
  "setsid",
  "ioctl",
  "rt_sigprocmask",
]);

/** Whether a profile leaves calls to a listener. */
export const asksListener = (seccomp: SeccompSpec | undefined): boolean =>
  seccomp?.syscalls.some(({ action }) => action === NOTIFY) ?? false;

/** @throws EngineError "invalid" in runc's words for a profile that no listener could ever serve */
export function checkListener(seccomp: SeccompSpec | undefined): void {
  if (seccomp === undefined) return;
  if (seccomp.defaultAction === NOTIFY) {
    throw invalid("SCMP_ACT_NOTIFY cannot be used as default action");
  }
  if (!asksListener(seccomp)) return;
  for (const { action, names, args = [] } of seccomp.syscalls) {
    // With conditions it may be about other calls than the runtime's own.
    const own = action === NOTIFY && names.find((name) => OWN_CALLS.has(name));
    if (own && (args.length === 0 || own === "write" || own === "read")) {
      throw invalid(`SCMP_ACT_NOTIFY cannot be used for the ${own} syscall`);
    }
  }
  const { listenerPath = "" } = seccomp;
  if (listenerPath === "") throw invalid("seccomp listenerPath is not set");
  if (!listenerPath.startsWith("/") || Buffer.byteLength(listenerPath) >= PATH_LIMIT_BYTES) {
    throw invalid(`invalid seccomp listenerPath: ${listenerPath}`);
  }
}

export interface ListenerHandover {
  readonly id: string;
  readonly spec: RuntimeSpec;
  readonly scratch: string;
  readonly status: "creating" | "running";
  /** Init of the container, for its state. */
  readonly containerPid: number;
  /** The process whose filter it is. */
  readonly pid: number;
  readonly pidfd: number;
  /** The number of the filter's descriptor in it. */
  readonly descriptor: number;
}

/** Gives the filter's descriptor to the profile's listener. @throws RuntimeError when it is not there */
export function handToListener(handover: ListenerHandover): void {
  const { spec, pidfd, descriptor } = handover;
  const path = spec.linux.seccomp?.listenerPath ?? "";
  try {
    using listener = new FileDescriptor(pidfdGetfd(pidfd, descriptor));
    using socket = new FileDescriptor(connectTo(path));
    send(socket.fd, stateOf(handover), listener.fd);
  } catch (cause) {
    const said = `failed to connect with seccomp listener "${path}": ${sentenceOf(cause)}`;
    throw new RuntimeError("failed", said, { cause });
  }
}

function stateOf({ id, spec, scratch, status, containerPid, pid }: ListenerHandover): string {
  const { ociVersion, annotations = {}, linux } = spec;
  return JSON.stringify({
    ociVersion,
    fds: ["seccompFd"],
    pid,
    metadata: linux.seccomp?.listenerMetadata ?? "",
    state: { ociVersion, id, status, pid: containerPid, bundle: scratch, annotations },
  });
}

function connectTo(path: string): number {
  // A listener that takes no connection must not keep everybody else waiting.
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const socket = checked("socket", path, AF_UNIX, type, 0);
  const name = cstring(path);
  const address = allocate(2 + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  try {
    checked("connect", path, socket, address, address.length);
  } catch (thrown) {
    closeFd(socket);
    throw thrown;
  }
  return socket;
}

function send(socket: number, text: string, descriptor: number): void {
  const bytes = allocate(Buffer.byteLength(text));
  bytes.set(Buffer.from(text));
  // cmsghdr: length (8 bytes), level, type, then the descriptor.
  const control = allocate(24);
  const header = new DataView(control.buffer);
  header.setBigUint64(0, 20n, true);
  header.setInt32(8, SOL_SOCKET, true);
  header.setInt32(12, SCM_RIGHTS, true);
  header.setInt32(16, descriptor, true);
  const vector = words(addressOf(bytes), BigInt(bytes.length));
  const message = words(0n, 0n, addressOf(vector), 1n, addressOf(control), 24n, 0n);
  const sent = checked("sendmsg", "seccomp listener", socket, message, MSG_NOSIGNAL);
  if (sent < bytes.length) throw new Error("the listener did not take the container's state");
}

/** A C struct of 8-byte words; what it points to must stay in a `const` of the caller. */
function words(...values: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const memory = allocate(values.length * 8);
  const view = new DataView(memory.buffer);
  for (const [index, value] of values.entries()) view.setBigUint64(index * 8, value, true);
  return memory;
}
