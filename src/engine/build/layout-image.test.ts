import { expect, test } from "bun:test";

import { digestOf } from "#oci";

import { contextKey } from "./context-name.ts";
import { parseLayoutName } from "./layout-image.ts";

const digest = digestOf("x");

test.each([
  [`oci-layout://store@${digest}`, { store: "store", digest }],
  [`oci-layout://store:v1.2@${digest}`, { store: "store", digest }],
  [`oci-layout://a/b:latest@${digest}`, { store: "a/b", digest }],
  ["oci-layout:named", null],
  ["docker-image://busybox", null],
])("%p", (value, expected) => {
  expect(parseLayoutName(value)).toEqual(expected);
});

test("a layout without a digest, or without a name, is refused", () => {
  expect(() => parseLayoutName("oci-layout://store:v1")).toThrow(
    'oci-layout reference "store:v1" has no digest',
  );
  expect(() => parseLayoutName("oci-layout://store@sha256:12")).toThrow("has no digest");
  expect(() => parseLayoutName(`oci-layout://@${digest}`)).toThrow("could not parse");
});

test("a context is meant by every name that its image could have", () => {
  const contexts = new Set(["base", "docker.io/library/odd:latest"]);
  expect(contextKey(contexts, "base")).toBe("base");
  expect(contextKey(contexts, "docker.io/library/base:latest")).toBe("base");
  expect(contextKey(contexts, "base:1")).toBeNull();
  expect(contextKey(contexts, "docker.io/library/odd:latest")).toBe("docker.io/library/odd:latest");
  expect(contextKey(contexts, "Not A Name")).toBeNull();
});
