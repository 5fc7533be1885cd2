/** What a child tells while it runs its plan: fixed-size messages on a pipe (struct message of trampoline.ts). */
import { allocate, attempt } from "#linux/ffi";

import type { BirthPipes } from "./nursery.ts";
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
/** A birth is mostly over by then; after it the loop goes on and looks now and then. */
const PATIENCE_MS = 4;
const LONGEST_LOOK_MS = 20;

/**
 * The next message; null when the pipe closed: the program runs, or the child was killed. No thread waits for it: a
 * mount can hang for ever, and the pool has few threads. @throws the reason of the birth's signal
 */
export async function readMessage({
  reportReader: fd,
  signal,
}: Pick<BirthPipes, "reportReader" | "signal">): Promise<Message | null> {
  const buffer = allocate(MESSAGE_BYTES);
  let pauseMs = 1;
  for (let readable = isReadable(fd, PATIENCE_MS); !readable; readable = isReadable(fd, 0)) {
    signal?.throwIfAborted();
    await Bun.sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 1.5, LONGEST_LOOK_MS);
  }
  const length = attempt("read", fd, buffer, buffer.length);
  return length < MESSAGE_BYTES ? null : decode(buffer);
}

/** Whether there is something to read, or nothing will come any more. */
export function isReadable(fd: number, patienceMs: number): boolean {
  const entry = allocate(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  const patience = allocate(16);
  new DataView(patience.buffer).setBigInt64(8, BigInt(patienceMs * 1_000_000), true);
  return (
    attempt("ppoll", entry, 1, patience, null, 0) > 0 &&
    (view.getInt16(6, true) & (POLLIN | POLLHUP)) !== 0
  );
}

function decode(buffer: Uint8Array<ArrayBuffer>): Message {
  const words = new BigInt64Array(buffer.buffer, 0, 3 + REGISTER_COUNT);
  const [kind = 0, step = 0, error = 0, ...registers] = Array.from(words, Number);
  return { kind, step, error, registers };
}
