/**
 * The console socket of OCI runtimes: the runtime connects and sends the pty's master with SCM_RIGHTS.
 * The socket is bound through a descriptor of its folder, since sun_path holds only 108 bytes.
 * Source: runc, docs/terminals.md, "Detached New Terminal"; unix(7).
 */
import {
  addressOf,
  allocate,
  attempt,
  checked,
  cstring,
  errnoNumbers,
  SyscallError,
} from "#linux/ffi";
import { closeFd, O_CLOEXEC, O_DIRECTORY, O_PATH, openPath } from "#linux/path";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const MSG_DONTWAIT = 0x40;
const SCM_RIGHTS = 1;
const SOL_SOCKET = 1;
const NAME = "console.sock";

export interface ConsoleSocket extends Disposable {
  /** Relative to the folder: the runtime is started in it. */
  readonly name: string;
  /** The master, once the runtime has sent it; the caller's to close. @throws SyscallError */
  receive(): number | null;
}

/** @param folder an empty place of the driver's own for this process */
export function listenForConsole(folder: string): ConsoleSocket {
  const directory = openPath(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const listener = checked("socket", "console socket", AF_UNIX, type, 0);
  const name = `${NAME}-${crypto.randomUUID().slice(0, 8)}`;
  try {
    const path = cstring(`/proc/self/fd/${directory}/${name}`);
    const address = allocate(2 + path.length);
    new DataView(address.buffer).setUint16(0, AF_UNIX, true);
    address.set(path, 2);
    checked("bind", name, listener, address, address.length);
    checked("listen", name, listener, 1);
  } catch (thrown) {
    closeFd(listener);
    closeFd(directory);
    throw thrown;
  }
  let connection: number | null = null;
  return {
    name,
    receive() {
      connection ??= acceptFrom(listener);
      return connection === null ? null : receiveFrom(connection);
    },
    [Symbol.dispose]() {
      if (connection !== null) closeFd(connection);
      attempt("unlinkat", directory, cstring(name), 0);
      closeFd(listener);
      closeFd(directory);
    },
  };
}

/** A socket that is connected, or null. */
function acceptFrom(listener: number): number | null {
  const connection = attempt("accept4", listener, null, null, SOCK_CLOEXEC);
  if (connection === -errnoNumbers.EAGAIN) return null;
  if (connection < 0) throw new SyscallError("accept4", "console socket", -connection);
  return connection;
}

/** Null: it has not been sent yet, or never will be, which the runtime's own error tells. */
function receiveFrom(connection: number): number | null {
  const [bytes, control] = [allocate(4096), allocate(64)];
  const vector = struct(addressOf(bytes), 4096n);
  const message = struct(0n, 0n, addressOf(vector), 1n, addressOf(control), 64n, 0n);
  const length = attempt("recvmsg", connection, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (length <= 0) return null;
  // cmsghdr: length (8 bytes), level, type, then the descriptors.
  const view = new DataView(control.buffer);
  const isDescriptor =
    view.getInt32(8, true) === SOL_SOCKET && view.getInt32(12, true) === SCM_RIGHTS;
  return isDescriptor ? view.getInt32(16, true) : null;
}

/** A C struct of 8-byte words; what it points to must stay in a `const` of the caller. */
function struct(...words: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const memory = allocate(words.length * 8);
  const view = new DataView(memory.buffer);
  for (const [index, word] of words.entries()) view.setBigUint64(index * 8, word, true);
  return memory;
}
