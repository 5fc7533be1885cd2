/**
 * Since when a client listens that connected, said hello with a ping, and asks for nothing but the events.
 *
 * The Dev Containers CLI starts `docker events` and, without waiting for it, `docker run`; then it waits for the
 * start event for ever. On a busy machine this engine has started the container before the first of the two, which
 * is connected already, has come to its question. To a client that has asked for nothing yet, all that happened since
 * its hello is new: nothing of it can be the work of an earlier request of its own.
 */
import type { Socket } from "node:net";

/** A connection that lay idle for longer belongs to a pool: its client may have asked over others meanwhile. */
const HELLO_LIMIT_MS = 2000;

const hellos = new WeakMap<Socket, number>();

/** Called for every request, before it is answered. */
export function noteRequest(socket: Socket, path: string): void {
  if (path === "/_ping") {
    if (!hellos.has(socket)) hellos.set(socket, Date.now());
  } else if (path !== "/events") hellos.set(socket, 0);
}

/** Milliseconds since 1970, told once; null when this connection began otherwise, or too long ago. */
export function takeHello(socket: Socket): number | null {
  const atMs = hellos.get(socket) ?? 0;
  hellos.set(socket, 0);
  return Date.now() - atMs < HELLO_LIMIT_MS ? atMs : null;
}
