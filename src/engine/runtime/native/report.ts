/** What a child tells while it runs its plan: fixed-size messages on a pipe (struct message of trampoline.ts). */
import { read } from "node:fs";

import { allocate, attempt } from "#linux/ffi";

import { REGISTER_COUNT } from "./plan.ts";
import { MESSAGE_BYTES } from "./trampoline.ts";

export interface Message {
  readonly kind: number;
  readonly step: number;
  /** The error number, or the second child's pid. */
  readonly error: number;
  readonly registers: readonly number[];
}

const POLLIN = 1;
const POLLHUP = 0x10;
/** A birth is mostly over by then: waiting here costs no trip through the thread pool. */
const PATIENCE_MS = 2;

/** The next message; null when the pipe closed: the program runs, or the child was killed. */
export async function readMessage(fd: number): Promise<Message | null> {
  const buffer = allocate(MESSAGE_BYTES);
  const length = isReadable(fd)
    ? attempt("read", fd, buffer, buffer.length)
    : await later(fd, buffer);
  return length < MESSAGE_BYTES ? null : decode(buffer);
}

function isReadable(fd: number): boolean {
  const entry = allocate(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  const patience = allocate(16);
  new DataView(patience.buffer).setBigInt64(8, BigInt(PATIENCE_MS * 1_000_000), true);
  return (
    attempt("ppoll", entry, 1, patience, null, 0) > 0 &&
    (view.getInt16(6, true) & (POLLIN | POLLHUP)) !== 0
  );
}

const later = (fd: number, buffer: Uint8Array): Promise<number> =>
  new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.length, null, (error, length) =>
      error === null ? resolve(length) : reject(error),
    );
  });

function decode(buffer: Uint8Array<ArrayBuffer>): Message {
  const words = new BigInt64Array(buffer.buffer, 0, 3 + REGISTER_COUNT);
  const [kind = 0, step = 0, error = 0, ...registers] = Array.from(words, Number);
  return { kind, step, error, registers };
}
