import { describe, expect, test } from "bun:test";

import { missingNameIn } from "./commands/failure.ts";
import { nearest } from "./name-suggestions.ts";

describe("a mistyped name", () => {
  test("is found in the engine's sentences", () => {
    expect(missingNameIn("No such container: web")).toEqual({ kind: "container", name: "web" });
    expect(missingNameIn("No such image: demo:latest")).toEqual({
      kind: "image",
      name: "demo:latest",
    });
    expect(missingNameIn("Error: No such object: x")).toEqual({ kind: "object", name: "x" });
    expect(missingNameIn("get data: no such volume")).toEqual({ kind: "volume", name: "data" });
    expect(missingNameIn("network front not found")).toEqual({ kind: "network", name: "front" });
    expect(missingNameIn("container web is not running")).toBeNull();
  });

  test("has neighbours a slip or two away, and none when it is short", () => {
    expect(nearest("postgers", ["postgres", "redis"])).toEqual(["postgres"]);
    expect(nearest("busybix:latest", ["busybox:latest", "busybox:1"])).toEqual(["busybox:latest"]);
    expect(nearest("web1", ["web2", "web3", "other"])).toEqual(["web2", "web3"]);
    expect(nearest("web", ["wep", "w"])).toEqual([]);
    expect(nearest("nosuch", ["web", "done"])).toEqual([]);
  });
});
