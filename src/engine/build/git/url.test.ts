import { expect, test } from "bun:test";

import { parseGitUrl } from "./index.ts";

test.each([
  ["https://h/x.git", { remote: "https://h/x.git", ref: "", folder: "" }],
  ["https://h/x.git#v1", { remote: "https://h/x.git", ref: "v1", folder: "" }],
  ["http://h/x.git#v1:a/./b/", { remote: "http://h/x.git", ref: "v1", folder: "a/b" }],
  ["git://h/x#:sub", { remote: "git://h/x", ref: "", folder: "sub" }],
  ["git@h:o/x.git#main", { remote: "git@h:o/x.git", ref: "main", folder: "" }],
  ["github.com/o/x", { remote: "https://github.com/o/x", ref: "", folder: "" }],
  ["https://h/x.tar", null],
  ["x.git", null],
])("%p", (text, expected) => {
  expect(parseGitUrl(text)).toEqual(expected);
});

test.each([
  "https://h/x.git#--upload-pack=touch",
  "https://h/x.git#a..b",
  "https://h/x.git#v:../../etc",
  "git://h/x y",
  "https://h/x.git#a\nb",
])("%p is refused", (text) => {
  expect(() => parseGitUrl(text)).toThrow("invalid");
});
