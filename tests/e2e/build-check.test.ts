/** `--check` and the `# check` directive: warnings with their lines, and as errors where somebody wants them so. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const naru = (
  dockerfile: string,
  args: readonly string[] = [],
  files: Record<string, string> = {},
): Promise<Finished> =>
  engine.naru(["build", ...args, writeContext(engine, { Dockerfile: dockerfile, ...files })]);

const BODY = "FROM busybox\nWORKDIR app\nRUN touch /built\nCMD echo $HOSTNAM\n";

test("--check shows each finding with its lines, builds nothing, and fails when there is one", async () => {
  const found = await naru(BODY, ["--check", "-t", "never"]);
  expect(found.code).toBe(1);
  expect(found.stdout).toBe(
    [
      "WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/",
      'Relative workdir "app" can have unexpected results if the base image changes',
      "Dockerfile:2",
      "--------------------",
      "   1 |     FROM busybox",
      "   2 | >>> WORKDIR app",
      "   3 |     RUN touch /built",
      "   4 |     CMD echo $HOSTNAM",
      "--------------------",
      "",
      "WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
      "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
      "Dockerfile:4",
      "--------------------",
      "   2 |     WORKDIR app",
      "   3 |     RUN touch /built",
      "   4 | >>> CMD echo $HOSTNAM",
      "   5 |     ",
      "--------------------",
      "",
      "Check complete, 2 warnings have been found!",
      "",
    ].join("\n"),
  );
  expect(await engine.ok(["images", "-q", "never"])).toBe("");
  const fine = await naru("FROM busybox\nRUN true\n", ["--check"]);
  expect(fine).toMatchObject({ code: 0, stdout: "Check complete, no warnings found.\n" });
  const broken = await naru("FROM busybox\nRUNN true\n", ["--check"]);
  expect(broken.code).toBe(1);
  expect(broken.stderr).toContain("   2 | >>> RUNN true");
  expect(broken.stderr).toContain("unknown instruction: RUNN");
});

test("warnings are errors for the directive and for the build argument, which goes before it", async () => {
  const strict = await naru(`# check=error=true\n${BODY}`);
  expect(strict.code).toBe(1);
  expect(strict.stderr).toContain("   3 | >>> WORKDIR app");
  expect(strict.stderr).toEndWith(
    "lint violation found for rules: WorkdirRelativePath, JSONArgsRecommended\n",
  );
  const skipped = "# check=skip=WorkdirRelativePath,JSONArgsRecommended;error=true\n";
  expect((await naru(skipped + BODY)).code).toBe(0);
  const asked = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"];
  expect((await naru(`# check=error=true\n${BODY}`, asked)).code).toBe(0);
  const stricter = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"];
  expect((await naru(BODY, stricter)).stderr).toContain("lint violation found for rules");
  const docker = await engine.docker(
    ["build", writeContext(engine, { Dockerfile: `# check=error=true\n${BODY}` })],
    { env: { DOCKER_BUILDKIT: "0" } },
  );
  expect(docker.code).toBe(1);
  expect(docker.stdout).toContain("[Warning] WorkdirRelativePath: Relative workdir");
  expect(docker.stderr).toContain("lint violation found for rules: WorkdirRelativePath");
});

test("what depends on the base image and on the ignore file is found too", async () => {
  const variables = await naru("FROM busybox\nENV COLOUR=1\nCOPY $COLUR /\n", ["--check"]);
  expect(variables.stdout).toContain("undefined variable '$COLUR' (did you mean $COLOUR?)");
  const ignored = await naru(
    "# check=experimental=CopyIgnoredFile\nFROM busybox\nCOPY secret.key /\n",
    ["--check"],
    { ".dockerignore": "*.key\n", "secret.key": "x" },
  );
  expect(ignored.stdout).toContain(
    'Attempting to Copy file "secret.key" that is excluded by .dockerignore',
  );
});
