/** The columns of `naru top`, as many as a terminal has room for. Pure. */
import { humanSize } from "#base";

import { binarySize } from "../output/units.ts";
import type { LiveRow, Sort } from "./screen.ts";

export interface Column {
  readonly title: string;
  readonly width: number;
  readonly sort: Sort | null;
  readonly left?: true;
  readonly cell: (row: LiveRow) => string;
  /** Drawn as a bar of this share of a hundred. */
  readonly bar?: (row: LiveRow) => number;
}

export const decimal = (bytes: number): string => humanSize(Math.round(bytes), 3);

const WIDE = 100;
/** From here on a longer name is worth more than the last numbers. */
const USUAL_NARROW = 60;
const NAME_LEAST = 8;
const NAME_USUAL = 16;
const IMAGE_LEAST = 12;

const widest = (texts: readonly string[], least: number): number =>
  texts.reduce((width, text) => Math.max(width, Bun.stringWidth(text)), least);

/** All but the name and the image, by how much each is missed where there is no room; `order` is from left to right. */
const measured = (bar: number): (Column & { readonly order: number })[] => [
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
  {
    order: 3.5,
    title: "MEM%",
    width: 6,
    sort: null,
    cell: ({ memoryPercent }) => percent(memoryPercent),
  },
];

/** The columns for a terminal's width, as many as there is room for; names get what they need of the rest. */
export function columnsFor(width: number, rows: readonly LiveRow[]): Column[] {
  const wide = width >= WIDE;
  const names = widest(
    rows.map(({ name }) => name),
    NAME_LEAST,
  );
  const nameLeast = width >= USUAL_NARROW ? Math.min(names, NAME_USUAL) : NAME_LEAST;
  const taken: ReturnType<typeof measured> = [];
  let room = width - nameLeast;
  for (const column of measured(wide ? 8 : 5)) {
    if (column.width + 1 > room) continue;
    room -= column.width + 1;
    taken.push(column);
  }
  const nameWidth = Math.max(1, Math.min(width, nameLeast + room, names));
  const images = widest(
    rows.map(({ image }) => image),
    IMAGE_LEAST,
  );
  const imageWidth = Math.min(images, nameLeast + room - nameWidth - 1);
  const name = { title: "NAME", width: nameWidth, sort: "name", left: true } as const;
  const image = { title: "IMAGE", width: imageWidth, sort: null, left: true } as const;
  return [
    { ...name, cell: (row) => row.name },
    ...(imageWidth < IMAGE_LEAST ? [] : [{ ...image, cell: (row: LiveRow) => row.image }]),
    ...taken.toSorted((a, b) => a.order - b.order),
  ];
}

export const percent = (value: number): string => `${value.toFixed(1)}%`;
export const memory = (bytes: number): string =>
  binarySize(bytes).replace(/^(\d+)\.\d*(?=[KMGTP])/, (text, whole: string) =>
    whole.length >= 3 ? whole : text.slice(0, 4),
  );
