/**
 * Is the other machine still there? A client whose network or power is gone ends no connection: TCP alone would hold
 * its session, and the build that waits for its files, for a quarter of an hour or for ever. So it is asked (HTTP/2's
 * PING), which costs a healthy one 17 bytes. On a Unix socket the kernel tells.
 */
import type { Http2Session } from "node:http2";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";

export interface KeepAlive {
  readonly intervalMs: number;
  /** Without an answer for so long the connection is over: a slow line full of a build's files is slow to answer. */
  readonly limitMs: number;
}

const KEEP_ALIVE: KeepAlive = { intervalMs: 30_000, limitMs: 60_000 };

/**
 * Destroys the socket of whoever does not answer.
 * @param ask sends a ping. @returns false when none can be sent
 * @param limits given: asked on every kind of socket
 */
export function keepAlive(
  ask: (onAnswer: () => void) => boolean,
  socket: Duplex,
  limits?: KeepAlive,
): void {
  const isRemote = socket instanceof Socket && socket.remoteAddress !== undefined;
  if (limits === undefined && !isRemote) return;
  const { intervalMs, limitMs } = limits ?? KEEP_ALIVE;
  let askedAt: number | null = null;
  const timer = setInterval(() => {
    if (askedAt !== null) {
      if (performance.now() - askedAt >= limitMs) socket.destroy();
      return;
    }
    const isAsked = ask(() => {
      askedAt = null;
    });
    if (isAsked) askedAt = performance.now();
  }, intervalMs).unref();
  socket.once("close", () => clearInterval(timer));
}

/** Asks a session. @returns false when it cannot be asked */
export const pinged = (session: Http2Session, onAnswer: () => void): boolean =>
  !session.destroyed &&
  !session.closed &&
  session.ping((error) => {
    if (error === null) onAnswer();
  });
