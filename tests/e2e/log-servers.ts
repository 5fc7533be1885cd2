/** Log servers for tests: each keeps what it is sent, and can be awaited, stalled and stopped. */
import { closeSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { gunzipSync, inflateSync } from "node:zlib";

import { decodeMulti } from "@msgpack/msgpack";

import { addressOf, allocate, attempt, checked } from "../../src/linux/ffi/index.ts";

/** Everything a server received so far, and how to wait for more. */
export class Received<T> {
  readonly items: T[] = [];
  #wake: (() => void)[] = [];

  push(...items: T[]): void {
    this.items.push(...items);
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Resolves when what was received satisfies `wanted`. */
  async until(
    wanted: (items: readonly T[]) => boolean,
    timeoutMs = 250_000,
  ): Promise<readonly T[]> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`not received in time: ${JSON.stringify(this.items.slice(-5))}`));
    }, timeoutMs);
    try {
      while (!wanted(this.items)) {
        await Promise.race([
          new Promise<void>((resolve) => this.#wake.push(resolve)),
          late.promise,
        ]);
      }
      return this.items;
    } finally {
      clearTimeout(timer);
    }
  }
}

export interface StreamServer<T> extends AsyncDisposable {
  readonly port: number;
  readonly received: Received<T>;
  /** Reads nothing (true), or goes on. */
  stall(isStalled: boolean): void;
}

interface StreamOptions<T> {
  /** Splits what came into whole items and the rest. */
  readonly parse: (bytes: Buffer) => { items: T[]; rest: Buffer };
  readonly answer?: (item: T, socket: Socket) => void;
  readonly port?: number;
  readonly path?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
}

export async function startStream<T>(options: StreamOptions<T>): Promise<StreamServer<T>> {
  const received = new Received<T>();
  const sockets = new Set<Socket>();
  let isStalled = false;
  const serve = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    if (isStalled) socket.pause();
    let rest: Buffer = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      const parsed = options.parse(Buffer.concat([rest, chunk]));
      rest = parsed.rest;
      for (const item of parsed.items) options.answer?.(item, socket);
      received.push(...parsed.items);
    });
  };
  const server: Server =
    options.tls === undefined ? createServer(serve) : createTlsServer(options.tls, serve);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    if (options.path !== undefined) server.listen(options.path, resolve);
    else server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    received,
    stall: (now) => {
      isStalled = now;
      for (const socket of sockets) {
        if (now) socket.pause();
        else socket.resume();
      }
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** Lines, without their newlines, as latin1: every byte is one character. */
export const lines = (bytes: Buffer): { items: string[]; rest: Buffer } => {
  const end = bytes.lastIndexOf(0x0a) + 1;
  const items = bytes.subarray(0, end).toString("latin1").split("\n").slice(0, -1);
  return { items, rest: Buffer.from(bytes.subarray(end)) };
};

/** Messages that end in a zero byte. */
export const zeroTerminated = (bytes: Buffer): { items: string[]; rest: Buffer } => {
  const end = bytes.lastIndexOf(0) + 1;
  const items = bytes.subarray(0, end).toString("utf8").split("\0").slice(0, -1);
  return { items, rest: Buffer.from(bytes.subarray(end)) };
};

/** Fluentd's forward messages. */
export const forwarded = (bytes: Buffer): { items: unknown[][]; rest: Buffer } => {
  const items: unknown[][] = [];
  try {
    for (const item of decodeMulti(bytes)) items.push(item as unknown[]);
    return { items, rest: Buffer.alloc(0) };
  } catch {
    return { items: [], rest: bytes }; // the last one is not whole yet: all of them again, with more
  }
};

/** GELF by UDP: puts chunks together and unpacks. */
export async function startGelfUdp() {
  const received = new Received<Record<string, unknown>>();
  const chunks = new Map<string, Buffer[]>();
  const unpack = (bytes: Buffer) => {
    const plain =
      bytes[0] === 0x1f ? gunzipSync(bytes) : bytes[0] === 0x78 ? inflateSync(bytes) : bytes;
    received.push(JSON.parse(plain.toString("utf8")));
  };
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data: (_, datagram) => {
        const bytes = Buffer.from(datagram);
        if (bytes[0] !== 0x1e || bytes[1] !== 0x0f) {
          unpack(bytes);
          return;
        }
        const id = bytes.toString("hex", 2, 10);
        const parts = chunks.get(id) ?? [];
        chunks.set(id, parts);
        parts[bytes[10] ?? 0] = bytes.subarray(12);
        if (parts.filter(Boolean).length === bytes[11]) unpack(Buffer.concat(parts));
      },
    },
  });
  return { port: socket.port, received, [Symbol.dispose]: () => socket.close() };
}

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_FLAGS = 0o2004000;
const LOOK_MS = 5;

/** A Unix datagram socket, as syslog's and journald's: also what comes as a descriptor. */
export function startUnixDatagrams(path: string) {
  const received = new Received<Buffer>();
  const descriptor = checked("socket", path, AF_UNIX, SOCK_DGRAM | SOCK_FLAGS, 0);
  const address = allocate(110);
  address[0] = AF_UNIX;
  address.set(Buffer.from(path), 2);
  rmSync(path, { force: true });
  checked("bind", path, descriptor, address, 2 + path.length + 1);
  const buffer = allocate(256 * 1024);
  const control = allocate(64);
  const vector = allocate(16);
  const message = allocate(56);
  const take = (): boolean => {
    new DataView(vector.buffer).setBigUint64(0, addressOf(buffer), true);
    new DataView(vector.buffer).setBigUint64(8, BigInt(buffer.length), true);
    const view = new DataView(message.buffer);
    view.setBigUint64(16, addressOf(vector), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(32, addressOf(control), true);
    view.setBigUint64(40, BigInt(control.length), true);
    const count = attempt("recvmsg", descriptor, message, 0);
    if (count < 0) return false;
    if (view.getBigUint64(40, true) < 20n) {
      received.push(Buffer.from(buffer.slice(0, count)));
      return true;
    }
    const passed = new DataView(control.buffer).getInt32(16, true);
    received.push(readFileSync(`/proc/self/fd/${passed}`));
    closeSync(passed);
    return true;
  };
  const timer = setInterval(() => {
    while (take());
  }, LOOK_MS);
  return {
    received,
    [Symbol.dispose]: () => {
      clearInterval(timer);
      closeSync(descriptor);
      rmSync(path, { force: true });
    },
  };
}

/** The fields of one entry of journald's native protocol. */
export function journalFields(entry: Buffer): Record<string, string> {
  const fields: Record<string, string> = {};
  for (let at = 0; at < entry.length;) {
    const end = entry.indexOf(0x0a, at);
    const line = entry.toString("latin1", at, end);
    const equals = line.indexOf("=");
    if (equals >= 0) {
      fields[line.slice(0, equals)] = line.slice(equals + 1);
      at = end + 1;
    } else {
      const length = Number(entry.readBigUInt64LE(end + 1));
      fields[line] = entry.toString("latin1", end + 9, end + 9 + length);
      at = end + 9 + length + 1;
    }
  }
  return fields;
}
