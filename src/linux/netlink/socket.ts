/**
 * A netlink socket: requests out, acknowledgements and dumps in, synchronously. The kernel handles a request
 * inside the system call that sends it, so an answer is there at once; the receive time-out only bounds what
 * should never happen.
 */
import { allocate, attempt, checked, SyscallError } from "#linux/ffi";

import {
  attributesIn,
  HEADER_BYTES,
  messagesIn,
  MessageWriter,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  readText,
  type ReceivedMessage,
  viewOf,
} from "./message.ts";

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NLMSGERR_ATTR_MSG = 1;

/** How long an answer may take: a netlink request can wait for the lock of a busy kernel, not for ever. */
const RECEIVE_TIMEOUT_SECONDS = 30;
/** One send: thousands of bytes below the kernel's default socket buffer. */
const BATCH_LIMIT_BYTES = 32 * 1024;
/** The kernel's dumps use at most 32 KiB a datagram. */
const RECEIVE_BYTES = 64 * 1024;
/** A dump that changed while it was read is read again, this often. */
const DUMP_ATTEMPTS = 20;

/** A refused request: `link add naru0: file exists`, with the kernel's own explanation where it gives one. */
export class NetlinkError extends SyscallError {
  /** The kernel's sentence (extended acknowledgement), or null. */
  readonly explanation: string | null;

  constructor(operation: string, subject: string, errno: number, explanation: string | null) {
    super(operation, subject, errno);
    this.name = "NetlinkError";
    this.explanation = explanation;
    if (explanation) this.message += ` (${explanation})`;
  }
}

/** What an acknowledgement is for. */
export interface Operation {
  readonly name: string;
  readonly subject: string;
}

export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  readonly #writer = new MessageWriter(BATCH_LIMIT_BYTES);
  readonly #receiveBuffer = allocate(RECEIVE_BYTES);
  readonly #pending = new Map<number, Operation>();
  #sequence = 0;
  #closed = false;

  /** @param protocol NETLINK_ROUTE is 0, NETLINK_NETFILTER 12 */
  constructor(protocol: number) {
    this.#fd = checked("socket", "netlink", AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
    const one = new Uint8Array(Int32Array.of(1).buffer);
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK]) {
      attempt("setsockopt", this.#fd, SOL_NETLINK, option, one, one.length);
    }
    const time = new Uint8Array(BigInt64Array.of(BigInt(RECEIVE_TIMEOUT_SECONDS), 0n).buffer);
    checked("setsockopt", "netlink", this.#fd, SOL_SOCKET, SO_RCVTIMEO, time, time.length);
  }

  get fd(): number {
    return this.#fd;
  }

  /** Adds one request to the batch that `flush` sends. */
  queue(
    operation: Operation,
    header: { type: number; flags: number },
    write: (writer: MessageWriter) => void,
  ): void {
    const sequence = this.#nextSequence();
    const flags = NLM_F_REQUEST | NLM_F_ACK | header.flags;
    this.#writer.message({ type: header.type, flags, sequence }, write);
    this.#pending.set(sequence, operation);
  }

  /**
   * Sends what was queued in one system call and reads every acknowledgement.
   * @throws NetlinkError of the first request that was refused; the others were carried out all the same
   */
  flush(): void {
    if (this.#pending.size === 0) return;
    let refused: NetlinkError | null = null;
    try {
      this.#send();
      while (this.#pending.size > 0) {
        for (const message of this.#receive()) {
          const error = this.#acknowledge(message);
          refused ??= error;
        }
      }
    } finally {
      this.#pending.clear();
      this.#writer.clear();
    }
    if (refused) throw refused;
  }

  /** Everything of one kind. A dump the kernel marks as torn by a change is read again. */
  dump(
    operation: Operation,
    type: number,
    write: (writer: MessageWriter) => void,
  ): ReceivedMessage[] {
    for (let turn = 0; turn < DUMP_ATTEMPTS; turn += 1) {
      const whole = this.#dumpOnce(operation, type, write);
      if (whole) return whole;
    }
    throw new NetlinkError(operation.name, operation.subject, 4, "the table changes all the time");
  }

  /** One request that is answered by one message. */
  get(operation: Operation, type: number, write: (writer: MessageWriter) => void): ReceivedMessage {
    const sequence = this.#nextSequence();
    this.#writer.message({ type, flags: NLM_F_REQUEST, sequence }, write);
    this.#send();
    this.#writer.clear();
    for (;;) {
      for (const message of this.#receive()) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_ERROR) throw errorOf(operation, message);
        return message;
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    attempt("close", this.#fd);
  }

  #dumpOnce(
    operation: Operation,
    type: number,
    write: (writer: MessageWriter) => void,
  ): ReceivedMessage[] | null {
    const sequence = this.#nextSequence();
    this.#writer.message({ type, flags: NLM_F_REQUEST | NLM_F_DUMP, sequence }, write);
    this.#send();
    this.#writer.clear();
    const found: ReceivedMessage[] = [];
    let torn = false;
    for (;;) {
      for (const message of this.#receive()) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) torn = true;
        if (message.type === NLMSG_ERROR) throw errorOf(operation, message);
        if (message.type === NLMSG_DONE) return torn ? null : found;
        found.push({ ...message, body: message.body.slice() });
      }
    }
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence % 0x7fff_ffff) + 1;
    return this.#sequence;
  }

  #send(): void {
    const { bytes, length } = this.#writer;
    checked("sendto", "netlink", this.#fd, bytes, length, 0, null, 0);
  }

  #receive(): Iterable<ReceivedMessage> {
    const buffer = this.#receiveBuffer;
    const length = checked("recvfrom", "netlink", this.#fd, buffer, RECEIVE_BYTES, 0, null, null);
    return messagesIn(buffer.subarray(0, length));
  }

  #acknowledge(message: ReceivedMessage): NetlinkError | null {
    const operation = this.#pending.get(message.sequence);
    if (!operation || message.type !== NLMSG_ERROR) return null;
    this.#pending.delete(message.sequence);
    return viewOf(message.body).getInt32(0, true) === 0 ? null : errorOf(operation, message);
  }
}

/** struct nlmsgerr: the negative error number, the request (its header only when capped), attributes. */
function errorOf(operation: Operation, { flags, body }: ReceivedMessage): NetlinkError {
  const view = viewOf(body);
  let explanation: string | null = null;
  if ((flags & NLM_F_ACK_TLVS) !== 0) {
    const echoed = (flags & NLM_F_CAPPED) === 0 ? view.getUint32(4, true) : HEADER_BYTES;
    explanation = readText(attributesIn(body, 4 + echoed).get(NLMSGERR_ATTR_MSG));
  }
  return new NetlinkError(
    operation.name,
    operation.subject,
    -view.getInt32(0, true),
    explanation || null,
  );
}
