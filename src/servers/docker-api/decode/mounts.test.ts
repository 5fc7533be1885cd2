import { expect, test } from "bun:test";

import { decodeBind } from "./mounts.ts";

test("-v in all its forms", () => {
  expect(decodeBind("/data")).toMatchObject({ type: "volume", name: "", target: "/data" });
  expect(decodeBind("cache:/c:nocopy,ro")).toMatchObject({
    type: "volume",
    name: "cache",
    noCopy: true,
    readOnly: true,
  });
  expect(decodeBind("/a:/b:z")).toMatchObject({
    type: "bind",
    readOnly: false,
    propagation: "rprivate",
  });
  for (const broken of [
    "",
    ":",
    "a:",
    ":/b",
    "/a:/b:rw:z",
    "/a:/b:sideways",
    "v:/b:rshared",
    "/a:/b:nocopy",
  ]) {
    expect(() => decodeBind(broken)).toThrow();
  }
});
