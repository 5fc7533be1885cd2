/**
 * Hijacked connections: after one HTTP exchange the socket carries a process's streams.
 *
 *   with `Connection: Upgrade` and `Upgrade: tcp`   101 UPGRADED, then raw bytes both ways
 *   without (older clients, curl)                   200 OK without a length, then raw bytes to the client
 *
 * A client that shuts down its half has sent end of file; its other half still receives.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

/** The head that gives the socket over to raw bytes. */
export function hijackedHead(answer: {
  readonly upgraded: boolean;
  readonly protocol?: string;
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
}): string {
  const { upgraded, protocol = "tcp", contentType, headers = {} } = answer;
  const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const start = upgraded ? "HTTP/1.1 101 UPGRADED\r\n" : "HTTP/1.1 200 OK\r\n";
  const end = upgraded
    ? `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`
    : "Connection: close\r\n";
  return `${start}Content-Type: ${contentType}\r\n${end}${extra.join("")}\r\n`;
}

/** A whole answer for a socket that node's server has given away: an upgrade that is refused. */
export function plainAnswer(answer: {
  readonly status: number;
  readonly reason: string;
  readonly contentType: string;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}): string {
  const { status, reason, contentType, body, headers = {} } = answer;
  const extra = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = Buffer.byteLength(body);
  return (
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: ${contentType}\r\nContent-Length: ${length}\r\n` +
    `Connection: close\r\n${extra.join("")}\r\n${body}`
  );
}

/** The protocol a client wants to switch to, or null. */
export function upgradeOf(request: IncomingMessage): string | null {
  const { connection, upgrade } = request.headers;
  if (upgrade === undefined || connection === undefined) return null;
  return /(^|,)\s*upgrade\s*(,|$)/i.test(connection) ? upgrade : null;
}

/** Bytes that came with the request are put back in front of what the socket brings. */
export function returnHead(socket: Socket, head: Uint8Array): void {
  if (head.length > 0) socket.unshift(head);
}
