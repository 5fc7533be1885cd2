import { expect, test } from "bun:test";

import { encodeHostMounts } from "../encode/host-config.ts";
import { decodeBind, decodeMounts } from "./mounts.ts";

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

test("what was asked for is told letter for letter, by the way it was asked for", () => {
  const asked = {
    Binds: ["vol:/v:rw", "/a:/b", "/c:/d:ro,rprivate", "/anonymous"],
    Mounts: [
      {
        Type: "bind" as const,
        Source: "/e",
        Target: "/f",
        BindOptions: { CreateMountpoint: true },
      },
    ],
  };
  expect(encodeHostMounts(decodeMounts(asked))).toMatchObject(asked);
});
