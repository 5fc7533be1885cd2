import { expect, test } from "bun:test";

import { scopeOf } from "./scope.ts";

test("a supervisor leaves a service's folder for one below it, and a login session altogether", () => {
  expect(scopeOf("/system.slice/naru.service")).toBe("/system.slice/naru.service/naru-supervisor");
  expect(scopeOf("/user.slice/user-0.slice/session-3.scope")).toBe("/naru-supervisor");
  expect(scopeOf("/user.slice/user-0.slice/user@0.service/app.slice/x.scope")).toBe(
    "/naru-supervisor",
  );
  expect(scopeOf("/")).toBeNull();
  expect(scopeOf("/docker/abc")).toBeNull();
  expect(scopeOf("/naru-supervisor")).toBeNull();
  expect(scopeOf("/system.slice/naru.service/naru-supervisor")).toBeNull();
});
