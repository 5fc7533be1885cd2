import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";

import { checked } from "#linux/ffi";

import { type Nftables, NftablesError, openLibrary, openNftables, openProgram } from "./index.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs: the host's ruleset is never touched. */
let home = -1;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
});
afterAll(() => {
  checked("setns", "net", home, CLONE_NEWNET);
  closeSync(home);
});

const caught = (work: () => void): NftablesError => {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof NftablesError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was refused");
};

const opened = (nftables: Nftables | null): Nftables => {
  if (!nftables) throw new Error("libnftables.so.1 is not installed");
  return nftables;
};

for (const [name, open] of [
  ["the library", () => opened(openLibrary())],
  ["the program", openProgram],
  ["the default", openNftables],
] as const) {
  describe(name, () => {
    test("applies a transaction and lists it", () => {
      using nftables = open();
      nftables.apply(["add table inet narut", "add chain inet narut first"]);
      expect(nftables.list("list table inet narut")).toMatchObject([
        { table: { family: "inet", name: "narut" } },
        { chain: { table: "narut", name: "first" } },
      ]);
      nftables.apply(["delete table inet narut"]);
    });

    test("an outline has rules and sets, and nothing of what is in them", () => {
      using nftables = open();
      nftables.apply([
        "add table inet narut",
        "add chain inet narut first",
        "add set inet narut ports { type inet_service; elements = { 80 } }",
        "add rule inet narut first tcp dport @ports accept",
      ]);
      const kinds = nftables.outline("list table inet narut").flatMap((one) => Object.keys(one));
      expect(kinds.toSorted()).toEqual(["chain", "rule", "set", "table"]);
      expect(JSON.stringify(nftables.outline("list table inet narut"))).not.toContain("elem");
      expect(JSON.stringify(nftables.list("list table inet narut"))).toContain("elem");
      nftables.apply(["delete table inet narut"]);
    });

    test("does all or nothing, and tells why in nft's words", () => {
      using nftables = open();
      const error = caught(() =>
        nftables.apply(["add table inet narut", "add rule inet narut nowhere accept"]),
      );
      expect(error.code).toBe("ENOENT");
      expect(error.message).toContain("nft add table inet narut …: Error: ");
      expect(error.message).toContain("No such file or directory");
      expect(nftables.list("list tables")).toEqual([]);
    });

    test("an element with another value is EEXIST, a command that is none an error", () => {
      using nftables = open();
      nftables.apply([
        "add table inet narut",
        "add map inet narut ports { type inet_proto . inet_service : ipv4_addr . inet_service; }",
        "add element inet narut ports { tcp . 80 : 10.0.0.2 . 80 }",
      ]);
      const other = "add element inet narut ports { tcp . 80 : 10.0.0.3 . 80 }";
      expect(caught(() => nftables.apply([other])).code).toBe("EEXIST");
      expect(caught(() => nftables.apply(["frobnicate"])).message).toContain("syntax error");
      nftables.apply(["delete table inet narut"]);
    });
  });
}
