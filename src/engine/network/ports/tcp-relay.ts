/**
 * TCP from an IPv6 address of the host to a container's IPv4 address: bytes both ways, each direction ended by
 * itself (a client may send its request, close its side and still read the answer), and neither side read
 * faster than the other takes.
 */
import type { Socket, TCPSocketListener } from "bun";

import type { Relay, RelayRequest } from "./relay.ts";

/** Connections of one published port; more are refused, as a full listen queue would. */
const CONNECTION_LIMIT = 4096;

/** One end of a relayed connection, and what waits to be written to it. */
interface End {
  socket: Socket<End> | null;
  readonly waiting: Uint8Array[];
  /** The other end has sent all it will: close this one's write side when nothing waits. */
  finishing: boolean;
  /** It has sent all it will itself. */
  ended: boolean;
  peer: End | null;
}

const newEnd = (): End => ({
  socket: null,
  waiting: [],
  finishing: false,
  ended: false,
  peer: null,
});

/** @throws the platform's error, `code` "EADDRINUSE" when the port is taken */
export function openTcpRelay(request: RelayRequest): Relay {
  const { hostAddress, hostPort, targetAddress, targetPort } = request;
  const open = new Set<End>();
  const socket = {
    ...relaying(open),
    open: (accepted: Socket<End>) => {
      if (open.size >= CONNECTION_LIMIT) return accepted.terminate();
      const [client, target] = [newEnd(), newEnd()];
      [client.peer, target.peer] = [target, client];
      client.socket = accepted;
      accepted.data = client;
      open.add(client);
      accepted.pause();
      connect({ client, target, hostname: targetAddress, port: targetPort });
    },
  };
  // Bun takes `ipv6Only` also here, its types know it only for connections.
  const ipv6Only = { ipv6Only: true };
  const listener: TCPSocketListener<End> = Bun.listen<End>({
    ...ipv6Only,
    hostname: hostAddress,
    port: hostPort,
    exclusive: true,
    allowHalfOpen: true,
    socket,
  });
  return {
    close: () => {
      listener.stop(true);
      for (const client of open) abandon(client);
    },
  };
}

function connect(request: { client: End; target: End; hostname: string; port: number }): void {
  const { client, target, hostname, port } = request;
  const connecting = Bun.connect<End>({
    hostname,
    port,
    allowHalfOpen: true,
    data: target,
    socket: {
      ...relaying(new Set()),
      open: (socket) => {
        target.socket = socket;
        if (client.socket === null) return socket.terminate();
        client.socket.resume();
        flush(target);
      },
    },
  });
  // A container that does not listen: the client sees what it would see of a program that went away.
  connecting.catch(() => abandon(client));
}

const relaying = (open: Set<End>) => ({
  binaryType: "uint8array" as const,
  data: (socket: Socket<End>, bytes: Uint8Array) => {
    const { peer } = socket.data;
    if (peer) forward(socket, peer, bytes);
  },
  drain: (socket: Socket<End>) => flush(socket.data),
  end: (socket: Socket<End>) => {
    socket.data.ended = true;
    finish(socket.data.peer);
    flush(socket.data);
  },
  error: (socket: Socket<End>) => abandon(socket.data),
  close: (socket: Socket<End>, error?: Error) => {
    const end = socket.data;
    // Sockets refused in `open` were never given an end.
    if (!end) return;
    open.delete(end);
    end.socket = null;
    end.waiting.length = 0;
    if (error) abandon(end);
    else finish(end.peer);
  },
});

function forward(from: Socket<End>, to: End, bytes: Uint8Array): void {
  if (to.socket !== null && to.waiting.length === 0) {
    const written = to.socket.write(bytes);
    if (written === bytes.length || written < 0) return;
    to.waiting.push(bytes.slice(written));
  } else {
    to.waiting.push(bytes.slice());
  }
  from.pause();
}

function flush(end: End): void {
  const { socket, waiting } = end;
  if (socket === null) return;
  for (;;) {
    const [next] = waiting;
    if (next === undefined) break;
    const written = socket.write(next);
    if (written < 0) return;
    if (written < next.length) {
      waiting[0] = next.subarray(written);
      return;
    }
    waiting.shift();
  }
  if (!end.finishing) end.peer?.socket?.resume();
  else if (end.ended) socket.end();
  else socket.shutdown();
}

function finish(end: End | null): void {
  if (end === null || end.finishing) return;
  end.finishing = true;
  flush(end);
}

/** A broken connection is broken for both sides. */
function abandon(end: End): void {
  for (const side of [end, end.peer]) {
    const socket = side?.socket;
    if (!side || !socket) continue;
    side.socket = null;
    side.waiting.length = 0;
    socket.terminate();
  }
}
