import { expect, test } from "bun:test";

import { Query, requireFilters } from "./index.ts";

test("a boolean is true unless it is one of Docker's words for false", () => {
  const query = new Query("a=1&b=true&c=True&d=yes&e=0&f=false&g=False&h=no&i=none&j=&k=x");
  expect(["a", "b", "c", "d", "k"].map((name) => query.bool(name))).toEqual([
    true,
    true,
    true,
    true,
    true,
  ]);
  expect(["e", "f", "g", "h", "i", "j", "z"].some((name) => query.bool(name))).toBe(false);
  expect(query.bool("z", true)).toBe(true);
});

test("an integer that is none is refused in the words of Go", () => {
  const query = new Query("t=10&n=-1&bad=ten&big=99999999999999999999&half=1.5&none=");
  expect([query.integer("t"), query.integer("n"), query.integer("none")]).toEqual([10, -1, null]);
  expect(() => query.integer("bad")).toThrow('strconv.ParseInt: parsing "ten": invalid syntax');
  expect(() => query.integer("big")).toThrow("value out of range");
  expect(() => query.integer("half")).toThrow("invalid syntax");
});

test("filters come in both of Docker's forms", () => {
  const filters = (value: unknown) =>
    new Query(new URLSearchParams({ filters: JSON.stringify(value) }).toString()).filters();
  expect(filters({ status: { running: true, exited: true } })).toEqual({
    status: ["running", "exited"],
  });
  expect(filters({ label: ["a=b"] })).toEqual({ label: ["a=b"] });
  expect(filters(null)).toEqual({});
  for (const bad of [1, "x", [], { a: 1 }, { a: [1] }, { a: { b: 1 } }, { a: null }]) {
    expect(() => filters(bad)).toThrow("invalid filter");
  }
  expect(() => new Query("filters=%7B").filters()).toThrow("invalid filter");
  expect(() => requireFilters({ colour: ["red"] }, new Set(["name"]))).toThrow(
    "invalid filter 'colour'",
  );
});
