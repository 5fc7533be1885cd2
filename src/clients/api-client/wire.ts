/**
 * One open socket, read by pulling: bytes that nobody has asked for yet are bounded, because the socket
 * is paused at a high-water mark. `Bun.connect` costs a third of what `node:http` costs at start-up.
 */
import { sentenceOf } from "#base";

import { endpointText, type Endpoint } from "./endpoint.ts";
import { ConnectionError } from "./errors.ts";
import { RECEIVE_HIGH_WATER_BYTES } from "./limits.ts";

/** A connection to a daemon. Closing twice does nothing. */
export interface Wire {
  /** The next bytes, or undefined when the other side has finished. @throws when the connection broke */
  read(): Promise<Uint8Array | undefined>;
  /** Gives bytes back: the next `read` returns them first. */
  unread(bytes: Uint8Array): void;
  /** Resolves when the kernel has taken all bytes. */
  write(bytes: Uint8Array | string): Promise<void>;
  /** A stream follows: lets more of it wait in the kernel, so that sender and reader do not wait for each other. */
  widen(): Promise<void>;
  /** Says that nothing more will be written (a TCP FIN); reading goes on. */
  finish(): void;
  close(): void;
  /** Whether the program has to live on for this connection: one that waits for its next use is no reason to. */
  hold(needed: boolean): void;
  /** False as soon as the other side has ended, or anything was received that nobody asked for. */
  readonly idle: boolean;
  /** True when bytes wait to be read. */
  readonly hasReceived: boolean;
}

interface State {
  readonly chunks: Uint8Array[];
  waitingBytes: number;
  paused: boolean;
  ended: boolean;
  failure: Error | undefined;
  reader: (() => void) | undefined;
  writer: (() => void) | undefined;
}

/** Opens a connection. @throws ConnectionError */
export async function openWire(endpoint: Endpoint): Promise<Wire> {
  if (endpoint.kind === "ssh") {
    const { openSshWire } = await import("./ssh-wire.ts");
    return openSshWire(endpoint);
  }
  const state: State = {
    chunks: [],
    waitingBytes: 0,
    paused: false,
    ended: false,
    failure: undefined,
    reader: undefined,
    writer: undefined,
  };
  const options = { allowHalfOpen: true, socket: handlersOf(state) };
  try {
    const socket =
      endpoint.kind === "unix"
        ? await Bun.connect({ unix: endpoint.path, ...options })
        : await connectTcp(endpoint, options);
    return wireOf(socket, state);
  } catch (cause) {
    throw connectionError(endpoint, cause);
  }
}

type Connectable = Extract<Endpoint, { kind: "tcp" }>;
type Options = { allowHalfOpen: boolean; socket: Bun.SocketHandler<undefined> };

async function connectTcp(endpoint: Connectable, options: Options): Promise<Bun.Socket> {
  const { hostname, port, tls } = endpoint;
  if (tls === undefined) return Bun.connect({ hostname, port, ...options });
  const { verify, ...material } = tls;
  const handshake = Promise.withResolvers<void>();
  const socket = await Bun.connect({
    hostname,
    port,
    tls: { ...material, rejectUnauthorized: verify, serverName: hostname },
    ...options,
    socket: {
      ...options.socket,
      handshake: (_socket, success, error) =>
        success
          ? handshake.resolve()
          : handshake.reject(error ?? new Error("TLS handshake failed")),
      close: (socket, error) => {
        handshake.reject(error ?? new Error("the connection closed during the TLS handshake"));
        return options.socket.close?.(socket, error);
      },
    },
  });
  await handshake.promise;
  return socket;
}

function handlersOf(state: State): Bun.SocketHandler<undefined> {
  const wake = () => {
    const { reader, writer } = state;
    state.reader = state.writer = undefined;
    reader?.();
    writer?.();
  };
  return {
    data(socket, data) {
      state.chunks.push(data);
      state.waitingBytes += data.length;
      if (state.waitingBytes > RECEIVE_HIGH_WATER_BYTES && !state.paused) {
        state.paused = true;
        socket.pause();
      }
      const { reader } = state;
      state.reader = undefined;
      reader?.();
    },
    drain() {
      const { writer } = state;
      state.writer = undefined;
      writer?.();
    },
    end() {
      state.ended = true;
      wake();
    },
    close(_socket, error) {
      state.ended = true;
      if (error !== undefined && error !== null) state.failure ??= error;
      wake();
    },
    error(_socket, error) {
      state.failure ??= error;
      wake();
    },
  };
}

function wireOf(socket: Bun.Socket, state: State): Wire {
  let closed = false;
  const broken = () => state.failure ?? new Error("the connection is closed");
  return {
    async read() {
      while (state.chunks.length === 0) {
        if (state.failure !== undefined) throw state.failure;
        if (state.ended || closed) return undefined;
        await new Promise<void>((resolve) => (state.reader = resolve));
      }
      const chunk = state.chunks.shift() as Uint8Array;
      state.waitingBytes -= chunk.length;
      if (state.paused && state.waitingBytes < RECEIVE_HIGH_WATER_BYTES / 2) {
        state.paused = false;
        socket.resume();
      }
      return chunk;
    },
    unread(bytes) {
      if (bytes.length === 0) return;
      state.chunks.unshift(bytes);
      state.waitingBytes += bytes.length;
    },
    async write(bytes) {
      let rest = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
      while (rest.length > 0) {
        if (state.failure !== undefined || closed) throw broken();
        const written = socket.write(rest);
        if (written < 0) throw broken();
        rest = rest.subarray(written);
        if (rest.length > 0) await new Promise<void>((resolve) => (state.writer = resolve));
      }
    },
    async widen() {
      if (closed) return;
      const { growSendBuffer } = await import("./send-buffer.ts");
      // Bun has it; its types do not.
      growSendBuffer((socket as Bun.Socket & { readonly fd: number }).fd);
    },
    finish() {
      if (!closed) socket.shutdown();
    },
    close() {
      if (closed) return;
      closed = true;
      socket.terminate();
      state.reader?.();
      state.writer?.();
    },
    hold(needed) {
      if (closed) return;
      if (needed) socket.ref();
      else socket.unref();
    },
    get hasReceived() {
      return state.chunks.length > 0;
    },
    get idle() {
      return !closed && !state.ended && state.failure === undefined && state.chunks.length === 0;
    },
  };
}

function connectionError(endpoint: Endpoint, cause: unknown): ConnectionError {
  const text = endpointText(endpoint);
  const code = codeOf(cause);
  switch (code) {
    case "ENOENT":
    case "ECONNREFUSED":
      return new ConnectionError(
        "notRunning",
        text,
        `Cannot connect to the Naru daemon at ${text}. Is the naru daemon running?`,
        { cause },
      );
    case "EACCES":
    case "EPERM":
      return new ConnectionError(
        "permission",
        text,
        `permission denied while trying to connect to the Naru daemon socket at ${text}`,
        { cause },
      );
    default: {
      const reason = sentenceOf(cause).replace(/^Failed to connect$/, code);
      return new ConnectionError("other", text, `error during connect: ${text}: ${reason}`, {
        cause,
      });
    }
  }
}

function codeOf(cause: unknown): string {
  if (typeof cause !== "object" || cause === null || !("code" in cause)) return "failed";
  return String(cause.code);
}
