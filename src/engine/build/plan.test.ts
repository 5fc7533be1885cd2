import { expect, test } from "bun:test";

import { parseDockerfile } from "#engine/build/dockerfile";

import { planBuild } from "./plan.ts";

const plan = (text: string, target = "", globals = {}) =>
  planBuild(parseDockerfile(text), { target, globals });
const names = (text: string, target = "") =>
  plan(text, target).stages.map(({ stage, index }) => stage.name || String(index));

test("only what the target needs is built, each after what it needs", () => {
  const text = [
    "FROM a AS unused",
    "FROM a AS late",
    "COPY --from=base /x /x",
    "FROM b AS base",
    "FROM base",
    "COPY --from=late /x /y",
    "RUN --mount=from=1,target=/m true",
  ].join("\n");
  expect(names(text)).toEqual(["base", "late", "3"]);
  expect(names(text, "late")).toEqual(["base", "late"]);
  expect(names(text, "0")).toEqual(["unused"]);
  expect(plan(text).total).toBe(6);
});

test("FROM takes a stage before it by name, else an image; the last of two names wins", () => {
  const { stages, find } = plan("FROM x AS a\nFROM y AS A\nFROM a", "", {});
  expect(stages.at(-1)?.base).toEqual({ stage: 1 });
  expect([find("A"), find("2"), find("3"), find("none")]).toEqual([1, 2, null, null]);
  expect(plan("FROM $B-z", "", { B: "y" }).stages[0]?.base).toEqual({ image: "y-z" });
});

test("circles, unknown targets and empty names are told", () => {
  expect(() => plan("FROM x AS a\nCOPY --from=a /x /y")).toThrow(
    "circular dependency detected on stage: a",
  );
  expect(() => plan("FROM x", "nope")).toThrow('target stage "nope" could not be found');
  expect(() => plan("FROM $none")).toThrow("base name ($none) should not be blank");
});
