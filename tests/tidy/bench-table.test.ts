/** The numbers that people read are those that were measured. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";

import { LATEST, mergeResults, type Results, rowOf } from "../../bench/results.ts";
import { benchTable, withBenchTable } from "../../tools/bench-table.ts";

test.each([
  ["README.md", "en"],
  ["README.ko.md", "ko"],
] as const)(
  "%s has the table that tools/bench-table.ts makes of the last results",
  (file, language) => {
    const document = readFileSync(file, "utf8");
    const results = JSON.parse(readFileSync(LATEST, "utf8")) as Results;
    expect(withBenchTable(document, benchTable(results, language))).toBe(document);
  },
);

const about = { name: "birth", unit: "ms", budget: "none" };
const results = (date: string, rows: Results["rows"]): Results => ({
  date,
  machine: "one",
  naru: "dev",
  docker: "20",
  rows,
});

test("a row has medians, and ratios of naru to each of the others", () => {
  const row = rowOf(about, [
    { contender: "naru", values: [3, 1, 2] },
    { contender: "docker", values: [4] },
  ]);
  expect(row.medians).toEqual({ naru: 2, docker: 4 });
  expect(row.ratios).toEqual({ "naru / docker": 0.5 });
});

test("rows of a later run take the places of the earlier ones and tell when they were measured", () => {
  const row = (name: string, value: number) =>
    rowOf({ ...about, name }, [{ contender: "naru", values: [value] }]);
  const earlier = {
    ...results("monday", [row("a", 1), row("b", 2)]),
    failed: [
      { scenario: "c", reason: "slow" },
      { scenario: "d", reason: "slow" },
    ],
  };
  const merged = mergeResults(earlier, results("tuesday", [row("c", 3), row("a", 4)]));
  expect(
    merged.rows.map(({ scenario, medians, date }) => [scenario, medians["naru"], date]),
  ).toEqual([
    ["a", 4, "tuesday"],
    ["b", 2, undefined],
    ["c", 3, "tuesday"],
  ]);
  expect(merged.date).toBe("monday");
  expect(merged.failed).toEqual([{ scenario: "d", reason: "slow" }]);
});
