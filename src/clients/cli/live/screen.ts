/**
 * The picture of `naru top`: containers as rows, sorted by one column, in as many columns as the terminal has room
 * for. Pure: entries and a size in, lines out, none longer than the terminal is wide.
 */
import { humanSize } from "#base";

import { binarySize } from "../output/units.ts";

/** What a container uses now; rates are bytes a second. */
export interface LiveRow {
  readonly name: string;
  /** `Up 2 minutes (healthy)`. */
  readonly status: string;
  readonly runs: boolean;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly memoryPercent: number;
  readonly rxRate: number;
  readonly txRate: number;
  readonly readRate: number;
  readonly writeRate: number;
  readonly pids: number;
}

export const SORTS = ["name", "cpu", "memory", "network", "disk", "pids"] as const;
export type Sort = (typeof SORTS)[number];

export const isSort = (text: string): text is Sort => SORTS.some((sort) => sort === text);

export interface View {
  readonly sort: Sort;
  readonly reversed: boolean;
  /** The first row shown. */
  readonly offset: number;
  readonly paused: boolean;
}

export interface FrameRequest {
  readonly rows: readonly LiveRow[];
  readonly view: View;
  readonly size: { readonly rows: number; readonly columns: number };
  /** False for NO_COLOR: then the sorted column and the bars must do without. */
  readonly coloured: boolean;
  /** Whether the terminal shows more than ASCII. */
  readonly unicode: boolean;
}

const HEAD_LINES = 2;
const FOOT_LINES = 1;
const INVERSE = "\x1b[7m";
const BOLD = "\x1b[1m";
const DIM = "\x1b[2m";
const PLAIN = "\x1b[0m";

/** How many rows of containers fit. */
export const pageOf = (rows: number): number => Math.max(1, rows - HEAD_LINES - FOOT_LINES);

/** The rows as the view orders them: most first, names from A. */
export function sorted(rows: readonly LiveRow[], { sort, reversed }: View): LiveRow[] {
  const byName = (a: LiveRow, b: LiveRow) => (a.name < b.name ? -1 : 1);
  const ordered = rows.toSorted((a, b) => {
    const difference = sort === "name" ? 0 : weightOf(b, sort) - weightOf(a, sort);
    return difference === 0 ? byName(a, b) : difference;
  });
  return reversed ? ordered.reverse() : ordered;
}

function weightOf(row: LiveRow, sort: Exclude<Sort, "name">): number {
  switch (sort) {
    case "cpu":
      return row.cpuPercent;
    case "memory":
      return row.memoryBytes;
    case "network":
      return row.rxRate + row.txRate;
    case "disk":
      return row.readRate + row.writeRate;
    case "pids":
      return row.pids;
  }
}

/** The whole picture: exactly as many lines as the terminal has rows. */
export function drawFrame(request: FrameRequest): string[] {
  const { rows, view, size } = request;
  const columns = columnsFor(size.columns);
  const page = pageOf(size.rows);
  const shown = sorted(rows, view).slice(view.offset, view.offset + page);
  const lines = [
    summaryLine(request),
    titleLine(columns, request),
    ...shown.map((row) => rowLine(row, columns, request)),
  ];
  while (lines.length < size.rows - FOOT_LINES) lines.push("");
  lines.push(footLine(request));
  return lines.slice(0, size.rows);
}

interface Column {
  readonly title: string;
  readonly width: number;
  readonly sort: Sort | null;
  readonly left?: true;
  readonly cell: (row: LiveRow) => string;
  /** Drawn as a bar of this share of a hundred. */
  readonly bar?: (row: LiveRow) => number;
}

const decimal = (bytes: number): string => humanSize(Math.round(bytes), 3);

/** Columns by how much they are missed when there is no room, the last ones first to go. */
function columnsFor(width: number): Column[] {
  const wide = width >= 100;
  const bar = wide ? 8 : 5;
  const most: (Column & { readonly order: number })[] = [
    {
      order: 1,
      title: "CPU%",
      width: 7,
      sort: "cpu",
      cell: ({ cpuPercent }) => percent(cpuPercent),
    },
    {
      order: 3,
      title: "MEM",
      width: 8,
      sort: "memory",
      cell: ({ memoryBytes }) => memory(memoryBytes),
    },
    { order: 5, title: "RX/s", width: 7, sort: "network", cell: ({ rxRate }) => decimal(rxRate) },
    { order: 6, title: "TX/s", width: 7, sort: null, cell: ({ txRate }) => decimal(txRate) },
    {
      order: 7,
      title: "READ/s",
      width: 7,
      sort: "disk",
      cell: ({ readRate }) => decimal(readRate),
    },
    {
      order: 8,
      title: "WRITE/s",
      width: 7,
      sort: null,
      cell: ({ writeRate }) => decimal(writeRate),
    },
    { order: 9, title: "PIDS", width: 5, sort: "pids", cell: ({ pids }) => String(pids) },
    {
      order: 2,
      title: "",
      width: bar,
      sort: null,
      cell: () => "",
      bar: ({ cpuPercent }) => cpuPercent,
    },
    {
      order: 4,
      title: "",
      width: bar,
      sort: null,
      cell: () => "",
      bar: ({ memoryPercent }) => memoryPercent,
    },
    { order: 10, title: "STATUS", width: 26, sort: null, left: true, cell: ({ status }) => status },
  ];
  const nameLeast = wide ? 16 : 8;
  const taken: typeof most = [];
  let room = width - nameLeast;
  for (const column of most) {
    if (column.width + 1 > room) continue;
    room -= column.width + 1;
    taken.push(column);
  }
  const name: Column = {
    title: "NAME",
    width: Math.max(1, Math.min(width, nameLeast + room)),
    sort: "name",
    left: true,
    cell: ({ name: text }) => text,
  };
  return [name, ...taken.toSorted((a, b) => a.order - b.order)];
}

const percent = (value: number): string => `${value.toFixed(1)}%`;
const memory = (bytes: number): string =>
  binarySize(bytes).replace(/^(\d+)\.\d*(?=[KMGTP])/, (text, whole: string) =>
    whole.length >= 3 ? whole : text.slice(0, 4),
  );

function titleLine(columns: readonly Column[], { view, coloured, size }: FrameRequest): string {
  const cells = columns.map((column) => {
    const isSorted = column.sort === view.sort;
    const text = fit(isSorted ? mark(column.title, view.reversed) : column.title, column);
    return isSorted && coloured ? `${BOLD}${text}${PLAIN}${INVERSE}` : text;
  });
  const line = padded(cells.join(" "), size.columns);
  return coloured ? `${INVERSE}${line}${PLAIN}` : line;
}

const mark = (title: string, reversed: boolean): string => `${reversed ? "^" : "*"}${title}`;

function rowLine(row: LiveRow, columns: readonly Column[], request: FrameRequest): string {
  const cells = columns.map((column) =>
    column.bar === undefined
      ? fit(row.runs || column.left === true ? column.cell(row) : "-", column)
      : barOf(column.bar(row), column.width, request),
  );
  const line = cells.join(" ");
  return row.runs || !request.coloured ? line : `${DIM}${line}${PLAIN}`;
}

/** A text in its column: cut where it is too long. Nothing that a terminal would obey gets through. */
function fit(text: string, { width, left }: Pick<Column, "width" | "left">): string {
  // oxlint-disable-next-line no-control-regex -- that is what is taken out
  const safe = text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");
  const cut = Bun.stringWidth(safe) > width ? Bun.sliceAnsi(safe, 0, width) : safe;
  const space = " ".repeat(Math.max(0, width - Bun.stringWidth(cut)));
  return left === true ? `${cut}${space}` : `${space}${cut}`;
}

const EIGHTHS = " ▏▎▍▌▋▊▉█";

function barOf(share: number, width: number, { coloured, unicode }: FrameRequest): string {
  const filled = Math.min(1, Math.max(0, share / 100)) * width;
  const whole = Math.floor(filled);
  const rest = unicode ? (EIGHTHS[Math.round((filled - whole) * 8)] ?? "") : "";
  const solid = (unicode ? "█" : "#").repeat(whole);
  const text = `${solid}${whole < width ? rest : ""}`.padEnd(width, unicode ? " " : ".");
  if (!coloured) return text;
  return `\x1b[${share >= 80 ? 31 : share >= 50 ? 33 : 32}m${text}${PLAIN}`;
}

const sum = (rows: readonly LiveRow[], of: (row: LiveRow) => number): number =>
  rows.reduce((total, row) => total + of(row), 0);

function summaryLine({ rows, view, size, coloured }: FrameRequest): string {
  const running = rows.filter(({ runs }) => runs).length;
  const parts = [
    `naru top: ${running} running${rows.length > running ? ` of ${rows.length}` : ""}`,
    `CPU ${percent(sum(rows, (row) => row.cpuPercent))}`,
    `memory ${memory(sum(rows, (row) => row.memoryBytes))}`,
    `net ${decimal(sum(rows, (row) => row.rxRate + row.txRate))}/s`,
    `disk ${decimal(sum(rows, (row) => row.readRate + row.writeRate))}/s`,
    ...(view.paused ? ["PAUSED"] : []),
  ];
  const line = padded(parts.join("  "), size.columns);
  return coloured ? `${BOLD}${line}${PLAIN}` : line;
}

function footLine({ rows, view, size, coloured, unicode }: FrameRequest): string {
  const [sides, ends] = unicode ? ["←→", "↑↓"] : ["left/right", "up/down"];
  const page = pageOf(size.rows);
  const last = Math.min(rows.length, view.offset + page);
  const where = rows.length > page ? `  ${view.offset + 1}-${last} of ${rows.length}` : "";
  const line = `q quit  ${sides} sort  r reverse  ${ends} scroll  a all  space pause${where}`;
  const cut = padded(line, size.columns).trimEnd();
  return coloured ? `${DIM}${cut}${PLAIN}` : cut;
}

/** Exactly as wide as asked, colours not counted. */
function padded(line: string, width: number): string {
  const own = Bun.stringWidth(line);
  return own > width ? Bun.sliceAnsi(line, 0, width) : line + " ".repeat(width - own);
}
