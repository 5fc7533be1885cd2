import { describe, expect, test } from "bun:test";

import { parseKeys } from "./keys.ts";
import {
  drawFrame,
  filtered,
  type FrameRequest,
  type LiveRow,
  sorted,
  type View,
} from "./screen.ts";

const row = (change: Partial<LiveRow>): LiveRow => ({
  name: "web",
  image: "busybox",
  status: "Up 2 minutes",
  runs: true,
  cpuPercent: 0,
  memoryBytes: 0,
  memoryPercent: 0,
  rxRate: 0,
  txRate: 0,
  readRate: 0,
  writeRate: 0,
  pids: 1,
  ...change,
});

const view = (change: Partial<View> = {}): View => ({
  sort: "cpu",
  reversed: false,
  offset: 0,
  paused: false,
  filter: "",
  typing: false,
  help: false,
  ...change,
});

const frame = (change: Partial<FrameRequest> = {}): string[] =>
  drawFrame({
    rows: [row({})],
    view: view(),
    size: { rows: 24, columns: 80 },
    coloured: false,
    unicode: false,
    ...change,
  });

describe("the picture", () => {
  test.each([
    [24, 80],
    [50, 200],
    [10, 40],
    [4, 20],
    [3, 8],
    [1, 1],
  ])("fits into %d rows of %d columns, coloured or not", (rows, columns) => {
    const many = Array.from({ length: 60 }, (_, index) =>
      row({ name: `a-rather-long-container-name-${index}`, memoryBytes: 1e10, rxRate: 1e9 }),
    );
    for (const coloured of [true, false]) {
      const lines = frame({ rows: many, size: { rows, columns }, coloured, unicode: coloured });
      expect(lines).toHaveLength(rows);
      for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
    }
  });

  test("shows every number at 80 columns", () => {
    const lines = frame({
      rows: [
        row({
          cpuPercent: 150.25,
          memoryBytes: 1.5 * 1024 ** 3,
          memoryPercent: 50,
          rxRate: 1500,
          txRate: 2e6,
          readRate: 999_999,
          writeRate: 12,
          pids: 321,
        }),
      ],
    });
    expect(lines[1]).toMatch(/NAME +\*CPU% +MEM +RX\/s +TX\/s +READ\/s +WRITE\/s +PIDS/);
    expect(lines[2]).toMatch(
      /^web +150\.\d% ##### +1\.5GiB ##\.\.\. .* 1\.5kB +2MB +\d+\w?B +12B +321/,
    );
    expect(lines[0]).toContain("1 running");
    expect(lines.at(-1)).toStartWith("q quit  h help  / filter  left/right sort");
  });

  test("a name that would move the cursor is made harmless", () => {
    const [, , line = ""] = frame({ rows: [row({ name: "a\x1b[2Jb\u009bc" })] });
    expect(line).toStartWith("a?[2Jb?c");
  });

  test("who does not run uses nothing", () => {
    const [, , line = ""] = frame({ rows: [row({ runs: false, pids: 0 })] });
    expect(line).toMatch(/^web +- /);
  });
});

test("rows are sorted by the column, most first, then by name", () => {
  const rows = [
    row({ name: "b", cpuPercent: 1, txRate: 5 }),
    row({ name: "c", cpuPercent: 9 }),
    row({ name: "a", cpuPercent: 1, readRate: 7, pids: 9 }),
  ];
  const order = (change: Partial<View>) => sorted(rows, view(change)).map(({ name }) => name);
  expect(order({})).toEqual(["c", "a", "b"]);
  expect(order({ reversed: true })).toEqual(["b", "a", "c"]);
  expect(order({ sort: "name" })).toEqual(["a", "b", "c"]);
  expect(order({ sort: "network" })).toEqual(["b", "a", "c"]);
  expect(order({ sort: "disk" })).toEqual(["a", "b", "c"]);
  expect(order({ sort: "pids" })).toEqual(["a", "b", "c"]);
});

describe("a wide terminal", () => {
  const wide = { rows: 5, columns: 200 };

  test("gives a name no more room than it needs, and shows the image", () => {
    const [, title = "", first = ""] = frame({ size: wide, rows: [row({ memoryPercent: 12.34 })] });
    expect(title).toMatch(/^NAME {5}IMAGE +\*CPU% +MEM +MEM% .*STATUS/);
    expect(first).toMatch(/^web {6}busybox +0\.0% .*12\.3% /);
  });
});

describe("what a person asks for", () => {
  const rows = [row({ name: "web" }), row({ name: "db", image: "Postgres" }), row({ name: "x" })];

  test("a filter leaves names and images that have it, in any case", () => {
    const names = (filter: string) => filtered(rows, { filter }).map(({ name }) => name);
    expect(names("POST")).toEqual(["db"]);
    expect(names("e")).toEqual(["web", "db"]);
    expect(names("we")).toEqual(["web"]);
    expect(names("none")).toEqual([]);
    const lines = frame({ rows, view: view({ filter: "post" }) });
    expect(lines[0]).toContain("filter: post");
    expect(lines[2]).toStartWith("db");
    expect(lines[3]).toBe("");
  });

  test("what is being typed stands at the foot", () => {
    expect(frame({ view: view({ filter: "we", typing: true }) }).at(-1)).toStartWith(
      "filter: we_  enter keep",
    );
  });

  test("help stands where the containers were, cut to any terminal", () => {
    expect(frame({ view: view({ help: true }) }).join("\n")).toContain("sort by CPU");
    for (const size of [
      { rows: 1, columns: 1 },
      { rows: 4, columns: 10 },
    ]) {
      const lines = frame({ size, view: view({ help: true }) });
      expect(lines).toHaveLength(size.rows);
      for (const line of lines) expect(line.length).toBeLessThanOrEqual(size.columns);
    }
  });

  test("where one is in a long list comes before the keys", () => {
    const many = Array.from({ length: 50 }, (_, index) => row({ name: `c${index}` }));
    const size = { rows: 10, columns: 30 };
    expect(frame({ rows: many, size }).at(-1)).toStartWith("1-7 of 50  q quit");
    expect(frame({ rows: many, size, view: view({ paused: true }) })[0]).toStartWith("PAUSED");
  });
});

test("keys are read from what terminals send", () => {
  expect(parseKeys("q\x1b[A\x1bOB\x1b[5~\x1b[1;5C\x03\x1b")).toEqual([
    "char:q",
    "up",
    "down",
    "pageUp",
    "interrupt",
    "escape",
  ]);
  expect(parseKeys("\x1b[H\x1b[4~ \x7f\t\r")).toEqual([
    "home",
    "end",
    "char: ",
    "backspace",
    "enter",
  ]);
});
