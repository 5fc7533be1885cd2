import { expect, test } from "bun:test";

import type { BuildRequest } from "./build-service.ts";
import { areRead, contextReads } from "./context-reads.ts";

const asked = (target = ""): BuildRequest =>
  ({ target, buildArgs: {}, contexts: new Map(), platform: null }) as unknown as BuildRequest;
const reads = (text: string, target = "") => contextReads(`FROM scratch\n${text}`, asked(target));

test("what stages copy, add and mount is what is read of the context", () => {
  expect(
    reads("COPY b ./a/ /x/\nADD https://h/x c* /\nRUN --mount=source=/d/../e,target=/m x"),
  ).toEqual(["a", "b", "c*", "e"]);
  expect(reads("RUN true")).toEqual([]);
  expect(reads("COPY --from=busybox a /\nRUN --mount=type=cache,target=/c x")).toEqual([]);
});

test("the whole context is read where a path is it or is not known yet", () => {
  for (const source of [".", "/", "$X", '"a"', "a/.."]) {
    expect(reads(`COPY ${source} /`)).toBe(null);
  }
  expect(reads("RUN --mount=type=bind,target=/x true")).toBe(null);
  expect(reads("RUN --mount=type=$X,target=/x true")).toBe(null);
});

test("stages that the target does not need read nothing", () => {
  const text = "COPY a /\nFROM scratch AS two\nCOPY b /\nFROM scratch\nCOPY . /\n";
  expect(reads(text, "two")).toEqual(["b"]);
  expect(reads("COPY a /\nNONSENSE")).toEqual([]);
});

test("a step is served by what came only when all of its sources are in it", () => {
  expect(areRead(["./a", "/b/"], ["a", "b"])).toBe(true);
  expect(areRead(["a", "c"], ["a", "b"])).toBe(false);
  expect(areRead(["."], ["a"])).toBe(false);
});
