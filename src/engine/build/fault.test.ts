import { expect, test } from "bun:test";

import { parseDockerfile } from "#engine/build/dockerfile";

import { drawFault, Faults } from "./fault.ts";

const lines = ["FROM a", "RUN b", "RUN c \\", "  d", "CMD e\u001b[31m", ""];
const file = "Dockerfile";

test("one line is shown with two around it, several with one, and marked", () => {
  expect(drawFault({ file, lines }, { startLine: 2, endLine: 2 })).toBe(
    [
      "Dockerfile:2",
      "--------------------",
      "   1 |     FROM a",
      "   2 | >>> RUN b",
      "   3 |     RUN c \\",
      "   4 |       d",
      "--------------------",
    ].join("\n"),
  );
  expect(drawFault({ file, lines }, { startLine: 3, endLine: 4 }).split("\n").slice(2, -1)).toEqual(
    ["   2 |     RUN b", "   3 | >>> RUN c \\", "   4 | >>>   d", "   5 |     CMD e?[31m"],
  );
});

test("a place beyond the file is no error, and a long instruction is cut", () => {
  expect(drawFault({ file, lines }, { startLine: 40, endLine: 41 }).split("\n")).toHaveLength(3);
  const many = Array.from({ length: 900 }, (_, index) => `line ${index}`);
  expect(
    drawFault({ file, lines: many }, { startLine: 5, endLine: 900 }).split("\n").length,
  ).toBeLessThan(32);
});

test("an error's place is the first that was told, or the parser's own", () => {
  const faults = new Faults();
  const cause = new Error("x");
  faults.blame(cause, { location: { startLine: 1, endLine: 1 }, step: 4 });
  faults.blame(cause, { location: { startLine: 2, endLine: 2 }, step: 5 });
  expect(faults.of(cause)).toEqual({ location: { startLine: 1, endLine: 1 }, step: 4 });
  expect(faults.of("text")).toBeNull();
  expect(faults.of(new Error("y"))).toBeNull();
  let thrown: unknown;
  try {
    parseDockerfile("FROM a\nRUN x \\\n  y\nCOPY \\\n  --bad a b\n");
  } catch (error) {
    thrown = error;
  }
  expect(faults.of(thrown)).toEqual({ location: { startLine: 4, endLine: 5 }, step: null });
});
