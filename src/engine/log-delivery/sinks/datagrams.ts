/** Datagrams to a Unix socket: syslog's and journald's. Through system calls, since Bun has no such socket. */
import { addressOf, allocate, attempt, checked, errnoNumbers, SyscallError } from "#linux/ffi";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const SUN_PATH_BYTES = 108;
/** A full queue is looked at again after this: a datagram socket cannot be waited for by its sender. */
const FULL_WAIT_MS = 5;

export class UnixDatagrams {
  readonly #descriptor: number;

  /** @throws SyscallError when nobody listens there */
  constructor(path: string) {
    const name = new TextEncoder().encode(path);
    if (name.length >= SUN_PATH_BYTES) throw new Error(`dial unixgram ${path}: name too long`);
    const address = allocate(2 + SUN_PATH_BYTES);
    address[0] = AF_UNIX;
    address.set(name, 2);
    const flags = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    this.#descriptor = checked("socket", "unixgram", AF_UNIX, flags, 0);
    const failed = attempt("connect", this.#descriptor, address, 2 + name.length + 1);
    if (failed >= 0) return;
    this.close();
    throw new SyscallError("connect", path, -failed);
  }

  /** Waits while the receiver's queue is full. @returns false when it is too large for one. @throws SyscallError */
  async send(bytes: Uint8Array): Promise<boolean> {
    const stable = allocate(bytes.length);
    stable.set(bytes);
    const send = () =>
      attempt("sendto", this.#descriptor, stable, bytes.length, MSG_NOSIGNAL, null, 0);
    return await this.#sent(send);
  }

  /** A descriptor alone, and what it holds is the message. @throws SyscallError */
  async sendDescriptor(descriptor: number): Promise<void> {
    const control = allocate(24);
    const view = new DataView(control.buffer);
    view.setBigUint64(0, 20n, true);
    view.setInt32(8, SOL_SOCKET, true);
    view.setInt32(12, SCM_RIGHTS, true);
    view.setInt32(16, descriptor, true);
    const message = allocate(56);
    const fields = new DataView(message.buffer);
    fields.setBigUint64(32, addressOf(control), true);
    fields.setBigUint64(40, BigInt(control.length), true);
    await this.#sent(() => attempt("sendmsg", this.#descriptor, message, MSG_NOSIGNAL));
    control.fill(0); // reachable until here
  }

  close(): void {
    attempt("close", this.#descriptor);
  }

  async #sent(send: () => number): Promise<boolean> {
    for (;;) {
      const result = send();
      if (result >= 0) return true;
      if (result === -errnoNumbers.EMSGSIZE || result === -errnoNumbers.ENOBUFS) return false;
      if (result !== -errnoNumbers.EAGAIN && result !== -errnoNumbers.EINTR) {
        throw new SyscallError("send", "unixgram", -result);
      }
      await Bun.sleep(FULL_WAIT_MS);
    }
  }
}
