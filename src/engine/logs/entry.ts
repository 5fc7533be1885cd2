/** One entry of a container's log, and how its files are kept. */

export type LogStream = "stdout" | "stderr";

export interface LogEntry {
  readonly stream: LogStream;
  /** RFC 3339 with nine digits of nanoseconds, UTC: two of them compare as text. */
  readonly time: string;
  /** What the container printed: a line with its newline, or a piece of a line without one. */
  readonly bytes: Uint8Array;
  readonly attributes: Readonly<Record<string, string>> | null;
}

/** `json`: Docker's json-file, byte for byte. `raw`: our own, which keeps every byte (raw-line.ts). */
export type LogFormat = "json" | "raw";

/** What becomes one entry of a file: `text` from `start` to `end`, and what stands before and behind it. */
export interface Line {
  readonly text: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** The same for every line of one stream of one container. */
  readonly middle: Uint8Array;
  readonly time: Uint8Array;
}

/** How a log is kept; the daemon decides it from the container's options. */
export interface LogFileOptions {
  readonly path: string;
  /** json where nothing is said. */
  readonly format?: LogFormat;
  /** Rotate before the file would grow beyond this; null: never. */
  readonly maxSizeBytes: number | null;
  readonly maxFiles: number;
  readonly compress: boolean;
  /** Written into every entry when not empty. */
  readonly attributes: Readonly<Record<string, string>>;
}

/** Docker's longest entry: a longer line becomes several, only the last of which ends in a newline. */
export const ENTRY_LIMIT_BYTES = 16 * 1024;
