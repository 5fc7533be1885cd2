import { describe, expect, test } from "bun:test";

import { alignColumns } from "./table.ts";

describe("columns are aligned as Go's tabwriter aligns docker's", () => {
  test("three spaces between, ten at least, and none behind the last", () => {
    expect(alignColumns("NAME\tTAG\tID\nlonger-name\tx\tabc\n")).toBe(
      "NAME          TAG       ID\nlonger-name   x         abc\n",
    );
  });

  test("a column ends where a line does not have it", () => {
    expect(alignColumns("a\tb\nplain\nlong-cell-here\tb\n", 0)).toBe(
      "a   b\nplain\nlong-cell-here   b\n",
    );
  });
});
