import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";

import { joinBytes } from "#base";
import { type ContainerCreateRequest, encodeExit, encodeFrame } from "#wire/docker";

import { startFakeDaemon, type FakeDaemon } from "./fake-daemon.ts";

const root = mkdtempSync("/tmp/naru-test-cli-");
const entry = new URL("../../main.ts", import.meta.url).pathname;
let daemon: FakeDaemon;

beforeAll(async () => {
  mkdirSync(`${root}/config`);
  daemon = await startFakeDaemon(`${root}/d.sock`);
});
afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const environment = () => ({
  PATH: process.env["PATH"] ?? "",
  HOME: root,
  DOCKER_CONFIG: `${root}/config`,
  DOCKER_HOST: daemon.host,
});

function spawn(
  words: readonly string[],
  options: { stdin?: Blob | "pipe"; env?: Record<string, string> } = {},
) {
  daemon.requests.length = daemon.bodies.length = 0;
  return Bun.spawn([process.execPath, entry, ...words], {
    stdin: options.stdin ?? "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...environment(), ...options.env },
  });
}

async function naru(
  words: readonly string[],
  options: { stdin?: string; env?: Record<string, string> } = {},
): Promise<Result> {
  const child = spawn(words, {
    ...(options.stdin === undefined ? {} : { stdin: new Blob([options.stdin]) }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}

const answer = (what: string, body: unknown, more: { status?: number } = {}) =>
  daemon.answers.set(what, { body, ...more });

describe("exec", () => {
  test("is one request with an engine that knows how", async () => {
    const said = [
      encodeFrame("stdout", Buffer.from("out")),
      encodeFrame("stderr", Buffer.from("err")),
    ];
    daemon.exchange = joinBytes([...said, encodeExit(7)]);
    expect(await naru(["exec", "web", "x"])).toEqual({ code: 7, out: "out", err: "err" });
    expect(daemon.requests).toEqual(["POST /v1.51/containers/web/exec"]);
  });

  test("an engine that leaves before the command ends is asked again, and believed", async () => {
    daemon.exchange = encodeFrame("stdout", Buffer.from("begun"));
    answer("GET /exec/e1/json", { Running: false, ExitCode: 9 });
    expect(await naru(["exec", "web", "x"])).toEqual({ code: 9, out: "begun", err: "" });
    answer("GET /exec/e1/json", { Running: true, ExitCode: null });
    const lost = "the engine left before the command ended: e1 runs on\n";
    expect(await naru(["exec", "web", "x"])).toEqual({ code: 1, out: "begun", err: lost });
  });
});

describe("run", () => {
  test("prints what the container prints, and makes four requests and no ping", async () => {
    const result = await naru(["run", "--rm", "busybox", "echo", "hello", "--rm"]);
    expect(result).toEqual({ code: 0, out: "hello --rm\n", err: "" });
    const paths = daemon.requests.map((line) => line.replace(/c{10,}\d+/, "ID"));
    expect(paths[0]).toBe("POST /v1.51/containers/create");
    expect(paths.slice(1, 3).toSorted()).toEqual([
      "POST /v1.51/containers/ID/attach?stream=1&stdout=1&stderr=1",
      "POST /v1.51/containers/ID/wait?condition=removed",
    ]);
    expect(paths.slice(3)).toEqual(["POST /v1.51/containers/ID/start"]);
  });

  test("ends with the container's exit code", async () => {
    expect(await naru(["run", "busybox", "fail", "7"])).toEqual({ code: 7, out: "", err: "" });
  });

  test("keeps stdout and stderr apart", async () => {
    expect(await naru(["run", "busybox", "both"])).toEqual({ code: 0, out: "out\n", err: "err\n" });
  });

  test("forwards standard input and its end", async () => {
    const text = "line\n".repeat(50_000);
    const { code, out } = await naru(["run", "-i", "busybox", "cat"], { stdin: text });
    expect([code, out === text]).toEqual([0, true]);
  });

  test("pulls only what the daemon does not have", async () => {
    daemon.images.delete("alpine");
    const result = await naru(["run", "alpine", "echo", "x"]);
    expect(result).toEqual({
      code: 0,
      out: "x\n",
      err: "Unable to find image 'alpine:latest' locally\nlatest: Pulling from library/alpine\nStatus: Downloaded newer image\n",
    });
    expect(daemon.requests[1]).toBe("POST /v1.51/images/create?fromImage=alpine&tag=latest");
    const never = await naru(["run", "--pull", "never", "nothere", "echo"]);
    expect(never.code).toBe(125);
    expect(never.err).toStartWith(
      "naru: Error response from daemon: No such image: nothere:latest\n",
    );
  });

  test("a command that is not there is 127, with docker's sentence", async () => {
    expect(await naru(["run", "busybox", "nowhere"])).toEqual({
      code: 127,
      out: "",
      err: `naru: Error response from daemon: exec: "nowhere": executable file not found in $PATH: unknown\n\nRun 'naru run --help' for more information\n`,
    });
  });

  test("-d prints the id and does not wait", async () => {
    const { code, out } = await naru(["run", "-d", "busybox", "ready"]);
    expect([code, /^c+\d+\n$/.test(out)]).toEqual([0, true]);
    expect(daemon.requests.map((line) => line.split("?")[0]?.split("/").at(-1))).toEqual([
      "create",
      "start",
    ]);
  });

  test("signals go to the container", async () => {
    const child = spawn(["run", "busybox", "ready"]);
    const reader = child.stdout.getReader();
    await reader.read(); // "ready"
    child.kill("SIGINT");
    expect(await child.exited).toBe(130);
    expect(daemon.requests.at(-1)).toContain("/kill?signal=SIGINT");
  });

  test("--cidfile is written once", async () => {
    const path = `${root}/cid`;
    expect((await naru(["run", "--cidfile", path, "busybox", "true"])).code).toBe(0);
    expect(readFileSync(path, "utf8")).toMatch(/^c+\d+$/);
    const again = await naru(["run", "--cidfile", path, "busybox", "true"]);
    expect([again.code, again.err.includes("container ID file found")]).toEqual([125, true]);
  });

  test("-it needs a terminal, and has one under script: raw, resized, ended, put back", async () => {
    expect(await naru(["run", "-it", "busybox", "cat"])).toMatchObject({
      code: 1,
      err: "the input device is not a TTY\n",
    });
    const command = `stty rows 33 cols 77; ${process.execPath} ${entry} run -it busybox size; echo code $?; stty -a`;
    const child = Bun.spawn(["script", "-qec", command, "/dev/null"], {
      stdin: "pipe",
      stdout: "pipe",
      env: environment(),
    });
    daemon.requests.length = daemon.bodies.length = 0;
    const out = await new Response(child.stdout).text();
    expect(out).toContain("code 0");
    expect(out).toContain(" icanon ");
    expect(daemon.requests.some((line) => line.endsWith("/resize?h=33&w=77"))).toBe(true);
    const [body] = daemon.bodies as ContainerCreateRequest[];
    expect(body).toMatchObject({ Tty: true, HostConfig: { ConsoleSize: [33, 77] } });
  });

  test("the detach keys leave the container running", async () => {
    const command = `${process.execPath} ${entry} run -it busybox ready; echo code $?`;
    const child = Bun.spawn(["script", "-qec", command, "/dev/null"], {
      stdin: "pipe",
      stdout: "pipe",
      env: environment(),
    });
    let out = "";
    for await (const chunk of child.stdout) {
      const before = out;
      out += new TextDecoder().decode(chunk);
      if (!before.includes("ready") && out.includes("ready")) {
        void child.stdin.write("\u0010\u0011");
        void child.stdin.flush();
      }
    }
    expect(out).toContain("code 0");
    expect(daemon.requests.some((line) => line.includes("/kill"))).toBe(false);
  });

  test("--explain prints the plan and removes what it made", async () => {
    const plan = await naru(["run", "--explain", "busybox", "true"]);
    expect(plan).toMatchObject({ code: 0 });
    expect(daemon.requests.map((line) => line.split(" ")[0])).toEqual(["POST", "GET", "DELETE"]);
  });
});

describe("versions", () => {
  test("an older daemon is spoken to in its version after one refusal", async () => {
    daemon.apiVersion = "1.40";
    try {
      expect(await naru(["run", "busybox", "echo", "old"])).toMatchObject({
        code: 0,
        out: "old\n",
      });
      expect(daemon.requests.slice(0, 2)).toEqual([
        "POST /v1.51/containers/create",
        "POST /v1.40/containers/create",
      ]);
    } finally {
      daemon.apiVersion = "1.51";
    }
  });

  test("DOCKER_API_VERSION pins one", async () => {
    answer("GET /version", {
      Version: "1",
      ApiVersion: "1.30",
      Components: [],
      Platform: { Name: "" },
    });
    const { out } = await naru(["version"], { env: { DOCKER_API_VERSION: "1.30" } });
    expect(out).toContain("API version:       1.30 (downgraded from 1.51)");
    expect(daemon.requests).toEqual(["GET /v1.30/version"]);
  });
});

describe("words that are wrong", () => {
  test.each([
    [
      ["rnu"],
      1,
      "naru: unknown command: naru rnu\n\nRun 'naru --help' for more information\n\nDid you mean this?\n\trun\n",
    ],
    [["compose", "ps"], 1, "naru: 'compose' is not implemented yet\n"],
    [
      ["trust", "ls"],
      1,
      "naru: 'trust' is not here: Docker Content Trust (Notary v1) is being switched off, and docker's own client left it to a plugin\n",
    ],
    [
      ["run"],
      1,
      "naru: 'naru run' requires at least 1 argument\n\nUsage:  naru run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nSee 'naru run --help' for more information\n",
    ],
    [
      ["tag", "a"],
      1,
      "naru: 'naru tag' requires 2 arguments\n\nUsage:  naru tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]\n\nRun 'naru tag --help' for more information\n",
    ],
    [
      ["ps", "x"],
      1,
      "naru: 'naru ps' accepts no arguments\n\nUsage:  naru ps [OPTIONS]\n\nRun 'naru ps --help' for more information\n",
    ],
    [
      ["run", "--foo"],
      125,
      "unknown flag: --foo\n\nUsage:  naru run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'naru run --help' for more information\n",
    ],
    [["-l", "x", "ps"], 1, "Unable to parse logging level: x\n"],
    [["version", "-f", "{{"], 64, "template parsing error: template: version:1: unclosed action\n"],
    [["help", "foo"], 1, "unknown help topic: foo\n"],
  ])("%p", async (words, code, err) => {
    expect(await naru(words)).toEqual({ code, out: "", err });
  });

  test("a daemon that is not there is named, with the question docker asks", async () => {
    const env = { DOCKER_HOST: "unix:///nope.sock" };
    const sentence =
      "Cannot connect to the Naru daemon at unix:///nope.sock. Is the naru daemon running?";
    expect(await naru(["ps"], { env })).toEqual({ code: 1, out: "", err: `${sentence}\n` });
    const run = await naru(["run", "x"], { env });
    expect([run.code, run.err.startsWith(`naru: ${sentence}\n`)]).toEqual([125, true]);
  });
});

const CREATED = Math.trunc(Date.now() / 1000) - 3 * 3600;
const container = {
  Id: "f".repeat(64),
  Names: ["/web"],
  Image: "busybox",
  ImageID: `sha256:${"0".repeat(64)}`,
  Command: "sleep a long long long time",
  Created: CREATED,
  Ports: [{ IP: "0.0.0.0", PrivatePort: 80, PublicPort: 8080, Type: "tcp" }],
  Labels: { b: "2", a: "1" },
  State: "running",
  Status: "Up 3 hours",
  HostConfig: { NetworkMode: "bridge" },
  NetworkSettings: { Networks: { bridge: {} } },
  Mounts: [],
  SizeRw: 7_050_000,
};

describe("lists", () => {
  test("ps is docker's table", async () => {
    answer("GET /containers/json", [container]);
    expect((await naru(["ps"])).out).toBe(
      `CONTAINER ID   IMAGE     COMMAND                  CREATED       STATUS       PORTS                  NAMES
ffffffffffff   busybox   "sleep a long long l…"   3 hours ago   Up 3 hours   0.0.0.0:8080->80/tcp   web
`,
    );
    expect((await naru(["ps", "-q", "--no-trunc"])).out).toBe(`${container.Id}\n`);
    const format = '{{.Names}} {{.Labels}} {{.Label "a"}} {{.Size}}';
    expect((await naru(["ps", "--format", format])).out).toBe("web a=1,b=2 1 7.05MB\n");
    expect(daemon.requests).toEqual(["GET /v1.51/containers/json?size=1"]);
    expect(JSON.parse((await naru(["ps", "--json"])).out)).toEqual([container]);
  });

  test("ps sends filters, and config.json's psFormat is the default", async () => {
    writeFileSync(`${root}/config/config.json`, JSON.stringify({ psFormat: "table {{.Names}}" }));
    try {
      const result = await naru(["ps", "-af", "status=exited", "-f", "name=x"]);
      expect(result.out).toBe("NAMES\nweb\n");
      const query = new URL(daemon.requests[0]?.split(" ")[1] ?? "", "http://x").searchParams;
      expect(query.get("all")).toBe("1");
      expect(JSON.parse(query.get("filters") ?? "")).toEqual({
        status: { exited: true },
        name: { x: true },
      });
    } finally {
      rmSync(`${root}/config/config.json`);
    }
  });

  test("images shows each name on a line, and <none> where there is none", async () => {
    const image = {
      Id: `sha256:${"a".repeat(64)}`,
      Created: CREATED,
      Size: 4_200_000,
      SharedSize: -1,
      Containers: -1,
    };
    answer("GET /images/json", [
      { ...image, RepoTags: ["busybox:latest", "me/box:1"], RepoDigests: [] },
      { ...image, RepoTags: [], RepoDigests: [] },
    ]);
    expect((await naru(["images"])).out).toBe(
      `REPOSITORY   TAG       IMAGE ID       CREATED       SIZE
busybox      latest    aaaaaaaaaaaa   3 hours ago   4.2MB
me/box       1         aaaaaaaaaaaa   3 hours ago   4.2MB
<none>       <none>    aaaaaaaaaaaa   3 hours ago   4.2MB
`,
    );
  });

  test("inspect finds containers, then images, and tells what it did not find", async () => {
    answer("GET /images/box/json", { Id: "sha256:1", RepoTags: ["box:latest"] });
    const result = await naru(["inspect", "box", "none"]);
    expect(JSON.parse(result.out)).toEqual([{ Id: "sha256:1", RepoTags: ["box:latest"] }]);
    expect([result.code, result.err]).toEqual([1, "Error: No such object: none\n"]);
    expect((await naru(["inspect", "-f", "{{index .RepoTags 0}}", "box"])).out).toBe(
      "box:latest\n",
    );
    const missing = await naru(["inspect", "-f", "{{.Foo}}", "box"]);
    expect([missing.code, missing.err]).toEqual([
      1,
      'template parsing error: template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"\n',
    ]);
  });

  test("events has nanoseconds", async () => {
    const event = `{"Type":"container","Action":"start","Actor":{"ID":"abc","Attributes":{"name":"web","image":"x"}},"scope":"local","time":1700000000,"timeNano":1700000000123456789}`;
    answer("GET /events", `${event}\n`);
    const env = { TZ: "UTC" };
    expect((await naru(["events"], { env })).out).toBe(
      "2023-11-14T22:13:20.123456789Z container start abc (image=x, name=web)\n",
    );
    expect((await naru(["events", "--format", "{{.Actor.Attributes.name}}"])).out).toBe("web\n");
  });
});

describe("many containers at once", () => {
  test("each success is a line on stdout, each failure one on stderr, and the code is 1", async () => {
    answer("POST /containers/a/stop", "");
    answer("POST /containers/b/stop", { message: "No such container: b" }, { status: 404 });
    answer("POST /containers/c/stop", "");
    expect(await naru(["stop", "-t", "3", "a", "b", "c"])).toEqual({
      code: 1,
      out: "a\nc\n",
      err: "Error response from daemon: No such container: b\n",
    });
    expect(daemon.requests[0]).toBe("POST /v1.51/containers/a/stop?t=3");
  });
});

describe("images in and out", () => {
  test("load sends the file as it is", async () => {
    answer("POST /images/load", `${JSON.stringify({ stream: "Loaded image: box:latest\n" })}\n`);
    const path = `${root}/a.tar`;
    writeFileSync(path, "tar".repeat(100_000));
    expect(await naru(["load", "-i", path])).toEqual({
      code: 0,
      out: "Loaded image: box:latest\n",
      err: "",
    });
    expect(daemon.bodies).toEqual(["tar".repeat(100_000)]);
    expect(await naru(["load"], { stdin: "piped" })).toMatchObject({ code: 0 });
    expect(daemon.bodies).toEqual(["piped"]);
    expect(await naru(["load", "-i", "/nonexist"])).toMatchObject({
      code: 1,
      err: "open /nonexist: no such file or directory\n",
    });
  });

  test("an error in the middle of progress is the command's failure", async () => {
    answer(
      "POST /images/load",
      `{"stream":"working\\n"}\n{"errorDetail":{"message":"unexpected EOF"},"error":"unexpected EOF"}\n`,
    );
    expect(await naru(["load"], { stdin: "x" })).toEqual({
      code: 1,
      out: "working\n",
      err: "unexpected EOF\n",
    });
  });

  test("save -o appears only when it is whole", async () => {
    answer("GET /images/get", "archive");
    expect((await naru(["save", "-o", `${root}/out.tar`, "a", "b"])).code).toBe(0);
    expect(readFileSync(`${root}/out.tar`, "utf8")).toBe("archive");
    expect(daemon.requests).toEqual(["GET /v1.51/images/get?names=a&names=b"]);
    answer("GET /images/get", { message: "No such image: c" }, { status: 404 });
    expect((await naru(["save", "-o", `${root}/no.tar`, "c"])).code).toBe(1);
    expect(existsSync(`${root}/no.tar`)).toBe(false);
  });
});

describe("credentials", () => {
  const file = () => `${root}/config/config.json`;

  test("login checks with the daemon and keeps; pull sends; logout forgets", async () => {
    answer("POST /auth", { Status: "Login Succeeded" });
    writeFileSync(file(), JSON.stringify({ HttpHeaders: { "X-Own": "1" }, unknown: [1] }));
    const words = ["login", "-u", "me", "--password-stdin", "localhost:5000"];
    const result = await naru(words, { stdin: "secret\n" });
    expect([result.code, result.out]).toEqual([0, "Login Succeeded\n"]);
    expect(JSON.parse(readFileSync(file(), "utf8"))).toEqual({
      HttpHeaders: { "X-Own": "1" },
      unknown: [1],
      auths: { "localhost:5000": { auth: Buffer.from("me:secret").toString("base64") } },
    });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    await naru(["pull", "-q", "localhost:5000/box"]);
    expect(daemon.lastHeaders["x-own"]).toBe("1");
    const header = String(daemon.lastHeaders["x-registry-auth"]);
    expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({
      username: "me",
      password: "secret",
      serveraddress: "localhost:5000",
    });
    await naru(["logout", "localhost:5000"]);
    expect(JSON.parse(readFileSync(file(), "utf8"))).toMatchObject({ auths: {} });
    rmSync(file());
  });

  test("a credential helper is asked before the file", async () => {
    const helper = `${root}/docker-credential-narutest`;
    writeFileSync(
      helper,
      `#!/bin/sh\nread server\n[ "$1" = get ] && echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"helped\\",\\"Secret\\":\\"s\\"}"\n`,
      { mode: 0o755 },
    );
    writeFileSync(file(), JSON.stringify({ credHelpers: { "localhost:5000": "narutest" } }));
    const env = { PATH: `${root}:${process.env["PATH"]}` };
    await naru(["pull", "-q", "localhost:5000/box"], { env });
    const header = String(daemon.lastHeaders["x-registry-auth"]);
    expect(JSON.parse(Buffer.from(header, "base64url").toString())).toMatchObject({
      username: "helped",
    });
    rmSync(file());
  });
});

describe("contexts", () => {
  const env = { DOCKER_HOST: "" };

  test("create, use, ls, rm: docker's own files", async () => {
    const docker = `host=${daemon.host}`;
    const created = await naru(
      ["context", "create", "near", "--description", "d", "--docker", docker],
      { env },
    );
    expect([created.code, created.out]).toEqual([0, "near\n"]);
    expect((await naru(["context", "use", "near"], { env })).code).toBe(0);
    expect((await naru(["context", "show"], { env })).out).toBe("near\n");
    answer("GET /containers/json", []);
    expect((await naru(["ps", "-q"], { env })).code).toBe(0);
    const list = await naru(
      ["context", "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}"],
      { env },
    );
    expect(list.out).toBe(`default false unix:///run/naru/naru.sock\nnear true ${daemon.host}\n`);
    expect((await naru(["context", "rm", "near"], { env })).err).toBe(
      'context "near" is in use, set -f flag to force remove\n',
    );
    expect((await naru(["context", "rm", "-f", "near"], { env })).out).toBe("near\n");
    expect((await naru(["context", "show"], { env })).out).toBe("default\n");
  });

  test("DOCKER_HOST goes before DOCKER_CONTEXT, --context before both", async () => {
    answer("GET /containers/json", []);
    expect((await naru(["ps", "-q"], { env: { DOCKER_CONTEXT: "nope" } })).code).toBe(0);
    const result = await naru(["--context", "nope", "ps"]);
    expect(result.err).toStartWith(
      'Failed to initialize: unable to resolve docker endpoint: context "nope": context not found: open ',
    );
  });
});

const CALLED_BY_READLINE = `
source /dev/stdin <<<"$1"
BUN=$2 ENTRY=$3 COMP_LINE=$4
shift 4
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_WORDBREAKS=$' \\t\\n"\\'@><=;|&(:'
naru() { "$BUN" "$ENTRY" "$@"; }
_naru
printf '%s\\n' "\${COMPREPLY[@]}"
`;

describe("a name that nothing has", () => {
  test("is told with the one that may have been meant", async () => {
    answer("GET /containers/json", [{ ...container, Names: ["/webserver"] }]);
    answer(
      "POST /containers/webservre/stop",
      { message: "No such container: webservre" },
      { status: 404 },
    );
    const stopped = await naru(["stop", "webservre"]);
    expect(stopped).toMatchObject({ code: 1, out: "" });
    expect(stopped.err).toBe(
      "Error response from daemon: No such container: webservre\n\nDid you mean this?\n\twebserver\n",
    );
    answer("POST /containers/other/stop", { message: "No such container: other" }, { status: 404 });
    expect((await naru(["stop", "other"])).err).not.toContain("Did you mean");
  });
});

describe("completion", () => {
  test("commands, flags, values and live names", async () => {
    const words = async (...line: string[]) =>
      (await naru(["__complete", ...line])).out
        .split("\n")
        .map((text) => text.split("\t")[0] ?? "");
    expect(await words("ru")).toEqual(["run", ""]);
    expect(await words("container", "re")).toEqual(["rename", "restart", ""]);
    expect(await words("run", "--netw")).toEqual(["--network", "--network-alias", ""]);
    expect(await words("run", "--pull", "m")).toEqual(["missing", ""]);
    answer("GET /containers/json", [container]);
    expect(await words("stop", "")).toEqual(["web", ""]);
    expect(await words("stop", "web", "")).toEqual([""]);
    expect(await words("load", "-i", "")).toEqual([":files", ""]);
    expect(await words("load", "--input=/etc")).toEqual([":files", ""]);
    expect(await words("--context", "")).toEqual(["default", ""]);
  });

  test.each(["bash", "zsh", "fish"])("a script for %s asks __complete", async (shell) => {
    expect((await naru(["completion", shell])).out).toContain("__complete");
  });

  test("bash, which ends words at = and :, replaces only what stands behind them", async () => {
    const { out: script } = await naru(["completion", "bash"]);
    /** As readline calls it: the line, its words, and which of them the cursor is in. */
    const replies = async (line: string, words: readonly string[]) => {
      const answer = Bun.spawn(
        ["bash", "-c", CALLED_BY_READLINE, "bash", script, process.execPath, entry, line, ...words],
        { stdout: "pipe", env: environment() },
      );
      return (await new Response(answer.stdout).text()).split("\n").slice(0, -1);
    };
    expect(await replies("naru run --pull=m", ["naru", "run", "--pull", "=", "m"])).toEqual([
      "missing",
    ]);
    expect(await replies("naru run --pull=", ["naru", "run", "--pull", "="])).toEqual([
      "always",
      "missing",
      "never",
    ]);
    expect(await replies("naru  run --pull m", ["naru", "run", "--pull", "m"])).toEqual([
      "missing",
    ]);
    const typed = `${root}/conf`;
    expect(
      await replies(`naru load --input=${typed}`, ["naru", "load", "--input", "=", typed]),
    ).toEqual([`${root}/config`]);
    answer("GET /images/json", [{ RepoTags: ["demo:1", "demo:2", "other:1"] }]);
    expect(await replies("naru rmi demo:", ["naru", "rmi", "demo", ":"])).toEqual(["1", "2"]);
    expect(await replies("naru rmi ", ["naru", "rmi", ""])).toEqual([
      "demo:1",
      "demo:2",
      "other:1",
    ]);
  });
});

test("a reader that goes away ends the program quietly", async () => {
  const command = `${process.execPath} ${entry} --help | head -1`;
  const child = Bun.spawn(["bash", "-c", `${command}; echo "\${PIPESTATUS[0]}"`], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect(out).toMatch(/^Usage: {2}naru \[OPTIONS\] COMMAND\n(?:0|141)\n$/);
  expect(err).toBe("");
});
