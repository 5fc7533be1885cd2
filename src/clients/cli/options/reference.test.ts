import { describe, expect, test } from "bun:test";

import { familiarString, parseReference } from "./reference.ts";

describe("image names", () => {
  test.each([
    ["busybox", "docker.io", "library/busybox", "busybox:latest"],
    ["me/app:1", "docker.io", "me/app", "me/app:1"],
    ["localhost:5000/a", "localhost:5000", "a", "localhost:5000/a:latest"],
    ["localhost/a", "localhost", "a", "localhost/a:latest"],
    ["index.docker.io/a", "docker.io", "library/a", "a:latest"],
    [`a@sha256:${"0".repeat(64)}`, "docker.io", "library/a", `a@sha256:${"0".repeat(64)}`],
  ])("%s", (text, domain, path, shown) => {
    const reference = parseReference(text);
    expect([reference.domain, reference.path]).toEqual([domain, path]);
    expect(familiarString(reference)).toBe(shown);
  });

  test.each(["", "a:b:c", "-a", "a//b", "a@sha256:12", "a b"])("%p is refused", (text) => {
    expect(() => parseReference(text)).toThrow("invalid reference format");
  });

  test("capital letters are refused with the reason", () => {
    expect(() => parseReference("UPPER")).toThrow(
      "invalid reference format: repository name (library/UPPER) must be lowercase",
    );
  });
});
