/**
 * How processes ended that others reap, on kernels whose pidfds do not keep it (before Linux 6.15): from the connector
 * that tells of every exit. A filter in the kernel lets only those pass that are followed, so nobody is woken and nothing
 * fills up: what has come is read when somebody asks.
 * Source: connector(7) of the kernel's documentation, linux/cn_proc.h; only root of the first user and pid namespace hears it.
 */
import { addressOf, allocate, attempt, checked } from "#linux/ffi";

const AF_NETLINK = 16;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const NETLINK_CONNECTOR = 11;
const CN_IDX_PROC = 1;
const CN_VAL_PROC = 1;
const PROC_CN_MCAST_LISTEN = 1;
const PROC_EVENT_EXIT = 0x8000_0000;
const NLMSG_DONE = 3;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const MSG_DONTWAIT = 0x40;
/** Behind the heads of netlink and connector: what, cpu, time, then pid, tgid, exit code. */
const WHAT_OFFSET = 36;
const PID_OFFSET = 52;
const CODE_OFFSET = 60;
const MESSAGE_BYTES = 256;
/** A filter has at most 4096 steps, two for each process. */
const FOLLOWED_LIMIT = 2000;
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ = 0x15;
const BPF_RET = 0x06;

export class ExitNews implements Disposable {
  readonly #socket: number;
  /** Wait statuses; null until one came. */
  readonly #followed = new Map<number, number | null>();
  readonly #buffer = allocate(MESSAGE_BYTES);

  /** @throws SyscallError where there is no connector */
  constructor() {
    const type = SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    this.#socket = checked("socket", "connector", AF_NETLINK, type, NETLINK_CONNECTOR);
    try {
      this.#filter();
      const address = allocate(12);
      const fields = new DataView(address.buffer);
      fields.setUint16(0, AF_NETLINK, true);
      fields.setUint32(8, CN_IDX_PROC, true);
      checked("bind", "connector", this.#socket, address, address.length);
      const message = listenMessage();
      checked("sendto", "connector", this.#socket, message, message.length, 0, null, 0);
    } catch (thrown) {
      attempt("close", this.#socket);
      throw thrown;
    }
  }

  /** Of a process that lives. Beyond a limit nothing is heard. */
  follow(pid: number): void {
    if (this.#followed.size >= FOLLOWED_LIMIT) return;
    this.#followed.set(pid, null);
    this.#filter();
  }

  get isEmpty(): boolean {
    return this.#followed.size === 0;
  }

  /** The wait status of a process that has ended; null while nothing is known, or where it is not followed. */
  statusOf(pid: number): number | null {
    this.#read();
    return this.#followed.get(pid) ?? null;
  }

  forget(pid: number): void {
    if (this.#followed.delete(pid)) this.#filter();
  }

  [Symbol.dispose](): void {
    attempt("close", this.#socket);
  }

  #read(): void {
    const view = new DataView(this.#buffer.buffer);
    for (;;) {
      const got = attempt(
        "recvfrom",
        this.#socket,
        this.#buffer,
        MESSAGE_BYTES,
        MSG_DONTWAIT,
        null,
        null,
      );
      // ENOBUFS: some were lost; those after them are there.
      if (got < 0 && got !== -105 && got !== -4) return;
      if (got < CODE_OFFSET + 4 || view.getUint32(WHAT_OFFSET, true) !== PROC_EVENT_EXIT) continue;
      const pid = view.getInt32(PID_OFFSET, true);
      if (this.#followed.has(pid)) this.#followed.set(pid, view.getInt32(CODE_OFFSET, true));
    }
  }

  /** Lets the exits of the followed pass. The kernel's filter reads words in the network's order. */
  #filter(): void {
    const swapped = (value: number) => {
      const word = new DataView(new ArrayBuffer(4));
      word.setUint32(0, value, true);
      return word.getUint32(0, false);
    };
    const steps: [code: number, yes: number, no: number, k: number][] = [
      [BPF_LD_W_ABS, 0, 0, WHAT_OFFSET],
      [BPF_JEQ, 1, 0, swapped(PROC_EVENT_EXIT)],
      [BPF_RET, 0, 0, 0],
      [BPF_LD_W_ABS, 0, 0, PID_OFFSET],
    ];
    for (const pid of this.#followed.keys()) {
      steps.push([BPF_JEQ, 0, 1, swapped(pid)], [BPF_RET, 0, 0, 0xffff_ffff]);
    }
    steps.push([BPF_RET, 0, 0, 0]);
    const program = allocate(steps.length * 8);
    const code = new DataView(program.buffer);
    for (const [index, [operation, yes, no, k]] of steps.entries()) {
      code.setUint16(index * 8, operation, true);
      code.setUint8(index * 8 + 2, yes);
      code.setUint8(index * 8 + 3, no);
      code.setUint32(index * 8 + 4, k, true);
    }
    const option = allocate(16);
    const fields = new DataView(option.buffer);
    fields.setUint16(0, steps.length, true);
    fields.setBigUint64(8, addressOf(program), true);
    checked("setsockopt", "connector", this.#socket, SOL_SOCKET, SO_ATTACH_FILTER, option, 16);
  }
}

/** Asks for the news: a netlink head, a connector head and one word. */
function listenMessage(): Uint8Array<ArrayBuffer> {
  const message = allocate(40);
  const fields = new DataView(message.buffer);
  fields.setUint32(0, message.length, true);
  fields.setUint16(4, NLMSG_DONE, true);
  fields.setUint32(16, CN_IDX_PROC, true);
  fields.setUint32(20, CN_VAL_PROC, true);
  fields.setUint16(32, 4, true);
  fields.setUint32(36, PROC_CN_MCAST_LISTEN, true);
  return message;
}
