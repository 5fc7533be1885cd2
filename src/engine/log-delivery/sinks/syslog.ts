/**
 * Syslog as Docker's driver writes it: RFC 3164 in two dialects, RFC 5424 with the tag as application and as message
 * id, by UDP, TCP, TLS or a Unix socket of either kind. TLS with RFC 5424 counts its bytes (RFC 5425); the rest end
 * in a newline.
 */
import { existsSync } from "node:fs";
import { hostname } from "node:os";

import type { LogServer } from "../target.ts";
import { type Connection, openConnection, type StreamAddress } from "./connection.ts";
import { UnixDatagrams } from "./datagrams.ts";
import { concat, type LogMessage, type LogSink, severityOf, utf8 } from "./sink.ts";
import { openUdp } from "./udp.ts";

type SyslogServer = Extract<LogServer, { driver: "syslog" }>;

const LOCAL_PATHS = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const NEWLINE = utf8("\n");

export async function openSyslog(server: SyslogServer): Promise<LogSink> {
  const { address } = server;
  if (address === null) return openLocal(server);
  switch (address.type) {
    case "udp": {
      const udp = await openUdp(address);
      return datagramSink(server, udp);
    }
    case "unixgram":
      return unixDatagramSink(server, address.path);
    case "tcp":
    case "tls":
    case "unix": {
      const tls = address.type === "tls" ? { tls: server.tls } : {};
      const isCounted = address.type === "tls" && server.format.startsWith("rfc5424");
      const stream = address as StreamAddress;
      return await streamSink(server, () => openConnection(stream, tls), isCounted);
    }
  }
}

/** The host's own syslog, wherever it listens. */
function openLocal(server: SyslogServer): LogSink {
  for (const path of LOCAL_PATHS.filter((each) => existsSync(each))) {
    try {
      return unixDatagramSink(server, path);
    } catch {
      // the next one
    }
  }
  throw new Error("Unix syslog delivery error");
}

function unixDatagramSink(server: SyslogServer, path: string): LogSink {
  let datagrams: UnixDatagrams | null = new UnixDatagrams(path);
  return datagramSink(server, {
    send: async (bytes) => {
      datagrams ??= new UnixDatagrams(path);
      try {
        await datagrams.send(bytes);
      } catch (cause) {
        datagrams.close();
        datagrams = null;
        throw cause;
      }
    },
    close: () => datagrams?.close(),
  });
}

function datagramSink(
  server: SyslogServer,
  out: { send(bytes: Uint8Array): Promise<unknown>; close(): void },
): LogSink {
  return {
    send: async (messages) => {
      for (const message of messages) {
        if (message.line.length > 0) await out.send(encode(server, message));
      }
    },
    close: async () => out.close(),
  };
}

async function streamSink(
  server: SyslogServer,
  open: () => Promise<Connection>,
  isCounted: boolean,
): Promise<LogSink> {
  let connection = await open();
  return {
    send: async (messages) => {
      if (!connection.isOpen) connection = await open();
      const frames = messages
        .filter(({ line }) => line.length > 0)
        .map((message) => {
          const bytes = encode(server, message);
          return isCounted ? concat([utf8(`${bytes.length} `), bytes]) : bytes;
        });
      if (frames.length > 0) await connection.write(concat(frames));
    },
    close: () => connection.close(),
  };
}

/** Exported for tests: one message, with its newline. */
export function encode(server: SyslogServer, message: LogMessage): Uint8Array {
  const { facility, format, tag } = server;
  const priority = facility * 8 + severityOf(message);
  const head = () => {
    switch (format) {
      case "":
        return `<${priority}>${stamp(message.time)} ${tag}[${process.pid}]: `;
      case "rfc3164":
        return `<${priority}>${stamp(message.time)} ${hostname()} ${tag}[${process.pid}]: `;
      case "rfc5424":
      case "rfc5424micro": {
        const time = zoned(message.time, format === "rfc5424" ? 0 : 6);
        return `<${priority}>1 ${time} ${hostname()} ${tag} ${process.pid} ${tag} - `;
      }
    }
  };
  return concat([utf8(head()), message.line, NEWLINE]);
}

/** `Jan  2 15:04:05`, in the host's time. */
function stamp(time: string): string {
  const date = new Date(time);
  const two = (number: number) => String(number).padStart(2, "0");
  const day = String(date.getDate()).padStart(2, " ");
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  return `${MONTHS[date.getMonth()]} ${day} ${clock}`;
}

/** RFC 3339 in the host's time zone, with so many digits of a second. */
function zoned(time: string, digits: number): string {
  const date = new Date(time);
  const offset = -date.getTimezoneOffset();
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const fraction = digits === 0 ? "" : time.slice(19, 20 + digits);
  const two = (number: number) => String(Math.floor(number)).padStart(2, "0");
  const distance = Math.abs(offset);
  const zone =
    offset === 0 ? "Z" : `${offset < 0 ? "-" : "+"}${two(distance / 60)}:${two(distance % 60)}`;
  return local + fraction + zone;
}
