import { expect, test } from "bun:test";

import { timestampFromDate } from "#wire/grpc";

import { traceOf } from "./trace.ts";

const at = (second: number): Date => new Date(1_700_000_000_000 + second * 1000);
const told = (second: number) => timestampFromDate(at(second));

interface Written {
  readonly Name: string;
  readonly SpanContext: { readonly TraceID: string; readonly SpanID: string };
  readonly Parent: { readonly SpanID: string };
  readonly EndTime: string;
  readonly Status: { readonly Code: string; readonly Description: string };
}

const spansOf = (bytes: Uint8Array): Written[] =>
  new TextDecoder()
    .decode(bytes)
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Written);

test("a build's vertexes are spans below that of the build, as they were told last", () => {
  const updates = [
    { vertexes: [{ digest: "a", name: "one", started: told(1) }] },
    { logs: [] },
    { vertexes: [{ digest: "a", name: "one", started: told(1), completed: told(2) }] },
    { vertexes: [{ digest: "b", name: "two", started: told(2), error: "exit code: 1" }] },
    { vertexes: [{ digest: "c", name: "not begun" }] },
  ];
  const build = { ref: "r", startedAt: at(0), endedAt: at(5), error: "failed", updates };
  const [root, one, two, ...others] = spansOf(traceOf(build));
  expect(others).toEqual([]);
  expect(root).toMatchObject({ Status: { Code: "Error", Description: "failed" } });
  expect(root?.Parent.SpanID).toBe("0".repeat(16));
  for (const span of [one, two]) {
    expect(span?.SpanContext.TraceID).toBe(root?.SpanContext.TraceID ?? "");
    expect(span?.Parent.SpanID).toBe(root?.SpanContext.SpanID ?? "");
  }
  expect(one).toMatchObject({
    Name: "one",
    EndTime: at(2).toISOString(),
    Status: { Code: "Unset" },
  });
  // What was broken off ends with the build.
  expect(two).toMatchObject({ EndTime: at(5).toISOString(), Status: { Code: "Error" } });
  expect(root?.SpanContext.TraceID).toMatch(/^[0-9a-f]{32}$/);
  expect(one?.SpanContext.SpanID).toMatch(/^[0-9a-f]{16}$/);
});
