import { expect, test } from "bun:test";

import { decodeAuth, decodeCredentials } from "./registry-auth.ts";

test("credentials come in base64, with or without the URL's alphabet; what cannot be read is none", () => {
  const header = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  expect(
    decodeCredentials(header({ username: "ü?", password: "p>", serveraddress: "r:1" })),
  ).toEqual({
    username: "ü?",
    password: "p>",
    serverAddress: "r:1",
  });
  expect(decodeCredentials(header({ auth: Buffer.from("u:p:q").toString("base64") }))).toEqual({
    username: "u",
    password: "p:q",
  });
  expect(decodeCredentials(header({ identitytoken: "t" }))).toEqual({ identityToken: "t" });
  for (const none of ["", "###", header({}), header({ username: 7 })]) {
    expect(decodeCredentials(none)).toBeUndefined();
  }
});

test("the body of a login is the same, and says what is wrong with it", () => {
  expect(decodeAuth({ username: "u", password: "p", serveraddress: "r:1" })).toEqual({
    username: "u",
    password: "p",
    serverAddress: "r:1",
  });
  expect(() => decodeAuth({ username: 7 })).toThrow();
});
