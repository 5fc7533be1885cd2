import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import { editDistance, FlagError, parseFlags } from "./parse.ts";
import type { FlagSpec } from "./spec.ts";

const specs: readonly FlagSpec[] = [
  { name: "interactive", shorthand: "i", kind: "bool", usage: "" },
  { name: "tty", shorthand: "t", kind: "bool", usage: "" },
  { name: "rm", kind: "bool", usage: "" },
  { name: "sig-proxy", kind: "bool", usage: "", fallback: true },
  { name: "detach", shorthand: "d", kind: "bool", usage: "" },
  { name: "name", kind: "string", usage: "" },
  { name: "env", shorthand: "e", kind: "list", usage: "" },
  { name: "publish", shorthand: "p", kind: "list", usage: "" },
  { name: "hostname", shorthand: "h", kind: "string", usage: "" },
  { name: "memory", shorthand: "m", kind: "bytes", usage: "" },
  { name: "pids-limit", kind: "int64", usage: "" },
];

const run = (...words: string[]) => parseFlags(words, specs, { interspersed: false });

describe("flags are read as pflag reads them", () => {
  test("bools stand together, and take a value only behind =", () => {
    const { flags, args } = run("-itd", "--rm=false", "--sig-proxy=0", "image", "-x");
    expect([flags.bool("interactive"), flags.bool("tty"), flags.bool("detach")]).toEqual([
      true,
      true,
      true,
    ]);
    expect([flags.bool("rm"), flags.changed("rm"), flags.bool("sig-proxy")]).toEqual([
      false,
      true,
      false,
    ]);
    expect(args).toEqual(["image", "-x"]);
  });

  test("a value follows its letter with a space, with =, or with nothing", () => {
    for (const words of [
      ["-p", "80"],
      ["-p=80"],
      ["-p80"],
      ["--publish", "80"],
      ["--publish=80"],
    ]) {
      expect(run(...words).flags.list("publish")).toEqual(["80"]);
    }
    expect(run("-itp80:81").flags.list("publish")).toEqual(["80:81"]);
  });

  test("a list collects, a single value is the last one", () => {
    const { flags } = run("-e", "A=1", "--name=a", "-eB=2", "--name", "b");
    expect(flags.list("env")).toEqual(["A=1", "B=2"]);
    expect(flags.string("name")).toBe("b");
  });

  test("the first argument ends the flags of run, and -- ends them everywhere", () => {
    expect(run("image", "--rm").args).toEqual(["image", "--rm"]);
    expect(run("--rm", "--", "--name").args).toEqual(["--name"]);
    const mixed = parseFlags(["a", "--rm", "b", "--", "-i"], specs);
    expect(mixed.args).toEqual(["a", "b", "-i"]);
    expect(mixed.flags.bool("rm")).toBe(true);
  });

  test("-h is help only where no flag has that letter", () => {
    expect(run("-h", "box").flags.string("hostname")).toBe("box");
    expect(run("--help").help).toBe(true);
    expect(parseFlags(["-h"], []).help).toBe(true);
  });

  test.each([
    [["--foo"], "unknown flag: --foo"],
    [["-Z"], "unknown shorthand flag: 'Z' in -Z"],
    [["-iZt"], "unknown shorthand flag: 'Z' in -Zt"],
    [["--name"], "flag needs an argument: --name"],
    [["-ip"], "flag needs an argument: 'p' in -p"],
    [["--=x"], "bad flag syntax: --=x"],
    [["---x"], "bad flag syntax: ---x"],
    [
      ["--rm=maybe"],
      'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
    ],
    [["-m", "abc"], `invalid argument "abc" for "-m, --memory" flag: invalid size: 'abc'`],
  ])("%p is refused in pflag's words", (words, message) => {
    expect(() => run(...words)).toThrow(new FlagError(message));
  });

  test("a flag mistyped by a letter or two is suggested", () => {
    expect(() => run("--nmae=x")).toThrow("unknown flag: --nmae\n\nDid you mean this?\n\t--name");
  });

  test("whatever is given in any spelling comes back as it was", () => {
    const value = fc.string({ minLength: 1 }).filter((text) => !text.startsWith("="));
    const spelling = fc.constantFrom("long=", "long ", "short=", "short ");
    fc.assert(
      fc.property(fc.array(fc.tuple(spelling, value)), fc.array(fc.string()), (given, tail) => {
        const words = given.flatMap(([how, text]) => {
          if (how === "long=") return [`--env=${text}`];
          if (how === "long ") return ["--env", text];
          return how === "short=" ? [`-e=${text}`] : ["-e", text];
        });
        const { flags, args } = run(...words, "--", ...tail);
        expect(flags.list("env")).toEqual(given.map(([, text]) => text));
        expect(args).toEqual(tail);
      }),
    );
  });

  test("any words end in an answer or a FlagError, never in anything else", () => {
    const word = fc.oneof(
      fc.string(),
      fc.string().map((text) => `-${text}`),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        try {
          run(...words);
        } catch (thrown) {
          if (!(thrown instanceof Error)) throw thrown;
        }
      }),
    );
  });
});

test("the distance between words counts insertions, deletions, replacements and swaps", () => {
  expect(editDistance("run", "rnu")).toBe(1);
  expect(editDistance("images", "image")).toBe(1);
  expect(editDistance("", "abc")).toBe(3);
});
