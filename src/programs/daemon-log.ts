/** The daemon's own log: one line an event on stderr, as text (Docker's key=value form) or as JSON. */
import { writeSync } from "node:fs";
import { isatty } from "node:tty";

import { sentenceOf } from "#base";

export type LogLevel = "debug" | "info" | "warn" | "error";

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
/** Docker's names; fatal and panic say nothing more than error here. */
const NAMES: Readonly<Record<string, LogLevel>> = {
  trace: "debug",
  debug: "debug",
  info: "info",
  warn: "warn",
  warning: "warn",
  error: "error",
  fatal: "error",
  panic: "error",
};

export const parseLogLevel = (text: string): LogLevel | null => NAMES[text] ?? null;

type Fields = Readonly<Record<string, unknown>>;

export class DaemonLog {
  level: LogLevel;
  readonly #format: "text" | "json";
  readonly #isColoured: boolean;

  constructor(
    level: LogLevel,
    { logFormat, rawLogs }: { readonly logFormat: "text" | "json"; readonly rawLogs: boolean },
  ) {
    this.level = level;
    this.#format = logFormat;
    this.#isColoured = !rawLogs && isatty(2);
  }

  debug(message: string, fields?: Fields): void {
    this.#write("debug", message, fields);
  }

  info(message: string, fields?: Fields): void {
    this.#write("info", message, fields);
  }

  warn(message: string, fields?: Fields): void {
    this.#write("warn", message, fields);
  }

  error(message: string, fields?: Fields): void {
    this.#write("error", message, fields);
  }

  #write(level: LogLevel, message: string, fields: Fields = {}): void {
    if (ORDER[level] < ORDER[this.level]) return;
    const time = new Date().toISOString();
    const name = level === "warn" ? "warning" : level;
    const line =
      this.#format === "json"
        ? JSON.stringify({ level: name, msg: message, time, ...fields })
        : this.#isColoured
          ? colouredLine({ time, level, message }, fields)
          : textLine({ time, level: name, msg: message, ...fields });
    try {
      writeSync(2, `${line}\n`);
    } catch {
      // A closed or full stderr must not end the engine: there is nowhere left to say so.
    }
  }
}

const COLOURS: Readonly<Record<LogLevel, number>> = { debug: 37, info: 36, warn: 33, error: 31 };

/** As dockerd writes to a terminal: the level in its colour, then the message, then the fields. */
function colouredLine(
  { time, level, message }: { time: string; level: LogLevel; message: string },
  fields: Fields,
): string {
  const paint = (text: string) => `\u001b[${COLOURS[level]}m${text}\u001b[0m`;
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${paint(key)}=${quoted(value)}`);
  return `${paint(level.toUpperCase().slice(0, 4))}[${time}] ${message.padEnd(44)}${rest.join("")}`;
}

const textLine = (fields: Fields): string =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => `${key}=${quoted(value)}`)
    .join(" ");

function quoted(value: unknown): string {
  const text =
    value instanceof Error
      ? sentenceOf(value)
      : typeof value === "string"
        ? value
        : (JSON.stringify(value) ?? String(value));
  return /^[\w.:/@+-]+$/.test(text) ? text : JSON.stringify(text);
}
