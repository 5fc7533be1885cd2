/** Git repositories and web servers as contexts, named contexts, and ADD of repositories. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";

import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { writeContext } from "./build-context.ts";
import { addBuildx, buildx, built } from "./buildx.ts";
import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
/** Dumb: no part of a history, no commit by its id. */
let web: Bun.Server<undefined>;
/** Smart: `git daemon`, one process a connection. */
let smart: Server;
let folder: string;
let first: string;

function git(args: readonly string[], cwd: string): string {
  const env = {
    ...process.env,
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_AUTHOR_NAME: "n",
    GIT_AUTHOR_EMAIL: "n@h",
    GIT_AUTHOR_DATE: "1700000000 +0000",
    GIT_COMMITTER_NAME: "n",
    GIT_COMMITTER_EMAIL: "n@h",
    GIT_COMMITTER_DATE: "1700000000 +0000",
  };
  const ended = spawnSync("git", args, { cwd, env });
  if (ended.status !== 0) throw new Error(ended.stderr.toString());
  return ended.stdout.toString().trim();
}

function makeRepository(): void {
  const work = join(folder, "work");
  mkdirSync(join(work, "sub"), { recursive: true });
  git(["init", "-q", "-b", "main"], work);
  writeFileSync(join(work, "Dockerfile"), "FROM busybox\nCOPY . /top/\n");
  writeFileSync(join(work, "sub/Dockerfile"), "FROM busybox\nCOPY . /sub/\n");
  writeFileSync(join(work, "sub/file"), "one\n");
  writeFileSync(join(work, ".dockerignore"), "ignored\n");
  writeFileSync(join(work, "ignored"), "not to be copied\n");
  spawnSync("ln", ["-s", "/etc", join(work, "out")]);
  git(["add", "."], work);
  git(["commit", "-q", "-m", "one"], work);
  first = git(["rev-parse", "HEAD"], work);
  git(["tag", "-a", "v1", "-m", "v1"], work);
  writeFileSync(join(work, "sub/file"), "two\n");
  git(["commit", "-q", "-a", "-m", "two"], work);
  git(["clone", "-q", "--bare", work, join(folder, "r.git")], folder);
  git(["update-server-info"], join(folder, "r.git"));
}

function packed(): Buffer {
  const bytes = Buffer.from("packed\n");
  const header = encodeTarHeader({ name: "file", sizeBytes: bytes.length });
  return Buffer.concat([header, bytes, tarPadding(bytes.length), TAR_TRAILER]);
}

beforeAll(async () => {
  folder = mkdtempSync("/tmp/naru-test-git-");
  makeRepository();
  web = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/context.tar") return new Response(packed());
      const file = join(folder, pathname);
      return existsSync(file) ? new Response(Bun.file(file)) : new Response("no", { status: 404 });
    },
  });
  smart = createServer((socket) => {
    const served = spawn("git", [
      "-c",
      "safe.directory=*",
      "daemon",
      "--inetd",
      "--export-all",
      `--base-path=${folder}`,
    ]);
    socket.on("error", () => served.kill());
    served.stdin.on("error", () => socket.destroy());
    socket.pipe(served.stdin);
    served.stdout.pipe(socket);
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  smart.listen(0, "127.0.0.1", () => resolve());
  await promise;
  engine = await startEngine();
  addBuildx(engine);
});
afterAll(async () => {
  await web.stop(true);
  smart.close();
  expect(engine.violations()).toEqual([]);
  // Checkouts are gone with their builds.
  const left = join(engine.dataRoot, "build", "contexts");
  expect(existsSync(left) ? readdirSync(left) : []).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const dumbUrl = () => `http://127.0.0.1:${web.port}/r.git`;
const smartUrl = () => `git://127.0.0.1:${(smart.address() as AddressInfo).port}/r.git`;

interface Told {
  readonly text: string;
  readonly error: string;
}

/** A build without an archive, as a client that has only a URL asks for it. */
async function post(query: Record<string, string>, body?: Uint8Array): Promise<Told> {
  const response = await fetch(`http://d/v1.51/build?${new URLSearchParams(query).toString()}`, {
    method: "POST",
    unix: engine.socket,
    ...(body === undefined ? {} : { body, headers: { "Content-Type": "application/x-tar" } }),
  });
  const lines = (await response.text()).split("\n").filter((line) => line.trim() !== "");
  const said = lines.map((line) => JSON.parse(line) as Record<string, string>);
  return {
    text: said.map(({ stream }) => stream ?? "").join(""),
    error: said.map(({ error, message }) => error ?? message ?? "").join(""),
  };
}

function contextOf(dockerfile: string): Uint8Array {
  const bytes = Buffer.from(dockerfile);
  const header = encodeTarHeader({ name: "Dockerfile", sizeBytes: bytes.length });
  return Buffer.concat([header, bytes, tarPadding(bytes.length), TAR_TRAILER]);
}

const shown = (image: string, script: string): Promise<string> =>
  engine.ok(["run", "--rm", "--network", "none", image, "sh", "-c", script]);

test("a repository is a context: branch, tag, commit and folder, from a smart and from a plain server", async () => {
  for (const url of [dumbUrl(), smartUrl()]) {
    expect((await post({ remote: url, t: "all" })).error).toBe("");
    expect(await shown("all", "cat /top/sub/file; ls -A /top")).toBe(
      "two\n.dockerignore\nDockerfile\nout\nsub",
    );
    for (const ref of ["v1", first, "refs/tags/v1"]) {
      expect((await post({ remote: `${url}#${ref}:sub`, t: "part" })).error).toBe("");
      expect(await shown("part", "cat /sub/file; stat -c %Y /sub/file")).toBe("one\n1700000000");
    }
  }
});

test("ADD takes a repository's files, with its history when asked, and keeps to a commit", async () => {
  const dockerfile = [
    "FROM busybox",
    `ADD --checksum=${first.slice(0, 12)} ${dumbUrl()}#v1 /one/`,
    `ADD --keep-git-dir=true ${smartUrl()}#main /two/`,
    `ADD --chown=7:8 --exclude=Dockerfile ${smartUrl()}#:sub /three/`,
  ].join("\n");
  const done = await post({ t: "added" }, contextOf(dockerfile));
  expect(done.error).toBe("");
  expect(
    await shown(
      "added",
      "cat /one/sub/file /two/sub/file; ls -A /one; ls /two/.git/HEAD; ls -ln /three | tail -n +2 | cut -c1-30; readlink /one/out",
    ),
  ).toMatch(
    /^one\ntwo\n\.dockerignore\nDockerfile\nignored\nout\nsub\n\/two\/\.git\/HEAD\n-rw-r--r-- +1 7 +8 .*\n\/etc$/,
  );
  expect((await post({}, contextOf(dockerfile))).text.match(/Using cache/g)).toHaveLength(3);
  const wrong = `FROM busybox\nADD --checksum=${"0".repeat(40)} ${dumbUrl()} /x/\n`;
  expect((await post({}, contextOf(wrong))).error).toContain("expected checksum to match 0000");
});

test("what a repository may not do is refused", async () => {
  for (const [url, why] of [
    [`${dumbUrl()}#nothing`, "repository does not contain ref nothing"],
    [`${dumbUrl()}#:out`, "subdirectory out of the git repository could not be found"],
    [`${dumbUrl()}#:nowhere`, "subdirectory nowhere of the git repository could not be found"],
    [`${dumbUrl()}#--upload-pack=x`, "invalid refspec"],
    [`http://127.0.0.1:${web.port}/none.git`, "failed to fetch the git repository"],
    ["file:///etc", "could not be recognized as URL"],
  ] as const) {
    expect((await post({ remote: url })).error).toContain(why);
  }
});

test("named contexts go before stages and images: an image, a repository, an archive", async () => {
  const contexts = JSON.stringify({
    base: "docker-image://busybox",
    code: `${smartUrl()}#v1`,
    web: `http://127.0.0.1:${web.port}/context.tar`,
  });
  const dockerfile = [
    "FROM scratch AS code",
    "FROM base",
    "COPY --from=code sub/file /copied",
    "RUN --mount=from=web,target=/w cat /w/file > /mounted",
  ].join("\n");
  expect((await post({ t: "named", contexts }, contextOf(dockerfile))).error).toBe("");
  expect(await shown("named", "cat /copied /mounted")).toBe("one\npacked");
  const from = await post({ t: "files", contexts }, contextOf('FROM code\nCMD ["x"]\n'));
  expect(from.error).toBe("");
  const unknown = await post({ contexts: '{"base":"oci-layout:///x"}' }, contextOf("FROM base\n"));
  expect(unknown.error).toBe('invalid context base: "oci-layout:///x" is no URL of a context');
});

test("a query says what of a repository is meant: in contexts, in ADD and in named contexts", async () => {
  const url = dumbUrl();
  for (const query of ["tag=v1&subdir=sub", `commit=${first}&subdir=/sub`, "ref=v1#:sub"]) {
    await built(engine, ["-t", "asked", `${url}?${query}`]);
    expect(await shown("asked", "cat /sub/file")).toBe("one");
  }
  await built(engine, ["-t", "asked", `${url}?branch=main&keep-git-dir=true`]);
  expect(await shown("asked", "cat /top/sub/file; ls /top/.git/HEAD")).toBe("two\n/top/.git/HEAD");
  const checked = `tag=v1&checksum=${first}`;
  const dockerfile = [
    "FROM busybox",
    `ADD ${url}?${checked}&subdir=sub /one/`,
    `ADD ${smartUrl()}?branch=main&keep-git-dir=1&submodules=false /two/`,
    "COPY --from=code /sub/file /three",
  ].join("\n");
  const context = writeContext(engine, { Dockerfile: dockerfile });
  const code = ["--build-context", `code=${url}?${checked}`];
  await built(engine, ["-t", "added", ...code, context]);
  const files = "cat /one/file /two/sub/file /three; ls /two/.git/HEAD; ls -A /one";
  expect(await shown("added", files)).toBe("one\ntwo\none\n/two/.git/HEAD\nDockerfile\nfile");
  const naru = await engine.naru(["build", "-t", "own", `${url}?tag=v1&subdir=sub`]);
  expect([naru.code, naru.code === 0 ? "" : naru.stderr]).toEqual([0, ""]);
  expect(await shown("own", "cat /sub/file")).toBe("one");
});

test("a query that says two things, or another commit than there is, is refused in BuildKit's words", async () => {
  const zeros = "0".repeat(40);
  for (const [query, why] of [
    ["tag=v1&branch=main", "branch conflicts with tag"],
    ["ref=v1#main", 'ref conflicts: "main" vs "v1"'],
    ["depth=1", 'unexpected query "depth"'],
    [`tag=v1&checksum=${zeros}`, `expected checksum to match ${zeros}, got ${first}`],
    ["tag=main", "repository does not contain ref refs/tags/main"],
  ] as const) {
    const finished = await buildx(engine, [`${dumbUrl()}?${query}`]);
    expect([finished.code, finished.stderr]).toEqual([1, expect.stringContaining(why)]);
  }
  const added = `ADD --checksum=${zeros} ${dumbUrl()}?tag=v1&checksum=${first} /x`;
  const context = writeContext(engine, { Dockerfile: `FROM busybox\n${added}\n` });
  expect((await buildx(engine, [context])).stderr).toContain("checksum mismatch");
});
