import { expect, test } from "bun:test";

import { DockerfileParser } from "dockerfile-ast";

import { expandHeredoc, expandWord, expandWords } from "./expand.ts";
import type { Instruction } from "./instruction.ts";
import { parseMount } from "./mount.ts";
import { parseDockerfile, parseTrigger } from "./parse.ts";

/** The instructions after FROM, without where they stand. */
function bodies(text: string): object[] {
  const file = parseDockerfile(`FROM scratch\n${text}`);
  return (file.stages[0]?.instructions ?? []).map(bodyOf);
}

function bodyOf(instruction: Instruction): object {
  const { original: _o, location: _l, keyword: _k, comments: _c, ...body } = instruction;
  return body;
}

const shell = (text: string) => ({ form: "shell", words: [text] });
const exec = (...words: string[]) => ({ form: "exec", words });
const run = (command: object, more: object = {}) => ({
  kind: "run",
  command,
  heredocs: [],
  mounts: [],
  devices: [],
  network: "default",
  security: "sandbox",
  ...more,
});
const files = { heredocs: [], chown: "", chmod: "", link: false, exclude: [] };
const copy = (sources: string[], destination: string, more: object = {}) => ({
  kind: "copy",
  ...files,
  sources,
  destination,
  from: "",
  parents: false,
  ...more,
});
const add = (sources: string[], destination: string, more: object = {}) => ({
  kind: "add",
  ...files,
  sources,
  destination,
  checksum: "",
  keepGitDirectory: false,
  unpack: null,
  ...more,
});
const heredoc = (name: string, content: string, more: object = {}) => ({
  name,
  content,
  chomp: false,
  expand: true,
  descriptor: 0,
  ...more,
});
const health = (test: string[], more: object = {}) => ({
  kind: "healthcheck",
  check: {
    test,
    intervalNanoseconds: 0,
    timeoutNanoseconds: 0,
    startPeriodNanoseconds: 0,
    startIntervalNanoseconds: 0,
    retries: 0,
    ...more,
  },
});

const TREES: readonly (readonly [string, object[]])[] = [
  ["RUN echo hi", [run(shell("echo hi"))]],
  ["run echo hi", [run(shell("echo hi"))]],
  ['RUN ["echo", "hi"]', [run(exec("echo", "hi"))]],
  ['RUN ["echo", "hi"', [run(shell('["echo", "hi"'))]],
  ["RUN ['echo']", [run(shell("['echo']"))]],
  ["RUN a \\\n  b", [run(shell("a   b"))]],
  ["RUN a \\ \t\n b \\\n# comment\n\n c", [run(shell("a  b  c"))]],
  ["RUN a && \\\n    # why\n    b", [run(shell("a &&     b"))]],
  ["RUN a \\\\", [run(shell("a \\\\"))]],
  ["  \t RUN indented", [run(shell("indented"))]],
  ["RUN --network=none x", [run(shell("x"), { network: "none" })]],
  ["RUN --security=insecure x", [run(shell("x"), { security: "insecure" })]],
  [
    "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t make --jobs",
    [run(shell("make --jobs"), { mounts: ["type=cache,target=/c", "type=tmpfs,target=/t"] })],
  ],
  ["RUN -- --x", [run(shell("--x"))]],
  ["RUN <<EOF\na\nb\nEOF", [run(shell("<<EOF"), { heredocs: [heredoc("EOF", "a\nb\n")] })]],
  [
    "RUN cat <<A >x && cat <<-'B' >y\n1\nA\n\t2\n\tB\nRUN z",
    [
      run(shell("cat <<A >x && cat <<-'B' >y"), {
        heredocs: [heredoc("A", "1\n"), heredoc("B", "\t2\n", { chomp: true, expand: false })],
      }),
      run(shell("z")),
    ],
  ],
  [
    "RUN 3<<EOF cat\n# no comment\n\nEOF",
    [
      run(shell("3<<EOF cat"), {
        heredocs: [heredoc("EOF", "# no comment\n\n", { descriptor: 3 })],
      }),
    ],
  ],
  ["RUN cat << EOF\nx\nEOF", [run(shell("cat << EOF"), { heredocs: [heredoc("EOF", "x\n")] })]],
  ["RUN cat <<< word", [run(shell("cat <<< word"))]],
  ["RUN echo '<<EOF'", [run(shell("echo '<<EOF'"))]],
  ['RUN ["cat", "<<EOF"]', [run(exec("cat", "<<EOF"))]],
  ["COPY a b", [copy(["a"], "b")]],
  ["COPY a b /c/", [copy(["a", "b"], "/c/")]],
  ['COPY ["a b", "/c d/"]', [copy(["a b"], "/c d/")]],
  [
    "COPY --from=build --chown=1:2 --chmod=u+x --link --parents --exclude=*.md --exclude=x a b",
    [
      copy(["a"], "b", {
        from: "build",
        chown: "1:2",
        chmod: "u+x",
        link: true,
        parents: true,
        exclude: ["*.md", "x"],
      }),
    ],
  ],
  ["COPY --link=false a b", [copy(["a"], "b")]],
  [
    'COPY <<a <<"b" /d/\n$x\na\n$y\nb',
    [
      copy([], "/d/", {
        heredocs: [heredoc("a", "$x\n"), heredoc("b", "$y\n", { expand: false })],
      }),
    ],
  ],
  [
    "ADD --checksum=sha256:1 --unpack=false --keep-git-dir https://x/y /z",
    [add(["https://x/y"], "/z", { checksum: "sha256:1", unpack: false, keepGitDirectory: true })],
  ],
  [
    "ENV a=1 b=\"2 3\" c='4'",
    [{ kind: "env", legacy: false, pairs: pairs({ a: "1", b: '"2 3"', c: "'4'" }) }],
  ],
  ["ENV a one two", [{ kind: "env", legacy: true, pairs: pairs({ a: "one two" }) }]],
  ["ENV a=x\\ y b=$a", [{ kind: "env", legacy: false, pairs: pairs({ a: "x\\ y", b: "$a" }) }]],
  ["ENV a=", [{ kind: "env", legacy: false, pairs: pairs({ a: "" }) }]],
  [
    "LABEL x.y=z \\\n  v=w",
    [{ kind: "label", legacy: false, pairs: pairs({ "x.y": "z", v: "w" }) }],
  ],
  ["ARG a", [{ kind: "arg", arguments: [{ name: "a", value: null }] }]],
  [
    "ARG a=1 b c=",
    [
      {
        kind: "arg",
        arguments: [
          { name: "a", value: "1" },
          { name: "b", value: null },
          { name: "c", value: "" },
        ],
      },
    ],
  ],
  ["CMD a b", [{ kind: "cmd", command: shell("a b") }]],
  ["CMD", [{ kind: "cmd", command: { form: "shell", words: [] } }]],
  ["CMD []", [{ kind: "cmd", command: exec() }]],
  ['ENTRYPOINT ["python3"]', [{ kind: "entrypoint", command: exec("python3") }]],
  ['SHELL ["/bin/bash", "-c"]', [{ kind: "shell", words: ["/bin/bash", "-c"] }]],
  ["WORKDIR /a b", [{ kind: "workdir", path: "/a b" }]],
  ["USER app:staff", [{ kind: "user", user: "app:staff" }]],
  ["EXPOSE 80 443/udp $P", [{ kind: "expose", ports: ["80", "443/udp", "$P"] }]],
  ["VOLUME /a /b", [{ kind: "volume", paths: ["/a", "/b"] }]],
  ['VOLUME ["/a b"]', [{ kind: "volume", paths: ["/a b"] }]],
  ["STOPSIGNAL SIGKILL", [{ kind: "stopsignal", signal: "SIGKILL" }]],
  ["HEALTHCHECK NONE", [health(["NONE"])]],
  [
    "HEALTHCHECK --interval=5m --timeout=3s --start-period=1.5s --start-interval=10ms --retries=2 CMD curl x",
    [
      health(["CMD-SHELL", "curl x"], {
        intervalNanoseconds: 300e9,
        timeoutNanoseconds: 3e9,
        startPeriodNanoseconds: 1.5e9,
        startIntervalNanoseconds: 1e7,
        retries: 2,
      }),
    ],
  ],
  ['HEALTHCHECK CMD ["a", "b"]', [health(["CMD", "a", "b"])]],
  ["ONBUILD RUN x && y", [{ kind: "onbuild", trigger: "RUN x && y" }]],
  ["ONBUILD RUN <<E\nq\nE", [{ kind: "onbuild", trigger: "RUN <<E\nq\nE" }]],
  ["MAINTAINER A B <a@b>", [{ kind: "maintainer", name: "A B <a@b>" }]],
  ["RUN a\r\nRUN b\r\n", [run(shell("a")), run(shell("b"))]],
];

function pairs(values: Record<string, string>): { name: string; value: string }[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

for (const [text, expected] of TREES) {
  test(`reads ${JSON.stringify(text)}`, () => expect(bodies(text)).toEqual(expected));
}

const ERRORS: readonly (readonly [string, string])[] = [
  ["", "the Dockerfile cannot be empty"],
  ["# only\n", "file with no instructions"],
  ["ARG x", "dockerfile contains no stages to build"],
  ["RUN x", "no build stage in current context"],
  ["FRMO x", "dockerfile parse error on line 1: unknown instruction: FRMO (did you mean FROM?)"],
  ["FROM x\nBOGUSWORD y", "dockerfile parse error on line 2: unknown instruction: BOGUSWORD"],
  ["FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments"],
  ["FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"],
  [
    "FROM a AS 1x",
    `dockerfile parse error on line 1: invalid name for build stage: "1x", name can't start with a number or contain symbols`,
  ],
  [
    "FROM --plattform=x a",
    "dockerfile parse error on line 1: unknown flag: --plattform (did you mean platform?)",
  ],
  [
    "FROM a\n\nCOPY --chwn=1 a b",
    "dockerfile parse error on line 3: unknown flag: --chwn (did you mean chown?)",
  ],
  [
    "FROM a\nCOPY --chown a b",
    "dockerfile parse error on line 2: missing a value on flag: --chown",
  ],
  [
    "FROM a\nCOPY --chown=1 --chown=2 a b",
    "dockerfile parse error on line 2: duplicate flag specified: --chown",
  ],
  [
    "FROM a\nCOPY --link=maybe a b",
    "dockerfile parse error on line 2: expecting boolean value for flag --link, not: maybe",
  ],
  [
    "FROM a\nCOPY a",
    "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. Destination could not be determined",
  ],
  ["FROM a\nRUN <<EOF\nx", "unterminated heredoc"],
  [
    "FROM a\nCOPY x <<EOF\nEOF",
    "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination",
  ],
  [
    'FROM a\nCMD ["a", 1]',
    "when using JSON array syntax, arrays must be comprised of strings only",
  ],
  ["FROM a\nENV a", "ENV must have two arguments"],
  ["FROM a\nENV a=1 b", `Syntax error - can't find = in "b". Must be of the form: name=value`],
  ["FROM a\nENV =1", "dockerfile parse error on line 2: ENV names can not be blank"],
  [
    "FROM a\nSHELL /bin/sh",
    "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form",
  ],
  ["FROM a\nWORKDIR", "dockerfile parse error on line 2: WORKDIR requires exactly one argument"],
  [
    "FROM a\nONBUILD ONBUILD RUN x",
    "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
  ],
  [
    "FROM a\nONBUILD FROM x",
    "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger",
  ],
  [
    "FROM a\nHEALTHCHECK x",
    'dockerfile parse error on line 2: Unknown type "X" in HEALTHCHECK (try CMD)',
  ],
  [
    "FROM a\nHEALTHCHECK --interval=1us CMD x",
    'dockerfile parse error on line 2: Interval "interval" cannot be less than 1ms',
  ],
  ["FROM a\nRUN --network=hots x", 'dockerfile parse error on line 2: invalid network mode "hots"'],
  ["FROM a\nRUN --network=NONE x", 'dockerfile parse error on line 2: invalid network mode "NONE"'],
  ["# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"],
  ["# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"],
];

for (const [text, sentence] of ERRORS) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    expect(() => parseDockerfile(text)).toThrow(sentence);
  });
}

test("directives count only before anything else, in any case, and after a shebang or BOM", () => {
  const file = parseDockerfile(
    "\uFEFF#!/usr/bin/env x\n# SYNTAX = docker/dockerfile:1\n#escape=`\n# check=skip=A,B;error=true\nFROM a\nRUN a `\n b",
  );
  expect(file).toMatchObject({
    syntax: "docker/dockerfile:1",
    escape: "`",
    check: { skip: ["A", "B"], error: true },
  });
  expect(file.stages[0]?.instructions[0]).toMatchObject({ command: shell("a  b") });
  expect(parseDockerfile("# a comment\n# escape=`\nFROM a").escape).toBe("\\");
});

test("stages have names, platforms, comments and their own instructions; ARG before FROM is global", () => {
  const file = parseDockerfile(
    "ARG V=1\n# the builder\nFROM --platform=$BUILDPLATFORM a:$V AS Build\nRUN x\nFROM scratch\nCOPY --from=build /x /\n",
  );
  expect(file.globalArguments[0]?.arguments).toEqual([{ name: "V", value: "1" }]);
  expect(
    file.stages.map(({ base, name, platform, comments, instructions, location }) => ({
      base,
      name,
      platform,
      comments,
      kinds: instructions.map(({ kind }) => kind),
      line: location.startLine,
    })),
  ).toEqual([
    {
      base: "a:$V",
      name: "build",
      platform: "$BUILDPLATFORM",
      comments: ["the builder"],
      kinds: ["run"],
      line: 3,
    },
    { base: "scratch", name: "", platform: "", comments: [], kinds: ["copy"], line: 5 },
  ]);
});

test("an ONBUILD trigger is one instruction of the next build", () => {
  expect(bodyOf(parseTrigger("COPY --from=x a b"))).toEqual(copy(["a"], "b", { from: "x" }));
  expect(() => parseTrigger("FROM x")).toThrow("FROM isn't allowed as an ONBUILD trigger");
});

const ENVIRONMENT = { x: "value", empty: "", path: "/a/b/a/b.tar.gz", "1": "one" };
const WORDS: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["$x", "value"],
  ["${x}", "value"],
  ["a${x}b$x.c", "avaluebvalue.c"],
  ["$y", ""],
  ["\\$x", "$x"],
  ["'$x'", "$x"],
  ['"$x y"', "value y"],
  ['"\\$x \\" \\n"', '$x " \\n'],
  ["a\\ b", "a b"],
  ["$", "$"],
  ["$ x", "$ x"],
  ["$1", "one"],
  ["${x:-d}|${y:-d}|${empty:-d}", "value|d|d"],
  ["${x-d}|${y-d}|${empty-d}", "value|d|"],
  ["${x:+d}|${y:+d}|${empty:+d}", "d||"],
  ["${x+d}|${y+d}|${empty+d}", "d||d"],
  ["${y:-${x}-${z:-q}}", "value-q"],
  ["${x:?no}", "value"],
  ["${path#*/}", "a/b/a/b.tar.gz"],
  ["${path##*/}", "b.tar.gz"],
  ["${path%.*}", "/a/b/a/b.tar"],
  ["${path%%.*}", "/a/b/a/b"],
  ["${path/a/X}", "/X/b/a/b.tar.gz"],
  ["${path//a/X}", "/X/b/X/b.tXr.gz"],
  ["${path//\\//_}", "_a_b_a_b.tar.gz"],
  ["${path/?b/$x}", "/avalue/a/b.tar.gz"],
  ["${x#z}", "value"],
  ["__proto__$__proto__", "__proto__"],
];
for (const [word, expected] of WORDS) {
  test(`expands ${word}`, () => expect(expandWord(word, ENVIRONMENT).text).toBe(expected));
}

test.each([
  ["'x", "unexpected end of statement while looking for matching single-quote"],
  ['"x', "unexpected end of statement while looking for matching double-quote"],
  ["${x", "missing '}'"],
  ["a${}", 'failed to process "a${}": syntax error: bad substitution'],
  ["${x:#a}", "unsupported modifier (:#) in substitution"],
  ["${x#\\q}", "invalid pattern (\\q) in substitution: invalid escape '\\q'"],
  ["${x-${q:?no}}", "q: no"],
  ["${x!y}", "unsupported modifier (!) in substitution"],
  ["${y:?set me}", "y: set me"],
  ["${y?}", "y: is not allowed to be unset"],
  ["${empty:?}", "empty: is not allowed to be empty"],
])("refuses to expand %s", (word, sentence) => {
  expect(() => expandWord(word, ENVIRONMENT)).toThrow(sentence);
});

test("expansion says what was missing, makes several words of one, and leaves quotes of a heredoc alone", () => {
  expect(expandWord("$a ${b:-x} $x", ENVIRONMENT)).toMatchObject({
    undefined: ["a", "b"],
    defined: ["x"],
  });
  expect(expandWords("$ports 1", { ports: "80 81" })).toEqual(["80", "81", "1"]);
  expect(expandHeredoc("'$x' \"y\" \\n \\$x", ENVIRONMENT).text).toBe("'value' \"y\" n $x");
});

test("mounts have BuildKit's defaults and refuse what a type does not have", () => {
  expect(parseMount("target=/t")).toMatchObject({ type: "bind", readOnly: true, from: "" });
  expect(parseMount("type=bind,rw,from=b,src=/s,dst=/t")).toMatchObject({
    readOnly: false,
    from: "b",
    source: "/s",
    target: "/t",
  });
  expect(
    parseMount("type=cache,target=/c,id=i,sharing=locked,mode=0755,uid=1,gid=2"),
  ).toMatchObject({ readOnly: false, id: "i", sharing: "locked", mode: 0o755, uid: 1, gid: 2 });
  expect(parseMount("type=secret,id=key")).toMatchObject({ target: "/run/secrets/key" });
  expect(parseMount("type=secret,id=key,env=KEY")).toMatchObject({ env: "KEY", target: "" });
  expect(parseMount("type=tmpfs,target=/t,size=10m")).toMatchObject({ sizeBytes: 10 * 1024 ** 2 });
  expect(() => parseMount("type=bnd,target=/x")).toThrow(
    'unsupported mount type "bnd" (did you mean bind?)',
  );
  expect(() => parseMount("typ=bind")).toThrow(
    "unexpected key 'typ' in 'typ=bind' (did you mean type?)",
  );
  expect(parseMount("type=cache")).toMatchObject({ target: "" });
  expect(() => parseMount("type=bind,target=/x,sharing=locked")).toThrow("invalid cache sharing");
});

test("dockerfile-ast sees the same instructions on the same lines", () => {
  for (const [text] of TREES) {
    // Where a word may be parted from <<, the oracle is older than the syntax.
    if (text.includes("<< ") || text.includes("3<<") || text.includes("\r")) continue;
    const whole = `FROM scratch\n${text}\n`;
    const theirs = DockerfileParser.parse(whole)
      .getInstructions()
      .map((one): [string, number] => [one.getKeyword(), one.getRange().start.line + 1]);
    const { stages } = parseDockerfile(whole);
    const ours = stages
      .flatMap((stage) => [stage, ...stage.instructions])
      .map((one): [string, number] => [one.keyword.toUpperCase(), one.location.startLine]);
    expect({ text, found: ours }).toEqual({ text, found: theirs });
  }
});
