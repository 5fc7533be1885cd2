/** What every log server is to the delivery: something that takes messages, or does not. */
import type { LogStream } from "#engine/logs";

export interface LogMessage {
  readonly stream: LogStream;
  /** RFC 3339, nine digits, UTC. */
  readonly time: string;
  /** Without its newline. */
  readonly line: Uint8Array;
  /** Of a line longer than one entry. */
  readonly partial: {
    readonly id: string;
    readonly ordinal: number;
    readonly last: boolean;
  } | null;
}

export interface LogSink {
  /** Resolves when the server, or the kernel on its behalf, has all of them. Rejects when it has not: try again. */
  send(messages: readonly LogMessage[]): Promise<void>;
  close(): Promise<void>;
}

/** How often to try before messages are given up, and how long to wait between. */
export interface RetryPolicy {
  readonly limit: number;
  waitMs(attempt: number): number;
}

/** Docker's numbers of priority: errors for stderr, information for stdout. */
export const severityOf = ({ stream }: LogMessage): number => (stream === "stderr" ? 3 : 6);

const encoder = new TextEncoder();
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

const decoder = new TextDecoder();
/** Bytes that are no UTF-8 become U+FFFD: for protocols that carry text only. */
export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes);

export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
