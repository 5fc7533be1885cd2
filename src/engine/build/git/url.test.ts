import { expect, test } from "bun:test";

import { parseGitUrl } from "./index.ts";

const ALL = { ref: "", folder: "", commit: "", keepGitDir: null, hasSubmodules: true };
const AT_H = { ...ALL, remote: "https://h/x.git" };
const COMMIT = "4f1c0b7d6a1f2e3c4b5a69788796a5b4c3d2e1f0";

test.each([
  ["https://h/x.git", AT_H],
  ["https://h/x.git#v1", { ...AT_H, ref: "v1" }],
  ["http://h/x.git#v1:a/./b/", { ...ALL, remote: "http://h/x.git", ref: "v1", folder: "a/b" }],
  ["git://h/x#:sub", { ...ALL, remote: "git://h/x", folder: "sub" }],
  ["git@h:o/x.git#main", { ...ALL, remote: "git@h:o/x.git", ref: "main" }],
  ["github.com/o/x", { ...ALL, remote: "https://github.com/o/x" }],
  ["https://h/x.git?ref=v1&subdir=/a", { ...AT_H, ref: "v1", folder: "a" }],
  ["https://h/x.git?tag=v1", { ...AT_H, ref: "refs/tags/v1" }],
  ["https://h/x.git?branch=feature%2Fone", { ...AT_H, ref: "refs/heads/feature/one" }],
  ["https://h/x.git?branch=refs/heads/m", { ...AT_H, ref: "refs/heads/m" }],
  ["https://h/x.git?ref=v1&subdir=a#v1:a", { ...AT_H, ref: "v1", folder: "a" }],
  [`https://h/x.git?commit=${COMMIT}`, { ...AT_H, ref: COMMIT, commit: COMMIT }],
  ["https://h/x.git?tag=v1&checksum=4f1c", { ...AT_H, ref: "refs/tags/v1", commit: "4f1c" }],
  [
    "https://h/x.git?keep-git-dir&submodules=0",
    { ...AT_H, keepGitDir: true, hasSubmodules: false },
  ],
  ["https://h/x.git?keep-git-dir=false", { ...AT_H, keepGitDir: false }],
  ["git@h:o/x?ref=v2", { ...ALL, remote: "git@h:o/x", ref: "v2" }],
  ["https://h/x.tar", null],
  ["https://h/x.git/", null],
  ["https://h/x?a=b.git", null],
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
  "https://h/x.git?ref=--upload-pack%3Dtouch",
  "https://h/x.git?subdir=..%2F..%2Fetc",
  "https://h/x.git?commit=HEAD",
  "https://h/x.git?submodules=maybe",
])("%p is refused", (text) => {
  expect(() => parseGitUrl(text)).toThrow("invalid");
});

test.each([
  ["https://h/x.git?ref=a#b", 'ref conflicts: "b" vs "a"'],
  ["https://h/x.git?tag=a&ref=a", 'ref conflicts: "a" vs "refs/tags/a"'],
  ["https://h/x.git?tag=a&branch=b", "branch conflicts with tag"],
  ["https://h/x.git?subdir=a#:b", 'subdir conflicts: "b" vs "a"'],
  ["https://h/x.git?ref=", 'query "ref" has no value'],
  ["https://h/x.git?ref=a&ref=b", 'query "ref" has multiple values'],
  ["https://h/x.git?depth=1", 'unexpected query "depth"'],
])("%p says more than one thing: %p", (text, sentence) => {
  expect(() => parseGitUrl(text)).toThrow(sentence);
});
