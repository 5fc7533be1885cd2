/** The sockets on which this process listens, whoever opened them. */
import { readdirSync } from "node:fs";

import { allocate, attempt } from "#linux/ffi";

const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;
/** Linux's own limit where nobody changed it (net.core.somaxconn). */
const BACKLOG = 4096;

export const listeningSockets = (): number[] =>
  readdirSync("/proc/self/fd").map(Number).filter(isListening);

/**
 * So many clients may connect at one instant: the runtime asks for 512, and a client of Go's that finds no room is
 * refused with EAGAIN. To be called after a listen. Source: listen(2), which may be called again.
 */
export function widenBacklogs(): void {
  for (const fd of listeningSockets()) attempt("listen", fd, BACKLOG);
}

function isListening(fd: number): boolean {
  const value = allocate(4);
  const length = allocate(4);
  new DataView(length.buffer).setUint32(0, value.length, true);
  if (attempt("getsockopt", fd, SOL_SOCKET, SO_ACCEPTCONN, value, length) < 0) return false;
  return new DataView(value.buffer).getInt32(0, true) === 1;
}
