import { expect, test } from "bun:test";

import { nextRange, parseUserRemap } from "./user-remap.ts";

const files = {
  passwd: "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/false\n",
  group: "root:x:0:\nweb:x:34:\nteam:x:50:web\n",
  subuid: "# people\nweb:200000:65536\n33:100000:1000\n",
  subgid: "web:300000:65536\nteam:400000:10\n",
};

test("a user has its ranges one after the other, lowest first, by name or number", () => {
  const uids = [
    { containerID: 0, hostID: 100_000, size: 1000 },
    { containerID: 1000, hostID: 200_000, size: 65_536 },
  ];
  const gids = [{ containerID: 0, hostID: 300_000, size: 65_536 }];
  expect(parseUserRemap("web", files)).toEqual({ uids, gids });
  expect(parseUserRemap("33", files)).toEqual({ uids, gids });
  expect(parseUserRemap("web:team", files).gids).toEqual([
    { containerID: 0, hostID: 400_000, size: 10 },
  ]);
});

test("what is no user, has no ranges, or would be the host's root is refused", () => {
  const refused = (asked: string, sentence: string, change: Partial<typeof files> = {}) =>
    expect(() => parseUserRemap(asked, { ...files, ...change })).toThrow(sentence);
  refused("nosuch", 'Error during uid lookup for "nosuch"');
  refused("web:nosuch", 'Error during gid lookup for "nosuch"');
  refused("root", 'no subuid ranges found for user "root"');
  refused("web", 'no subgid ranges found for group "web"', { subgid: "" });
  refused("web", "is no range", { subuid: "web:-1:x" });
  refused("web", "is no range", { subuid: "web:4294967295:65536" });
  refused("web", "the host's own root", { subuid: "web:0:65536" });
  refused("web", "ranges overlap", { subuid: "web:1000:10\nweb:1009:10" });
  for (const asked of [":", "web:", "a:b:c", ""]) refused(asked, "invalid user/group");
});

test("a new range goes above all others", () => {
  expect(nextRange("")).toBe(100_000);
  expect(nextRange("a:100000:65536\nb:500000:10\nbroken\n")).toBe(500_010);
});
