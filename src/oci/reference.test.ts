import { describe, expect, test } from "bun:test";

import { assert, property, stringMatching } from "fast-check";

import {
  familiarReference,
  formatReference,
  parseAnyReference,
  parseReference,
  parseTag,
  withDefaultTag,
} from "./reference.ts";

const HEX = "a".repeat(64);
const DIGEST = `sha256:${HEX}`;

describe("a name is completed as Docker completes it", () => {
  const cases: [string, string, string][] = [
    ["busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"],
    ["library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["index.docker.io/library/busybox", "docker.io/library/busybox:latest", "busybox:latest"],
    ["someone/thing", "docker.io/someone/thing:latest", "someone/thing:latest"],
    ["library/foo/bar", "docker.io/library/foo/bar:latest", "library/foo/bar:latest"],
    ["localhost/x", "localhost/x:latest", "localhost/x:latest"],
    ["localhost:5000/x:1", "localhost:5000/x:1", "localhost:5000/x:1"],
    ["127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"],
    ["[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"],
    ["ghcr.io/a/b-c__d.e", "ghcr.io/a/b-c__d.e:latest", "ghcr.io/a/b-c__d.e:latest"],
    ["Registry/x", "Registry/x:latest", "Registry/x:latest"],
    [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`, `busybox@${DIGEST}`],
    [`a/b:1@${DIGEST}`, `docker.io/a/b:1@${DIGEST}`, `a/b:1@${DIGEST}`],
    ["foo:5000", "docker.io/library/foo:5000", "foo:5000"],
  ];
  test.each(cases)("%s", (text, whole, familiar) => {
    const reference = withDefaultTag(parseReference(text));
    expect(formatReference(reference)).toBe(whole);
    expect(familiarReference(reference)).toBe(familiar);
  });
});

describe("what is no name is refused in the distribution library's sentences", () => {
  const cases: [string, string][] = [
    ["", "invalid reference format"],
    ["Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"],
    ["a/B", "invalid reference format: repository name (a/B) must be lowercase"],
    ["x.io/A", "invalid reference format: repository name (A) must be lowercase"],
    ["-x", "invalid reference format"],
    ["x:", "invalid reference format"],
    ["x:-y", "invalid reference format"],
    [`x:${"y".repeat(129)}`, "invalid reference format"],
    ["a//b", "invalid reference format"],
    ["a___b", "invalid reference format"],
    ["https://x.io/a", "invalid reference format"],
    ["x y", "invalid reference format"],
    ["x\n", "invalid reference format"],
    ["../x", "invalid reference format"],
    ["x@sha256:abc", "invalid reference format"],
    [`x@sha256:${"a".repeat(63)}`, "invalid checksum digest length"],
    [`x@sha256:${"A".repeat(64)}`, "invalid checksum digest format"],
    [`x@sha512:${"a".repeat(128)}`, "unsupported digest algorithm"],
    [
      `x/${"y".repeat(254)}`,
      "invalid reference format: repository name must not be more than 255 characters",
    ],
    [HEX, `invalid repository name (${HEX}), cannot specify 64-byte hexadecimal strings`],
  ];
  test.each(cases)("%p", (text, sentence) => {
    expect(() => parseReference(text)).toThrow(new Error(sentence));
  });
});

test("64 digits are an id, with or without the algorithm", () => {
  expect(parseAnyReference(HEX)).toEqual({ id: `sha256:${HEX}` });
  expect(parseAnyReference(DIGEST)).toEqual({ id: `sha256:${HEX}` });
  expect(parseAnyReference("abc")).toMatchObject({ path: "library/abc" });
});

test("a tag is up to 128 word characters, dots and dashes", () => {
  expect(parseTag("1.36-musl_x")).toBe("1.36-musl_x");
  for (const bad of ["", ".x", "-x", "a/b", "a:b", "x".repeat(129)]) {
    expect(() => parseTag(bad)).toThrow("invalid tag format");
  }
});

test("whatever parses says itself again, and odd texts never hang", () => {
  assert(
    property(stringMatching(/^[a-zA-Z0-9._:/@[\]-]{0,60}$/), (text) => {
      try {
        const reference = parseReference(text);
        expect(parseReference(formatReference(reference))).toEqual(reference);
        expect(parseReference(familiarReference(reference))).toEqual(reference);
      } catch (thrown) {
        expect(String(thrown)).toContain("invalid");
      }
    }),
  );
  const long = "a-".repeat(3000);
  const began = performance.now();
  expect(() => parseReference(`${long}!`)).toThrow("invalid reference format");
  expect(() => parseReference(`${"a-".repeat(1500)}!`)).toThrow("invalid reference format");
  // One that tries every way to read it takes for ever.
  expect(performance.now() - began).toBeLessThan(5000);
});
