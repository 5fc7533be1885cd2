/**
 * The picture of `naru top`: containers as rows, sorted by one column, in as many columns as the terminal has room
 * for. Pure: entries and a size in, lines out, none longer than the terminal is wide.
 */
import { type Column, columnsFor, decimal, memory, percent } from "./columns.ts";

/** What a container uses now; rates are bytes a second. */
export interface LiveRow {
  readonly name: string;
  readonly image: string;
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
  /** Only containers that have this in their name or their image's, in small or capital letters. */
  readonly filter: string;
  /** Whether the keys are going into the filter. */
  readonly typing: boolean;
  /** The list of keys instead of containers. */
  readonly help: boolean;
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

/** The rows that the view's filter leaves. */
export function filtered(rows: readonly LiveRow[], { filter }: Pick<View, "filter">): LiveRow[] {
  const wanted = filter.toLowerCase();
  return rows.filter(({ name, image }) => `${name}\n${image}`.toLowerCase().includes(wanted));
}

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
  const { view, size } = request;
  const rows = filtered(request.rows, view);
  const columns = columnsFor(size.columns, rows);
  const page = pageOf(size.rows);
  const shown = sorted(rows, view).slice(view.offset, view.offset + page);
  const body = view.help
    ? HELP.slice(0, page + 1).map((line) => padded(line, size.columns).trimEnd())
    : [titleLine(columns, request), ...shown.map((row) => rowLine(row, columns, request))];
  const lines = [summaryLine(request), ...body];
  while (lines.length < size.rows - FOOT_LINES) lines.push("");
  lines.push(footLine(request, rows.length));
  return lines.slice(0, size.rows);
}

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

const safe = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- that is what is taken out
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "?");

/** A text in its column: cut where it is too long. Nothing that a terminal would obey gets through. */
function fit(text: string, { width, left }: Pick<Column, "width" | "left">): string {
  const whole = safe(text);
  const cut = Bun.stringWidth(whole) > width ? Bun.sliceAnsi(whole, 0, width) : whole;
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
    ...(view.paused ? ["PAUSED"] : []),
    `naru top: ${running} running${rows.length > running ? ` of ${rows.length}` : ""}`,
    ...(view.filter === "" || view.typing ? [] : [`filter: ${safe(view.filter)}`]),
    `CPU ${percent(sum(rows, (row) => row.cpuPercent))}`,
    `memory ${memory(sum(rows, (row) => row.memoryBytes))}`,
    `net ${decimal(sum(rows, (row) => row.rxRate + row.txRate))}/s`,
    `disk ${decimal(sum(rows, (row) => row.readRate + row.writeRate))}/s`,
  ];
  const line = padded(parts.join("  "), size.columns);
  return coloured ? `${BOLD}${line}${PLAIN}` : line;
}

/** What a person needs first stands first: a narrow terminal cuts the rest. */
function footLine({ view, size, coloured, unicode }: FrameRequest, count: number): string {
  const page = pageOf(size.rows);
  const last = Math.min(count, view.offset + page);
  const where = count > page && !view.help ? [`${view.offset + 1}-${last} of ${count}`] : [];
  const [sides, ends] = unicode ? ["←→", "↑↓"] : ["left/right", "up/down"];
  const keys = [`q quit`, `h help`, `/ filter`, `${sides} sort`, `${ends} scroll`, "r reverse"];
  const parts = view.typing
    ? [`filter: ${view.filter}_`, "enter keep", "esc clear"]
    : [...where, ...keys, "a all", "space pause"];
  const cut = padded(parts.join("  "), size.columns).trimEnd();
  return coloured && !view.typing ? `${DIM}${cut}${PLAIN}` : cut;
}

const HELP: readonly string[] = [
  "",
  "  c m n d p           sort by CPU, memory, network, disk, processes",
  "  left right  < >     sort by the column before, after",
  "  r                   the other way round",
  "  /                   show only names and images with a text in them; esc: all again",
  "  up down  k j        scroll by one",
  "  page up, page down  scroll by a screen",
  "  home end  g G       first, last",
  "  a                   also those that do not run, and back",
  "  space               hold still, and go on",
  "  h ?                 these keys, and back",
  "  q  esc  ctrl-c      quit",
];

/** Exactly as wide as asked, colours not counted. */
function padded(line: string, width: number): string {
  const own = Bun.stringWidth(line);
  return own > width ? Bun.sliceAnsi(line, 0, width) : line + " ".repeat(width - own);
}
