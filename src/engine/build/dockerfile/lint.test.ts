/** The cases that BuildKit tests its rules with: what is said, and on which line. */
import { expect, test } from "bun:test";

import { type LintFacts, lintDockerfile } from "./lint.ts";
import { parseDockerfile } from "./parse.ts";

const AUTOMATIC = {
  BUILDPLATFORM: "linux/amd64",
  TARGETPLATFORM: "linux/amd64",
  TARGETOS: "linux",
  TARGETARCH: "amd64",
  TARGETSTAGE: "default",
};
const FACTS: LintFacts = {
  automatic: AUTOMATIC,
  globals: AUTOMATIC,
  buildArgs: {},
  imageOf: (name) =>
    name === "unknown" ? null : { environment: {}, hasShell: false, otherPlatform: null },
  isReference: (name) => /^[a-z0-9./]+(?::[a-z0-9-]+)?$/.test(name),
  platformOf: (text) => {
    const [os = "", architecture = ""] = text.split("/");
    return architecture === "" ? null : { os, architecture };
  },
  isIgnored: null,
  stages: null,
};

const findings = (text: string, facts: Partial<LintFacts> = {}): string[] =>
  lintDockerfile(parseDockerfile(text), { ...FACTS, ...facts }).map(
    ({ rule, message, location }) => `${location.startLine} ${rule}: ${message}`,
  );
const rules = (text: string, facts?: Partial<LintFacts>): string[] =>
  findings(text, facts).map((line) => line.split(":", 1)[0] ?? "");

const SECRETS = `FROM scratch
ARG SECRET_PASSPHRASE
ENV SUPER_Secret=foo
ENV password=bar secret=baz
ENV git_key=
ENV PUBLIC_KEY=
ARG public_token
ARG SECRET_PASSPHRASE_FILE
ENV password_file=bar secret_File=baz
ARG AUTH_MODULE_VERSION
# check=skip=SecretsUsedInArgOrEnv // allowed here
ENV password=bar
# check=skip=all // only here
ARG password
`;

/** Text, and `line rule` of what is found. */
const CASES: readonly (readonly [string, readonly string[]])[] = [
  ["FROM scratch AS BadStageName\n", ["1 StageNameCasing"]],
  ["FROM scratch as base2\n", ["1 FromAsCasing"]],
  ["from scratch AS base\nfrom scratch as b\n", ["1 FromAsCasing"]],
  ["from scratch As base\n", ["1 FromAsCasing"]],
  ["FROM scratch\nCOPY a \\\n\n.\nCOPY a \\\n.\n", ["4 NoEmptyContinuation"]],
  ["From scratch as base\nFROM scratch AS base2\n", ["1 ConsistentInstructionCasing"]],
  ["FROM scratch\ncopy a /b\nCOPY a /c\n", ["2 ConsistentInstructionCasing"]],
  ["from scratch\nCOPY a /b\ncopy a /c\n", ["2 ConsistentInstructionCasing"]],
  ["arg X\nFROM scratch\nCOPY a /c\n", []],
  ["FROM scratch AS b\nFROM scratch AS b\n", ["2 DuplicateStageName"]],
  [
    "FROM scratch AS scratch\nFROM scratch AS context\n",
    ["1 ReservedStageName", "2 ReservedStageName"],
  ],
  ["FROM scratch\nCMD x\n", ["2 JSONArgsRecommended"]],
  ['FROM scratch\nSHELL ["/s"]\nENTRYPOINT x\n', []],
  ['FROM scratch\nENTRYPOINT x\nSHELL ["/s"]\n', ["2 JSONArgsRecommended"]],
  ['FROM scratch AS base\nSHELL ["/s"]\nFROM base\nCMD x\n', []],
  ["FROM scratch\n# check=skip=JSONArgsRecommended\nCMD x\n", []],
  ["FROM scratch\nMAINTAINER me\n", ["2 MaintainerDeprecated"]],
  ["ARG base=scratch\nFROM $base\n", []],
  ["FROM --platform=$BUILDPLATFORM scratch\n", []],
  ["FROM --platform=$BULIDPLATFORM scratch\n", ["1 UndefinedArgInFrom"]],
  ["ARG tag=latest\nFROM busybox:${tag}${version} AS b\n", ["2 UndefinedArgInFrom"]],
  ["ARG DEBUG\nFROM scra${DEBUG:-tch}\n", []],
  ["FROM scratch\nWORKDIR app/\n", ["2 WorkdirRelativePath"]],
  ["FROM scratch AS a\nWORKDIR /app\nFROM a AS b\nWORKDIR sub\n", []],
  ["FROM scratch\nENV D=/d\nWORKDIR $D/x\n", []],
  ["FROM scratch\nARG foo\nCOPY a${foo} .\n", []],
  ["FROM scratch AS base\nARG foo=x\nFROM base\nCOPY $foo .\n", []],
  ["FROM scratch\nCOPY $foo .\nARG foo=x\n", ["2 UndefinedVar"]],
  ["FROM scratch\nCOPY ${foo:-x} .\n", ["2 UndefinedVar"]],
  ["FROM scratch\nCOPY <<E /x\n$foo\nE\n", ["2 UndefinedVar"]],
  ["FROM scratch\nENV H=$HOME A=$TARGETARCH\n", ["2 UndefinedVar", "2 UndefinedVar"]],
  ["FROM unknown\nCOPY $foo .\n", []],
  ['FROM scratch\nCMD ["a"]\nCOPY a b\nCMD ["b"]\n', ["2 MultipleInstructionsDisallowed"]],
  ['FROM scratch AS a\nCMD ["a"]\nFROM a\nCMD ["b"]\n', []],
  ["FROM scratch\nENV a b\nLABEL c d\n", ["2 LegacyKeyValueFormat", "3 LegacyKeyValueFormat"]],
  ["FROM --platform=${TARGETPLATFORM} scratch\n", ["1 RedundantTargetPlatform"]],
  ["FROM --platform=linux/amd64 scratch\n", ["1 FromPlatformFlagConstDisallowed"]],
  ["FROM --platform=linux/amd64 scratch AS my_amd64_stage\n", []],
  ["FROM --platform=linux/amd64 scratch AS linux\n", []],
  ["ARG VERSION\nFROM busybox:$VERSION\n", ["2 InvalidDefaultArgInFrom"]],
  ["ARG VERSION=latest\nFROM busybox:${VERSION}\n", []],
  ["FROM scratch\nEXPOSE 80/TcP 80/UDP 80/tcp\n", ["2 ExposeProtoCasing", "2 ExposeProtoCasing"]],
  ["FROM scratch\nEXPOSE 127.0.0.1:1:2 9:10 [::1]:1:2\n", Array(3).fill("2 ExposeInvalidFormat")],
  [SECRETS, ["2", "3", "4", "4", "5"].map((line) => `${line} SecretsUsedInArgOrEnv`)],
  ["# check=skip=all\nFROM scratch as Base\nmaintainer x\n", []],
  ["# check=skip=FromAsCasing\nFROM scratch as Base\n", ["2 StageNameCasing"]],
  ["# words\nFROM scratch AS x\n# words\nARG A B\n", []],
];

test.each(CASES)("%j", (text, expected) => {
  // What a name cannot be is another rule's business.
  const facts = text.includes("InvalidDefault") ? {} : { buildArgs: {} };
  const found = rules(text, facts).filter(
    (rule) =>
      expected.some((each) => each.endsWith("InvalidDefaultArgInFrom")) ||
      !rule.endsWith("InvalidDefaultArgInFrom"),
  );
  expect(found).toEqual([...expected]);
});

test("its sentences are BuildKit's", () => {
  expect(findings("FROM scratch\nEXPOSE 80/TcP 5:6\nENV PATH=$PAHT\n")).toEqual([
    "2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be lowercase",
    "2 ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '5:6'",
    "3 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)",
  ]);
  expect(findings("FROM --platform=$BULIDPLATFORM scratch\n")).toEqual([
    "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
  ]);
  expect(findings("From scratch AS Scratch\nRUN x\nRUN y\n")).toEqual([
    "1 StageNameCasing: Stage name 'Scratch' should be lowercase",
    '1 ReservedStageName: Stage name should not use the same name as reserved stage "scratch"',
    "1 ConsistentInstructionCasing: Command 'From' should match the case of the command majority (uppercase)",
  ]);
});

test("what is said of variables and shells knows the base image", () => {
  const imageOf = () => ({ environment: { HOMEDIR: "/h" }, hasShell: true, otherPlatform: null });
  expect(findings("FROM a\nENV COLOUR=x\nCOPY $COLUR $HOMEDIR /\nCMD x\n", { imageOf })).toEqual([
    "3 UndefinedVar: Usage of undefined variable '$COLUR' (did you mean $COLOUR?)",
  ]);
});

test("a base image of another platform is told of, in the stages that are built", () => {
  const imageOf = () => ({ environment: {}, hasShell: false, otherPlatform: "linux/arm64" });
  const text = "FROM a\nFROM b\n";
  expect(findings(text, { imageOf, stages: new Set([1]) })).toEqual([
    '2 InvalidBaseImagePlatform: Base image b was pulled with platform "linux/arm64", expected "linux/amd64" for current build',
  ]);
  expect(rules(text, { imageOf })).toHaveLength(2);
});

test("files that never arrive are told of; the whole context only where nothing of it is left", () => {
  const isIgnored = (path: string) => path === "out" || path === "." || path === "kept/x";
  const text =
    "FROM scratch\nCOPY ./out/ kept/../kept/x /a/\nADD out http://x/out /b/\nCOPY . /c\n";
  expect(findings(text, { isIgnored })).toEqual([
    '2 CopyIgnoredFile: Attempting to Copy file "out" that is excluded by .dockerignore',
    '2 CopyIgnoredFile: Attempting to Copy file "kept/x" that is excluded by .dockerignore',
    '3 CopyIgnoredFile: Attempting to Add file "out" that is excluded by .dockerignore',
    '4 CopyIgnoredFile: Attempting to Copy file "." that is excluded by .dockerignore',
  ]);
  expect(rules("FROM scratch AS a\nFROM scratch\nCOPY --from=a out /\n", { isIgnored })).toEqual(
    [],
  );
});

test("experimental rules are on for who asks", () => {
  const body =
    "# bar is\nARG foo=bar\n# BasE is\nFROM scratch AS base\n# no\nARG version\n# no\nARG a b c\n#\nARG d\n";
  expect(rules(body)).toEqual([]);
  expect(findings(`# check=skip=all;experimental=InvalidDefinitionDescription\n${body}`)).toEqual([
    "3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo <description>`",
    "5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base <description>`",
    "7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# version <description>`",
    "9 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>`",
  ]);
});

test.each([
  ["skp=all", 'invalid check option "skp"'],
  ["all", 'invalid check option "all"'],
  ["error=maybe", 'failed to parse check option "error=maybe": strconv.ParseBool'],
])("# check=%s is refused", (options, sentence) => {
  expect(() => parseDockerfile(`# check=${options}\nFROM a\n`)).toThrow(
    `failed to parse check options: ${sentence}`,
  );
});
