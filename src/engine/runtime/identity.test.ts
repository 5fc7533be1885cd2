import { expect, test } from "bun:test";

import { lookUp } from "./identity.ts";

const files = {
  passwd: [
    { name: "root", uid: 0, gid: 0, home: "/root" },
    { name: "web", uid: 33, gid: 34, home: "/var/www" },
    { name: "77", uid: 78, gid: 79, home: "/odd" },
    { name: "huge", uid: 4_294_967_295, gid: 0, home: "/" },
  ],
  groups: [
    { name: "root", gid: 0, members: [] },
    { name: "wheel", gid: 10, members: ["root", "web"] },
    { name: "web", gid: 34, members: [] },
  ],
};
const resolve = (user: string, ...groups: string[]) => lookUp({ user, groups }, files);

test("nobody named is root with root's groups", () => {
  expect(resolve("")).toEqual({ uid: 0, gid: 0, groups: [0, 10], home: "/root" });
});

test("a name and its number are the same user", () => {
  const web = { uid: 33, gid: 34, groups: [34, 10], home: "/var/www" };
  expect(resolve("web")).toEqual(web);
  expect(resolve("33")).toEqual(web);
});

test("a user's name made of digits is a name first", () => {
  expect(resolve("77")).toMatchObject({ uid: 78, gid: 79 });
});

test("a number nobody has is itself, at home in /", () => {
  expect(resolve("1234")).toEqual({ uid: 1234, gid: 0, groups: [0], home: "/" });
});

test("a named group replaces the user's own, added ones come on top", () => {
  expect(resolve("web:0")).toEqual({ uid: 33, gid: 0, groups: [0], home: "/var/www" });
  expect(resolve("1:99", "wheel", "500")).toMatchObject({ gid: 99, groups: [99, 10, 500] });
});

test("what is unknown is refused in Docker's words", () => {
  expect(() => resolve("nosuch")).toThrow(
    "unable to find user nosuch: no matching entries in passwd file",
  );
  expect(() => resolve("web:nosuch")).toThrow(
    "unable to find group nosuch: no matching entries in group file",
  );
  expect(() => resolve("web", "nosuch")).toThrow(
    "unable to find group nosuch: no matching entries in group file",
  );
});

test("ids that would wrap are refused, from the flag and from the image's file (CVE-2024-40635)", () => {
  for (const user of ["2147483648", "4294967296", "-1", "0:4294967295", "huge"]) {
    expect(() => resolve(user)).toThrow("uids and gids must be in range 0-2147483647");
  }
});
