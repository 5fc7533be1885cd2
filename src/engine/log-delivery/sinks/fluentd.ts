/**
 * Fluentd's forward protocol 1, message mode: `[tag, time, record]`, with `{ chunk }` behind and an answer awaited for
 * each where acknowledgements are asked for.
 */
import { decodeMultiStream, encode as pack, ExtData } from "@msgpack/msgpack";

import type { LogServer } from "../target.ts";
import { type Connection, openConnection, type StreamAddress } from "./connection.ts";
import { concat, type LogMessage, type LogSink } from "./sink.ts";

type FluentdServer = Extract<LogServer, { driver: "fluentd" }>;

const EVENT_TIME = 0;
const NO_TLS_FILES = { ca: "", cert: "", key: "", skipVerify: false };
const ACK_LIMIT_MS = 60_000;

export async function openFluentd(server: FluentdServer): Promise<LogSink> {
  const address = server.address as StreamAddress;
  let link = await openLink(address);
  return {
    send: async (messages) => {
      const isOld = server.isAsync && server.reconnectMs > 0 && link.ageMs() > server.reconnectMs;
      if (isOld) await link.connection.close();
      if (!link.connection.isOpen) link = await openLink(address);
      const chunks = messages.map(() => (server.requestAck ? newChunk() : null));
      const acks = link.expect(chunks.filter((chunk) => chunk !== null));
      const frames = messages.map((message, index) =>
        encode(server, message, chunks[index] ?? null),
      );
      await link.connection.write(concat(frames));
      if (server.requestAck) await link.connection.race(acks);
    },
    close: () => link.connection.close(),
  };
}

interface Link {
  readonly connection: Connection;
  ageMs(): number;
  /** Resolves when each of these chunks was acknowledged. */
  expect(chunks: readonly string[]): Promise<void>;
}

async function openLink(address: StreamAddress): Promise<Link> {
  const expected = new Set<string>();
  let settle: (() => void) | null = null;
  const incoming = new TransformStream<Uint8Array, Uint8Array>();
  const writer = incoming.writable.getWriter();
  const tls = address.type === "tls" ? { tls: NO_TLS_FILES } : {};
  const connection = await openConnection(address, {
    ...tls,
    onData: (bytes) => void writer.write(bytes).catch(() => undefined),
  });
  const read = async () => {
    for await (const answer of decodeMultiStream(incoming.readable)) {
      const { ack } = (answer ?? {}) as { ack?: unknown };
      if (typeof ack === "string") expected.delete(ack);
      if (expected.size === 0) settle?.();
    }
  };
  read().catch(() => undefined); // an answer that is none: the wait for the right one runs out
  const openedAt = performance.now();
  return {
    connection,
    ageMs: () => performance.now() - openedAt,
    expect: async (chunks) => {
      for (const chunk of chunks) expected.add(chunk);
      if (expected.size === 0) return;
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(
        () => late.reject(new Error("fluent#write: no acknowledgement came")),
        ACK_LIMIT_MS,
      );
      settle = late.resolve;
      try {
        await late.promise;
      } finally {
        clearTimeout(timer);
        expected.clear();
      }
    },
  };
}

const newChunk = (): string => crypto.getRandomValues(new Uint8Array(16)).toBase64();

function encode(server: FluentdServer, message: LogMessage, chunk: string | null): Uint8Array {
  const { partial } = message;
  const texts: Record<string, string> = { ...server.record, source: message.stream };
  if (partial !== null) {
    texts["partial_message"] = "true";
    texts["partial_id"] = partial.id;
    texts["partial_ordinal"] = String(partial.ordinal);
    texts["partial_last"] = String(partial.last);
  }
  const fields = Object.entries(texts);
  return concat([
    new Uint8Array([0x90 | (chunk === null ? 3 : 4)]),
    pack(server.tag),
    pack(timeOf(server, message)),
    mapHead(fields.length + 1),
    ...fields.flatMap(([name, value]) => [pack(name), pack(value)]),
    pack("log"),
    // As it is: what a container prints need not be UTF-8.
    textHead(message.line.length),
    message.line,
    ...(chunk === null ? [] : [pack({ chunk })]),
  ]);
}

function timeOf({ subSecond }: FluentdServer, { time }: LogMessage): number | ExtData {
  const seconds = Math.floor(Date.parse(time) / 1000);
  if (!subSecond) return seconds;
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, seconds);
  view.setUint32(4, Number(time.slice(20, 29)));
  return new ExtData(EVENT_TIME, bytes);
}

function mapHead(count: number): Uint8Array {
  if (count < 16) return new Uint8Array([0x80 | count]);
  return new Uint8Array([0xde, count >> 8, count & 0xff]);
}

function textHead(length: number): Uint8Array {
  if (length < 32) return new Uint8Array([0xa0 | length]);
  if (length < 256) return new Uint8Array([0xd9, length]);
  if (length < 65_536) return new Uint8Array([0xda, length >> 8, length & 0xff]);
  const head = new Uint8Array(5);
  head[0] = 0xdb;
  new DataView(head.buffer).setUint32(1, length);
  return head;
}
