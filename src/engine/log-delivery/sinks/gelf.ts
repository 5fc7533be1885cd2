/** GELF 1.1: JSON by UDP, compressed and in chunks where it is long, or by TCP with a zero byte behind each. */
import { hostname } from "node:os";
import { deflateSync, gzipSync } from "node:zlib";

import type { LogServer } from "../target.ts";
import { openConnection } from "./connection.ts";
import { concat, type LogMessage, type LogSink, severityOf, textOf, utf8 } from "./sink.ts";
import { openUdp } from "./udp.ts";

type GelfServer = Extract<LogServer, { driver: "gelf" }>;

/** What fits a frame of Ethernet: magic, message id, number, count, and the rest is the message. */
const CHUNK_BYTES = 1420;
const CHUNK_HEAD_BYTES = 12;
const CHUNK_LIMIT = 128;
const MAGIC = [0x1e, 0x0f];
const ZERO = new Uint8Array(1);

export async function openGelf(server: GelfServer): Promise<LogSink> {
  const { address } = server;
  if (address.type === "tcp") {
    const stream = { ...address, type: "tcp" as const };
    let connection = await openConnection(stream);
    return {
      send: async (messages) => {
        if (!connection.isOpen) connection = await openConnection(stream);
        await connection.write(concat(messages.flatMap((each) => [encode(server, each), ZERO])));
      },
      close: () => connection.close(),
    };
  }
  const udp = await openUdp(address);
  return {
    send: async (messages) => {
      for (const message of messages) {
        for (const chunk of chunksOf(compress(server, encode(server, message)))) {
          await udp.send(chunk);
        }
      }
    },
    close: async () => udp.close(),
  };
}

function encode({ record }: GelfServer, message: LogMessage): Uint8Array {
  return utf8(
    JSON.stringify({
      version: "1.1",
      host: hostname(),
      short_message: textOf(message.line),
      timestamp: Date.parse(message.time) / 1000,
      level: severityOf(message),
      ...record,
    }),
  );
}

function compress({ compression, level }: GelfServer, bytes: Uint8Array): Uint8Array {
  switch (compression) {
    case "none":
      return bytes;
    case "gzip":
      return gzipSync(bytes, { level });
    case "zlib":
      return deflateSync(bytes, { level });
  }
}

/** One datagram, or several with a head each; none for a message that would need too many. */
export function chunksOf(bytes: Uint8Array): Uint8Array[] {
  if (bytes.length <= CHUNK_BYTES) return [bytes];
  const room = CHUNK_BYTES - CHUNK_HEAD_BYTES;
  const count = Math.ceil(bytes.length / room);
  // The protocol has no more: what compresses so badly is dropped, as Docker does.
  if (count > CHUNK_LIMIT) return [];
  const id = crypto.getRandomValues(new Uint8Array(8));
  return Array.from({ length: count }, (_, index) =>
    concat([
      new Uint8Array(MAGIC),
      id,
      new Uint8Array([index, count]),
      bytes.subarray(index * room, (index + 1) * room),
    ]),
  );
}
