/**
 * Asking a resolver of the host's: every question from a socket, and so a port, of its own and under an id of its own,
 * so that nobody who sees neither can slip in an answer. A server that is silent, fails or refuses is followed by the
 * next. Bytes are passed on as they are: whatever extension a client uses, it and the server agree on it.
 */
import type { Socket } from "bun";

import { CODE, codeOf, isAnswerTo, type Query, withId } from "./packet.ts";

const PORT = 53;
const SERVER_TIMEOUT_MS = 2000;
/** Servers that are tried for one question, as in resolv.conf(5). */
const SERVERS_LIMIT = 3;
const MESSAGE_LIMIT_BYTES = 65_535;

export interface UpstreamRequest {
  readonly query: Query;
  readonly message: Uint8Array;
  readonly servers: readonly string[];
  readonly protocol: "udp" | "tcp";
  /** Not 53: for tests. */
  readonly port?: number;
  readonly timeoutMs?: number;
}

/** The answer under the client's id; null when no server gave one. */
export async function askUpstream(request: UpstreamRequest): Promise<Uint8Array | null> {
  const { query, message, servers, protocol } = request;
  let last: Uint8Array | null = null;
  for (const server of servers.slice(0, SERVERS_LIMIT)) {
    const id = crypto.getRandomValues(new Uint16Array(1))[0] ?? 0;
    const ask = protocol === "udp" ? askByUdp : askByTcp;
    const answer = await ask({ ...request, server, id, message: withId(message, id) });
    if (answer === null || !isAnswerTo(query, answer, id)) continue;
    last = withId(answer, query.id);
    const code = codeOf(answer);
    if (code !== CODE.serverFailure && code !== CODE.refused) return last;
  }
  return last;
}

interface Question extends UpstreamRequest {
  readonly server: string;
  readonly id: number;
}

/** null after the time-out, or when nobody listens there. */
async function askByUdp(question: Question): Promise<Uint8Array | null> {
  const { server, message, query, id, port = PORT } = question;
  const { promise, resolve } = Promise.withResolvers<Uint8Array | null>();
  const timer = setTimeout(() => resolve(null), question.timeoutMs ?? SERVER_TIMEOUT_MS);
  try {
    // Connected: the kernel drops what comes from anyone else.
    const socket = await Bun.udpSocket({
      connect: { hostname: server, port },
      socket: {
        data: (_, bytes) => {
          // What does not fit the question may be a forgery: the true answer may still come.
          if (isAnswerTo(query, bytes, id)) resolve(new Uint8Array(bytes));
        },
        error: () => resolve(null),
      },
    });
    try {
      socket.send(message);
      return await promise;
    } finally {
      socket.close();
    }
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

async function askByTcp(question: Question): Promise<Uint8Array | null> {
  const { server, message, port = PORT } = question;
  const { promise, resolve } = Promise.withResolvers<Uint8Array | null>();
  const timer = setTimeout(() => resolve(null), question.timeoutMs ?? SERVER_TIMEOUT_MS);
  const received = new MessageReader((whole) => resolve(whole));
  let socket: Socket | null = null;
  try {
    const connecting = Bun.connect({
      hostname: server,
      port,
      socket: {
        open: (opened) => void opened.write(framed(message)),
        data: (_, bytes) => received.push(bytes),
        close: () => resolve(null),
        error: () => resolve(null),
        connectError: () => resolve(null),
      },
    });
    connecting.then(
      (opened) => {
        socket = opened;
      },
      () => resolve(null),
    );
    const answer = await promise;
    // One that is still being connected is closed when it is.
    connecting.then((opened) => opened.terminate()).catch(() => undefined);
    return answer;
  } finally {
    clearTimeout(timer);
    (socket as Socket | null)?.terminate();
  }
}

/** A message as TCP carries it: two bytes of length before it. */
export function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(message.length + 2);
  new DataView(bytes.buffer).setUint16(0, message.length);
  bytes.set(message, 2);
  return bytes;
}

/** Messages out of a stream; never holds more than one of the largest. */
export class MessageReader {
  readonly #onMessage: (message: Uint8Array) => void;
  #buffered: Uint8Array = new Uint8Array(0);

  constructor(onMessage: (message: Uint8Array) => void) {
    this.#onMessage = onMessage;
  }

  push(bytes: Uint8Array): void {
    let all = new Uint8Array(this.#buffered.length + bytes.length);
    all.set(this.#buffered);
    all.set(bytes, this.#buffered.length);
    while (all.length >= 2) {
      const length = ((all[0] ?? 0) << 8) | (all[1] ?? 0);
      if (all.length < length + 2) break;
      this.#onMessage(all.subarray(2, length + 2));
      all = all.subarray(length + 2);
    }
    this.#buffered = all.slice(0, MESSAGE_LIMIT_BYTES + 2);
  }
}
