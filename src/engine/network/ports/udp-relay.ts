/**
 * UDP between the families: from an IPv6 address of the host to a container's IPv4 address, or the other way. Each client gets a socket towards the
 * container, so that answers find their way back; a client that is silent for a while loses it.
 */
import { createSocket, type Socket } from "node:dgram";

import type { Relay, RelayRequest } from "./relay.ts";

/** Clients of one published port at a time; the one silent for longest makes room for a new one. */
const SESSION_LIMIT = 1024;
/** How long a silent client is remembered: what Docker's proxy uses. */
const SESSION_IDLE_MS = 90_000;
const SWEEP_INTERVAL_MS = 15_000;

interface Session {
  readonly socket: Socket;
  lastUsedAt: number;
}

/** @throws the platform's error, `code` "EADDRINUSE" when the port is taken */
export async function openUdpRelay(request: RelayRequest): Promise<Relay> {
  const { hostAddress, hostPort } = request;
  // Not Bun.udpSocket: it cannot be told to leave the IPv4 side of the port to others.
  const server = createSocket({ type: typeOf(hostAddress), ipv6Only: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.bind({ port: hostPort, address: hostAddress, exclusive: true }, resolve);
  try {
    await promise;
  } catch (thrown) {
    server.close();
    throw thrown;
  }
  server.off("error", reject);
  // An answer to a client that is gone: datagrams may be lost.
  server.on("error", () => undefined);
  return serve(server, request);
}

const typeOf = (address: string): "udp4" | "udp6" => (address.includes(":") ? "udp6" : "udp4");

function serve(server: Socket, { targetAddress, targetPort }: RelayRequest): Relay {
  /** By client, the most silent first. */
  const sessions = new Map<string, Session>();
  const end = (client: string): void => {
    sessions.get(client)?.socket.close();
    sessions.delete(client);
  };
  const sweep = setInterval(() => {
    const oldest = performance.now() - SESSION_IDLE_MS;
    for (const [client, { lastUsedAt }] of sessions) if (lastUsedAt < oldest) end(client);
  }, SWEEP_INTERVAL_MS);
  sweep.unref();

  server.on("message", (bytes, { address, port }) => {
    const client = `${address} ${port}`;
    let session = sessions.get(client);
    if (session) {
      sessions.delete(client);
    } else {
      const [mostSilent] = sessions.keys();
      if (sessions.size >= SESSION_LIMIT && mostSilent !== undefined) end(mostSilent);
      const socket = createSocket(typeOf(targetAddress));
      session = { socket, lastUsedAt: 0 };
      socket.on("error", () => end(client));
      socket.on("message", (answer, from) => {
        if (from.address === targetAddress) server.send(answer, port, address);
      });
    }
    session.lastUsedAt = performance.now();
    sessions.set(client, session);
    session.socket.send(bytes, targetPort, targetAddress);
  });
  return {
    close: () => {
      clearInterval(sweep);
      for (const client of sessions.keys()) end(client);
      server.close();
    },
  };
}
