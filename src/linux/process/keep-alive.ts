/**
 * Whether clients are still there is the kernel's to ask: a machine that lost power or network ends no connection.
 * Go's servers have it on every connection; the runtime's HTTP server has no word for it, but what a listening socket
 * has every accepted one inherits. Source: socket(7), tcp(7).
 */
import { allocate, attempt } from "#linux/ffi";

import { listeningSockets } from "./listening.ts";

const SOL_SOCKET = 1;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const AF_INET = 2;
const AF_INET6 = 10;
/** Go's: a client that is gone is known after two and a half minutes. */
const IDLE_SECONDS = 15;
const INTERVAL_SECONDS = 15;
const COUNT = 9;

/** Turns it on for this process' listening TCP sockets of a port. @returns how many there are */
export function keepListenersAlive(port: number): number {
  const found = listeningSockets().filter((fd) => portOf(fd) === port);
  for (const fd of found) keepSocketAlive(fd);
  return found.length;
}

/** The same for one socket, listening or not; nothing for what is none of TCP. */
export function keepSocketAlive(fd: number): void {
  for (const [level, name, value] of [
    [SOL_SOCKET, SO_KEEPALIVE, 1],
    [IPPROTO_TCP, TCP_KEEPIDLE, IDLE_SECONDS],
    [IPPROTO_TCP, TCP_KEEPINTVL, INTERVAL_SECONDS],
    [IPPROTO_TCP, TCP_KEEPCNT, COUNT],
  ] as const) {
    const word = allocate(4);
    new DataView(word.buffer).setInt32(0, value, true);
    attempt("setsockopt", fd, level, name, word, word.length);
  }
}

/** null for a socket that is none of TCP. */
function portOf(fd: number): number | null {
  const address = allocate(128);
  const length = allocate(4);
  new DataView(length.buffer).setUint32(0, address.length, true);
  if (attempt("getsockname", fd, address, length) < 0) return null;
  const view = new DataView(address.buffer);
  const family = view.getUint16(0, true);
  return family === AF_INET || family === AF_INET6 ? view.getUint16(2, false) : null;
}
