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
    "FROM b AS base",
    "FROM a AS late",
    "COPY --from=base /x /x",
    "FROM base",
    "COPY --from=late /x /y",
    "RUN --mount=from=1,target=/m true",
  ].join("\n");
  expect(names(text)).toEqual(["base", "late", "3"]);
  expect(names(text, "late")).toEqual(["base", "late"]);
  expect(names(text, "UNUSED")).toEqual(["unused"]);
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
  // Of the whole file, whatever is built of it; told of the stage that comes first.
  expect(() =>
    plan("FROM x AS a\nCOPY --from=b / /\nFROM y AS b\nCOPY --from=a / /\nFROM z"),
  ).toThrow("circular dependency detected on stage: a");
  expect(() => plan("FROM x", "nope")).toThrow('target stage "nope" could not be found');
  expect(() => plan("FROM x AS build", "biuld")).toThrow("(did you mean build?)");
  expect(() => plan("FROM x", "0")).toThrow('target stage "0" could not be found');
  const later = "FROM x AS a\nCOPY --from=b / /\nFROM y AS b";
  expect(() => plan(later, "a")).toThrow(
    'cannot copy from stage "b", it needs to be defined before current stage "a"',
  );
  expect(plan(later).stages).toHaveLength(1);
  const mount = "FROM x AS a\nRUN --mount=from=b,target=/m y\nFROM y AS b";
  expect(() => plan(mount, "a")).toThrow('cannot mount from stage "b" to "/m"');
  expect(() => plan("FROM x\nCOPY --from=3 / /")).toThrow("invalid stage index 3");
  expect(() => plan("ARG s=a\nFROM x\nCOPY --from=$s / /")).toThrow(
    "variable expansion is not supported for --from",
  );
  expect(() => plan("FROM --platform=$p x")).toThrow("empty platform value from expression $p");
  expect(() => plan("FROM --platform=a/b/c/d x")).toThrow("failed to parse platform a/b/c/d: ");
  expect(() => plan("FROM $none")).toThrow("base name ($none) should not be blank");
});

test("what ONBUILD of a base will read is needed too, by names of the file", () => {
  const triggersOf = (image: string) =>
    image === "base"
      ? ["COPY --from=src /a /b", "RUN --mount=type=bind,from=2,target=/m true"]
      : [];
  const build = (text: string) =>
    planBuild(parseDockerfile(text), { target: "", globals: {}, triggersOf });
  const file = "FROM x AS src\nFROM x AS none\nFROM y\nFROM base";
  expect(build(file).stages.map(({ index }) => index)).toEqual([0, 2, 3]);
  const own = "FROM x AS src\nFROM x AS made\nONBUILD COPY --from=src /a /b\nFROM made";
  expect(build(own).stages.map(({ index }) => index)).toEqual([1, 0, 2]);
  expect(() => build("FROM z\nFROM base AS b\nFROM x AS src\nFROM b")).toThrow(
    'cannot copy from stage "src", it needs to be defined before current stage "b"',
  );
});
