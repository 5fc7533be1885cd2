/**
 * The resolver in every container of a user network, on 127.0.0.11: containers by name first, then the host's
 * resolvers. It lives in the supervisor, so names resolve while the daemon is away. See
 * docs/decisions/dns-is-redirected.md for why it does not simply listen on port 53.
 *
 * Every queue has a bound: a container that asks more than it may is refused, and takes nothing from the others.
 */
import type { Socket, TCPSocketListener, udp } from "bun";

import { sentenceOf, wrap } from "#base";
import { inNetworkNamespace } from "#linux/namespace";
import { openLibrary } from "#linux/nftables";

import type { ContainerDns } from "./container-dns.ts";
import { DnsNames } from "./names.ts";
import { CODE, encodeAnswers, encodeCode, parseQuery, type Query, truncated } from "./packet.ts";
import { askUpstream, framed, MessageReader } from "./upstream.ts";

const ADDRESS = "127.0.0.11";
const PORT = 53;
/** As Docker's. */
const TTL_SECONDS = 600;
const PENDING_LIMIT = 512;
const PENDING_LIMIT_EACH = 128;
const CONNECTIONS_LIMIT_EACH = 32;
const CONNECTION_IDLE_SECONDS = 10;
const TCP_BYTES = 65_535;

type Protocol = "udp" | "tcp";

interface Open {
  dns: ContainerDns;
  readonly close: () => void;
}

interface Connection {
  readonly reader: MessageReader;
}

export class DnsServers {
  readonly #names = new DnsNames();
  readonly #open = new Map<string, Open>();
  readonly #pending = new Map<string, number>();
  #pendingTotal = 0;
  readonly #warn: (message: string) => void;

  constructor(warn: (message: string) => void) {
    this.#warn = warn;
  }

  /**
   * Starts to answer in a container. Its loopback link is up, and nobody in there runs yet.
   * @throws EngineError when there is no place for it
   */
  open(id: string, request: { networkNamespace: number; dns: ContainerDns }): void {
    const { networkNamespace, dns } = request;
    this.close(id);
    if (dns.networks.length === 0) return;
    try {
      this.#open.set(id, { dns, close: this.#listen(id, networkNamespace) });
    } catch (cause) {
      throw wrap("failed to set up the container's resolver", cause);
    }
    this.#names.set(id, dns);
  }

  /** Other networks, names or servers than before. */
  update(id: string, dns: ContainerDns): void {
    const open = this.#open.get(id);
    if (open === undefined) return;
    open.dns = dns;
    this.#names.set(id, dns);
  }

  isOpen(id: string): boolean {
    return this.#open.has(id);
  }

  close(id: string): void {
    this.#names.delete(id);
    this.#open.get(id)?.close();
    this.#open.delete(id);
  }

  #listen(id: string, networkNamespace: number): () => void {
    const open = (port: number) =>
      inNetworkNamespace(networkNamespace, () => this.#openSockets(id, port));
    using library = inNetworkNamespace(networkNamespace, openLibrary);
    const sockets = open(library === null ? PORT : 0);
    try {
      library?.apply(redirect(sockets));
      return sockets.close;
    } catch (cause) {
      sockets.close();
      this.#warn(`nftables in ${id}: ${sentenceOf(cause)}`);
      // Without a redirect the port itself is taken: then nobody else in there can have it.
      return open(PORT).close;
    }
  }

  /** Bun opens both at once, before the call returns: that is what makes this right inside a namespace. */
  #openSockets(id: string, port: number): Sockets {
    const connections = new Set<Socket<Connection>>();
    const tcp = this.#openTcp(id, port, connections);
    let udp: udp.Socket<"buffer"> | null = null;
    let isClosed = false;
    const opening = Bun.udpSocket({
      hostname: ADDRESS,
      port,
      socket: {
        data: (socket, bytes, peerPort, peer) => {
          this.#answer(
            id,
            new Uint8Array(bytes),
            "udp",
            (answer) => void socket.send(answer, peerPort, peer),
          );
        },
        error: () => undefined,
      },
    });
    opening.then(
      (socket) => {
        udp = socket;
        if (isClosed) socket.close();
      },
      (cause: unknown) => this.#warn(`the resolver of ${id}: ${sentenceOf(cause)}`),
    );
    const settled = Bun.peek(opening);
    if (settled instanceof Promise) throw new Error("a datagram socket was not opened at once");
    return {
      udpPort: settled.port,
      tcpPort: tcp.port,
      close: () => {
        isClosed = true;
        udp?.close();
        tcp.stop(true);
      },
    };
  }

  #openTcp(
    id: string,
    port: number,
    connections: Set<Socket<Connection>>,
  ): TCPSocketListener<Connection> {
    return Bun.listen<Connection>({
      hostname: ADDRESS,
      port,
      socket: {
        open: (socket) => {
          if (connections.size >= CONNECTIONS_LIMIT_EACH) {
            socket.terminate();
            return;
          }
          connections.add(socket);
          socket.timeout(CONNECTION_IDLE_SECONDS);
          const reply = (answer: Uint8Array) => {
            // What a client does not read is not kept: it is cut off.
            const bytes = framed(answer);
            if (socket.write(bytes) < bytes.length) socket.terminate();
          };
          socket.data = {
            reader: new MessageReader((message) => this.#answer(id, message.slice(), "tcp", reply)),
          };
        },
        data: (socket, bytes) => {
          socket.timeout(CONNECTION_IDLE_SECONDS);
          socket.data?.reader.push(bytes);
        },
        timeout: (socket) => socket.terminate(),
        close: (socket) => void connections.delete(socket),
        error: () => undefined,
      },
    });
  }

  #answer(
    id: string,
    message: Uint8Array,
    protocol: Protocol,
    reply: (answer: Uint8Array) => void,
  ): void {
    const query = parseQuery(message);
    if (query === null) return;
    if ("code" in query) {
      reply(encodeCode(query, query.code));
      return;
    }
    if (query.edns !== null && query.edns > 0) {
      reply(encodeCode(query, CODE.badVersion));
      return;
    }
    const answers = this.#names.answer(id, query);
    if (answers !== null) {
      const limitBytes = protocol === "udp" ? query.udpBytes : TCP_BYTES;
      reply(encodeAnswers(query, { answers, ttlSeconds: TTL_SECONDS, limitBytes }));
      return;
    }
    this.#forward({ id, query, message, protocol, reply }).catch((cause: unknown) => {
      this.#warn(`a question of ${id} was not passed on: ${sentenceOf(cause)}`);
    });
  }

  async #forward(request: {
    id: string;
    query: Query;
    message: Uint8Array;
    protocol: Protocol;
    reply: (answer: Uint8Array) => void;
  }): Promise<void> {
    const { id, query, message, protocol, reply } = request;
    const servers = this.#open.get(id)?.dns.servers ?? [];
    const mine = this.#pending.get(id) ?? 0;
    if (servers.length === 0) {
      reply(encodeCode(query, CODE.serverFailure));
      return;
    }
    if (mine >= PENDING_LIMIT_EACH || this.#pendingTotal >= PENDING_LIMIT) {
      reply(encodeCode(query, CODE.refused));
      return;
    }
    this.#pending.set(id, mine + 1);
    this.#pendingTotal += 1;
    try {
      const answer = await askUpstream({ query, message, servers, protocol });
      // Meanwhile the container may have ended, and its sockets with it.
      if (!this.#open.has(id)) return;
      if (answer === null) reply(encodeCode(query, CODE.serverFailure));
      else if (protocol === "udp" && answer.length > query.udpBytes) {
        reply(truncated(query, answer));
      } else reply(answer);
    } finally {
      this.#pendingTotal -= 1;
      const left = (this.#pending.get(id) ?? 1) - 1;
      if (left === 0) this.#pending.delete(id);
      else this.#pending.set(id, left);
    }
  }
}

interface Sockets {
  readonly udpPort: number;
  readonly tcpPort: number;
  readonly close: () => void;
}

/** Questions to port 53 of our address go to our sockets; port 53 itself stays free for whoever wants it. */
const redirect = ({ udpPort, tcpPort }: Sockets): string[] => [
  "table ip naru_dns",
  "delete table ip naru_dns",
  "table ip naru_dns { chain output { type nat hook output priority -100; " +
    `ip daddr ${ADDRESS} udp dport ${PORT} dnat to ${ADDRESS}:${udpPort}; ` +
    `ip daddr ${ADDRESS} tcp dport ${PORT} dnat to ${ADDRESS}:${tcpPort}; }; }`,
];
