/** How much may wait in the kernel of what a connection sends (socket(7)). */
import { allocate, attempt } from "#linux/ffi";

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;
/**
 * The kernel wakes a sender on a Unix socket when three quarters of the buffer have been read: of its usual 208 KiB
 * that is once for each piece of an archive, and both sides sleep in turn.
 */
const SEND_BUFFER_BYTES = 1024 * 1024;

/** As much as the host allows; that it allows less is no error. */
export function growSendBuffer(fd: number): void {
  const size = allocate(4);
  new DataView(size.buffer).setInt32(0, SEND_BUFFER_BYTES, true);
  // The first one is root's; for everyone else the host's limit counts.
  if (attempt("setsockopt", fd, SOL_SOCKET, SO_SNDBUFFORCE, size, 4) === 0) return;
  attempt("setsockopt", fd, SOL_SOCKET, SO_SNDBUF, size, 4);
}
