/**
 * Progress of pull, push, load and import: on a terminal one live line for each layer, redrawn in place; in a pipe the
 * plain lines docker writes there.
 */
import { EngineError } from "#base";
import type { JsonMessage } from "#wire/docker";

import { writeAll } from "../terminal/stdio.ts";
import { isTerminal, windowSize } from "../terminal/tty.ts";

const WIDE_COLUMNS = 110;
const BAR_WIDTH = 50;

export interface ProgressOptions {
  readonly fd: number;
  /** Sees every message, also those with nothing to show. */
  readonly onMessage?: (message: JsonMessage) => void;
  /** Show nothing. */
  readonly quiet?: boolean;
}

/** Shows a stream of progress. @throws EngineError with the daemon's sentence when the work failed */
export async function showProgress(
  messages: AsyncIterable<JsonMessage>,
  { fd, onMessage, quiet = false }: ProgressOptions,
): Promise<void> {
  const view = isTerminal(fd) ? terminalView(fd) : plainView(fd);
  for await (const message of messages) {
    onMessage?.(message);
    const failure = message.errorDetail?.message ?? message.error;
    if (failure !== undefined && failure !== "") throw new EngineError("internal", failure);
    if (!quiet) view(message);
  }
}

function plainView(fd: number): (message: JsonMessage) => void {
  return (message) => {
    if (barOf(message, WIDE_COLUMNS + 1) !== "") return; // numbers on the move are for terminals
    const line = lineOf(message);
    if (line !== undefined) writeAll(fd, line);
  };
}

function terminalView(fd: number): (message: JsonMessage) => void {
  const rows = new Map<string, number>();
  return (message) => {
    const { id = "", progressDetail } = message;
    const live = id !== "" && (progressDetail !== undefined || rows.has(id));
    if (!live) {
      const line = lineOf(message);
      if (line !== undefined) {
        // Text between two groups of layers: what comes later starts below it.
        if (message.stream === undefined) rows.clear();
        writeAll(fd, line);
      }
      return;
    }
    const columns = windowSize(fd)?.columns ?? WIDE_COLUMNS;
    let row = rows.get(id);
    let output = "";
    if (row === undefined) {
      row = rows.size;
      rows.set(id, row);
      output += "\n";
    }
    const up = rows.size - row;
    const bar = barOf(message, columns);
    const text = `${id}: ${message.status ?? ""}${bar === "" ? "" : ` ${bar}`}`;
    output += `\u001B[${up}A\u001B[2K\r${Bun.sliceAnsi(text, 0, columns)}\r\u001B[${up}B`;
    writeAll(fd, output);
  };
}

function lineOf(message: JsonMessage): string | undefined {
  const { id = "", from = "", stream, status } = message;
  const prefix = `${id === "" ? "" : `${id}: `}${from === "" ? "" : `(from ${from}) `}`;
  if (stream !== undefined && stream !== "") return prefix + stream;
  if (status === undefined) return undefined; // aux only
  return `${prefix}${status}\n`;
}

/** `[=====>     ]  1.2MB/3.4MB`; "" where there is nothing to count. */
export function barOf({ progressDetail }: JsonMessage, columns: number): string {
  const { current = 0, total = 0, hidecounts = false, units = "" } = progressDetail ?? {};
  if (current <= 0 && total <= 0) return "";
  if (total <= 0) return units === "" ? size(current).padStart(8) : `${current} ${units}`;
  const filled = Math.min(BAR_WIDTH, Math.trunc(Math.trunc((current / total) * 100) / 2));
  const bar =
    columns > WIDE_COLUMNS ? `[${"=".repeat(filled)}>${" ".repeat(BAR_WIDTH - filled)}] ` : "";
  if (hidecounts) return bar;
  if (units !== "") return `${bar}${current > total ? current : `${current}/${total}`} ${units}`;
  return (
    bar +
    (current > total ? size(current).padStart(8) : `${size(current).padStart(8)}/${size(total)}`)
  );
}

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** Four significant digits, as progress has them. */
function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(4))}${UNITS[unit]}`;
}
