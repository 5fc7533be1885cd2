/**
 * journald's native protocol: one datagram an entry, fields as `NAME=value` lines, or with a length where a value has
 * newlines. What is too large for a datagram goes as a sealed memfd.
 */
import { writeSync } from "node:fs";

import { attempt, checked, cstring } from "#linux/ffi";

import type { LogServer } from "../target.ts";
import { UnixDatagrams } from "./datagrams.ts";
import { concat, type LogMessage, type LogSink, severityOf, utf8 } from "./sink.ts";

type JournaldServer = Extract<LogServer, { driver: "journald" }>;

export const JOURNAL_SOCKET = "/run/systemd/journal/socket";
const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033;
/** Seal, shrink, grow, write. */
const SEALS = 0x1 | 0x2 | 0x4 | 0x8;
const NEWLINE = utf8("\n");

export async function openJournald(
  server: JournaldServer,
  path: string = JOURNAL_SOCKET,
): Promise<LogSink> {
  // Names the run: an entry's number within it is its place.
  const epoch = crypto.getRandomValues(new Uint8Array(32)).toHex();
  const fixed = concat(
    Object.entries({ ...server.fields, CONTAINER_LOG_EPOCH: epoch }).map(([name, value]) =>
      field(name, utf8(value)),
    ),
  );
  let ordinal = 0;
  let datagrams: UnixDatagrams | null = open(path);
  return {
    send: async (messages) => {
      for (const message of messages) {
        datagrams ??= open(path);
        const entry = concat([fixed, encode(message, ordinal + 1)]);
        try {
          if (!(await datagrams.send(entry))) await sendLarge(datagrams, entry);
        } catch (cause) {
          datagrams.close();
          datagrams = null;
          throw cause;
        }
        ordinal += 1;
      }
    },
    close: async () => datagrams?.close(),
  };
}

function open(path: string): UnixDatagrams {
  try {
    return new UnixDatagrams(path);
  } catch (cause) {
    throw new Error("journald is not enabled on this host", { cause });
  }
}

function encode(message: LogMessage, ordinal: number): Uint8Array {
  const { partial } = message;
  const texts: Record<string, string> = {
    PRIORITY: String(severityOf(message)),
    SYSLOG_TIMESTAMP: message.time,
    CONTAINER_LOG_ORDINAL: String(ordinal),
  };
  if (partial !== null) {
    texts["CONTAINER_PARTIAL_ID"] = partial.id;
    texts["CONTAINER_PARTIAL_ORDINAL"] = String(partial.ordinal);
    texts["CONTAINER_PARTIAL_LAST"] = String(partial.last);
    if (!partial.last) texts["CONTAINER_PARTIAL_MESSAGE"] = "true";
  }
  return concat([
    ...Object.entries(texts).map(([name, value]) => field(name, utf8(value))),
    field("MESSAGE", message.line),
  ]);
}

function field(name: string, value: Uint8Array): Uint8Array {
  if (!value.includes(0x0a)) return concat([utf8(`${name}=`), value, NEWLINE]);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(value.length), true);
  return concat([utf8(`${name}\n`), length, value, NEWLINE]);
}

async function sendLarge(datagrams: UnixDatagrams, entry: Uint8Array): Promise<void> {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const memory = checked("memfd_create", "journal entry", cstring("journal-entry"), flags);
  try {
    for (let at = 0; at < entry.length;) at += writeSync(memory, entry, at);
    checked("fcntl", "F_ADD_SEALS", memory, F_ADD_SEALS, SEALS);
    await datagrams.sendDescriptor(memory);
  } finally {
    attempt("close", memory);
  }
}
