/**
 * What a Dockerfile means, where documentation leaves room: each line was compared with the BuildKit of Docker 28.5,
 * which builds the same file to the same image. Each is built by the docker CLI and by naru.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { writeContext } from "./build-context.ts";
import { addBuildx } from "./buildx.ts";
import { type Engine, startEngine } from "./engine.ts";

const devices = mkdtempSync("/tmp/naru-test-cdi-");
let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--cdi-spec-dir", devices] });
  addBuildx(engine);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(devices, { recursive: true, force: true });
});

/** Built by both clients to the same image; what a shell in it says. */
async function shown(
  context: string,
  script: string,
  args: readonly string[] = [],
): Promise<string> {
  const words = ["build", ...args, "-t", "meant", context];
  const docker = await engine.docker(words, { env: { DOCKER_BUILDKIT: "0" } });
  if (docker.code !== 0) throw new Error(docker.stdout + docker.stderr);
  const naru = await engine.naru([...words.slice(0, -1), "-q", context]);
  expect(docker.stdout).toContain(`Successfully built ${naru.stdout.slice(7, 19)}\n`);
  return await engine.ok(["run", "--rm", "--network", "none", "meant", "sh", "-c", script]);
}

/** Refused by both clients with one sentence. */
async function refused(dockerfile: string, sentence: string): Promise<void> {
  const context = writeContext(engine, { Dockerfile: dockerfile, a: "1", b: "2" });
  const docker = await engine.docker(["build", context], { env: { DOCKER_BUILDKIT: "0" } });
  expect(docker.stderr).toContain(sentence);
  expect((await engine.naru(["build", context])).stderr).toContain(sentence);
}

test("of ARG and ENV the one that comes last counts; a step sees its variables and no more", async () => {
  const dockerfile = [
    "FROM busybox AS base",
    "ENV X=env",
    "ARG X=arg",
    "RUN echo $X > /first",
    "ENV X=again Y=$X",
    "RUN echo $X $Y > /second",
    "ARG X=last",
    "ARG X",
    "FROM base",
    "RUN echo $X > /third && env | cut -d= -f1 | sort | tr '\\n' ' ' > /names",
  ].join("\n");
  const said = await shown(
    writeContext(engine, { Dockerfile: dockerfile }),
    "cat /first /second /third /names; echo; echo $X",
    ["--build-arg", "http_proxy=http://127.0.0.1:1"],
  );
  const names = "HOME HTTP_PROXY PATH PWD SHLVL X Y http_proxy ";
  expect(said).toBe(`arg\nagain arg\nlast\n${names}\nagain`);
});

test("what another stage has keeps its owner; of a context everything is root's", async () => {
  const dockerfile = [
    "FROM busybox AS made",
    "RUN mkdir -p /d/e && echo 1 > /d/e/f && ln -s e /d/l && chown -R 7:8 /d",
    "FROM busybox",
    "COPY --from=made /d /all",
    "COPY --from=made /d/l/f /one",
    "COPY --from=made --chown=3:4 /d/e/f /given",
    "COPY sub /own",
  ].join("\n");
  const context = writeContext(engine, { Dockerfile: dockerfile, "sub/x": "1" });
  const said = await shown(
    context,
    "stat -c '%n %u:%g' /all /all/e /all/l /all/e/f /one /given /own/x",
  );
  expect(said).toBe(
    "/all 0:0\n/all/e 7:8\n/all/l 7:8\n/all/e/f 7:8\n/one 7:8\n/given 3:4\n/own/x 0:0",
  );
});

test("links at the destination are followed, names are those that were written, folders keep their time", async () => {
  const dockerfile = [
    "FROM busybox",
    "RUN echo old > /real && ln -s /real /way && mkdir -m 711 /there",
    "COPY a /way",
    "COPY link /named/",
    "COPY sub /copied",
    "COPY sub/x sub/y /there",
    "COPY --chmod=700 sub /made/by/octal",
    "COPY --chmod=go-rx sub /made2/by/letters",
    "COPY --exclude=a --exclude=/sub a sub /left/",
    "COPY <<one /there",
    "heredoc",
    "one",
  ].join("\n");
  const context = writeContext(engine, {
    Dockerfile: dockerfile,
    a: "A\n",
    "sub/x": "x",
    "sub/y": "y",
  });
  symlinkSync("a", join(context, "link"));
  chmodSync(join(context, "sub"), 0o750);
  utimesSync(join(context, "sub"), 1e9, 1e9);
  const said = await shown(
    context,
    [
      "readlink /way; cat /real; ls /named; ls /there | tr '\\n' ' '; ls /left | tr '\\n' ' '; echo",
      "stat -c '%n %a %Y' /copied /made/by/octal /made2/by/letters",
      "stat -c '%n %a' /there /made /made/by /made2/by /made2/by/letters/x",
    ].join("; "),
  );
  expect(said.split("\n")).toEqual([
    "/real",
    "A",
    "link",
    "one x y a x y ",
    "/copied 755 1000000000",
    "/made/by/octal 700 1000000000",
    "/made2/by/letters 755 1000000000",
    "/there 711",
    "/made 700",
    "/made/by 700",
    "/made2/by 755",
    "/made2/by/letters/x 600",
  ]);
});

test("a mount without a target stands on the working directory, a script has the stage's shell", async () => {
  const dockerfile = [
    "FROM busybox",
    "WORKDIR /work",
    "ARG names=a,b",
    "RUN --mount=type=bind,source=sub ls > /seen",
    "RUN --mount=type=cache,id=$names touch left && ls >> /seen",
    "RUN ls | wc -l >> /seen",
    "CMD",
  ].join("\n");
  const context = writeContext(engine, { Dockerfile: dockerfile, "sub/x": "1" });
  expect(await shown(context, "cat /seen")).toBe("x\nleft\n0");
  const inspected = await engine.ok(["inspect", "-f", "{{json .Config.Cmd}}", "meant"]);
  expect(inspected).toBe('["/bin/sh","-c",""]');
});

const REFUSED: readonly (readonly [string, string])[] = [
  ["ENV a", "ENV must have two arguments"],
  ['ENV a="b c', 'failed to process "\\"b c": unexpected end of statement while looking for'],
  ["RUN --network=NONE true", 'dockerfile parse error on line 2: invalid network mode "NONE"'],
  ["RUN --mount=type=cache true", 'invalid mount target "/"'],
  ["RUN --mount=type=bind,uid=1,target=/x true", 'uid not allowed for "bind" type mounts'],
  ["RUN --mount=type=secret,id=a,source=b true", "both source and id can't be set"],
  ["RUN --mount=type=ssh,source=x true", "ssh does not support source"],
  ["RUN []", "arguments are required"],
  ["EXPOSE 80/foo", 'invalid port: "80/foo": invalid proto: foo'],
  ["STOPSIGNAL FOO", "invalid signal: FOO"],
  ["COPY http://localhost/x /x", "source can't be a URL for COPY"],
  ["ADD --checksum=sha256:00 a /x", "checksum requires HTTP(S) or Git sources"],
  ["COPY --from=$x / /x", "variable expansion is not supported for --from"],
  ["RUN --device=naru.test/none=x,required true", 'required device "naru.test/none=x" is not'],
];

test("of two sources for one place the last wins, as with BuildKit; the classic builder's client is told", async () => {
  const dockerfile = "FROM busybox\nCOPY a b /x\nCOPY one/ two/ /y/\n";
  const files = { Dockerfile: dockerfile, a: "1", b: "2", "one/f": "1", "two/f": "2" };
  const context = writeContext(engine, files);
  // One file under two names: one of them is replaced, the other one keeps what it was.
  linkSync(join(context, "one/f"), join(context, "one/g"));
  const sentence = "When using COPY with more than one source file, the destination must be";
  const docker = await engine.docker(["build", context], { env: { DOCKER_BUILDKIT: "0" } });
  expect(docker.stderr).toContain(sentence);
  const script = "cat /x /y/f /y/g; stat -c %h /y/g";
  for (const [cli, words] of [
    ["naru", ["build", "-q"]],
    ["docker", ["buildx", "build", "-q"]],
  ] as const) {
    expect(await engine[cli]([...words, "-t", "last", context])).toMatchObject({ code: 0 });
    const last = ["run", "--rm", "--network", "none", "last", "sh", "-c", script];
    expect(await engine.ok(last)).toBe("2211");
  }
});

test("a step is made again when its mounts, its owner's name or its machine are other ones", async () => {
  const secret = join(engine.root, "secret");
  writeFileSync(secret, "x");
  const made = async (lines: readonly string[], args: readonly string[] = []): Promise<string> => {
    const Dockerfile = ["FROM busybox", ...lines].join("\n");
    const context = writeContext(engine, { Dockerfile, a: "1" });
    const words = [
      "build",
      "-q",
      "--secret",
      `id=s,src=${secret}`,
      ...args,
      "-t",
      "again",
      context,
    ];
    expect(await engine.naru(words)).toMatchObject({ code: 0 });
    const seen = ["run", "--rm", "--network", "none", "again", "cat", "/seen"];
    return await engine.ok(seen);
  };
  const ofSecret = (options: string) =>
    made([`RUN --mount=type=secret,id=s${options} stat -c '%u %a' /run/secrets/s > /seen`]);
  expect(await ofSecret("")).toBe("0 400");
  expect(await ofSecret(",mode=0444")).toBe("0 444");
  expect(await ofSecret(",mode=0444,uid=7")).toBe("7 444");
  const ofSize = (size: string) =>
    made([`RUN --mount=type=tmpfs,target=/t,size=${size} df -k /t | awk 'END{print $2}' > /seen`]);
  expect(await ofSize("1m")).toBe("1024");
  expect(await ofSize("2m")).toBe("2048");
  const run = "cp /bin/busybox /t/true; /t/true; echo $? > /seen";
  expect(await made([`RUN --mount=type=tmpfs,target=/t ${run}`])).toBe("0");
  expect(await made([`RUN --mount=type=tmpfs,target=/t,ro ${run}`])).toBe("127");
  const ofHost = (...args: string[]) => made(["RUN hostname > /seen; ulimit -n >> /seen"], args);
  const open = (await ofHost()).split("\n")[1];
  expect(await ofHost("--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=my")).toBe(`my\n${open}`);
  expect(await ofHost("--ulimit", "nofile=99")).toBe("buildkitsandbox\n99");
  const ofName = (id: number) =>
    made([
      `RUN echo me:x:${id}:${id}::/:/bin/sh >> /etc/passwd; echo me:x:${id}: >> /etc/group`,
      "COPY --link --chown=me a /linked",
      "RUN stat -c %u /linked > /seen",
    ]);
  expect(await ofName(41)).toBe("41");
  expect(await ofName(42)).toBe("42");
});

test("what ONBUILD left in an image reads the stages of the file that is built", async () => {
  const parent = [
    "FROM busybox",
    "ONBUILD COPY --from=src /s /copied",
    "ONBUILD RUN --mount=type=bind,from=src,target=/m cat /m/s > /mounted",
  ].join("\n");
  const base = ["build", "-q", "-t", "left", writeContext(engine, { Dockerfile: parent })];
  expect(await engine.naru(base)).toMatchObject({ code: 0 });
  const lines = ["FROM busybox AS src", "RUN echo s > /s", "FROM left"];
  const child = writeContext(engine, { Dockerfile: lines.join("\n") });
  expect(await shown(child, "cat /copied /mounted")).toBe("s\ns");
  const own = [...lines.slice(0, 2), "FROM busybox AS made", "ONBUILD COPY --from=src /s /own"];
  const made = writeContext(engine, { Dockerfile: [...own, "FROM made"].join("\n") });
  expect(await shown(made, "cat /own")).toBe("s");
}, 60_000);

test("an archive that breaks off is refused; what only looks like one is a file", async () => {
  const whole = Bun.gzipSync(
    new Uint8Array(Bun.spawnSync(["tar", "-c", "/etc/passwd", "/bin/busybox"]).stdout),
  );
  const context = writeContext(engine, { Dockerfile: "FROM busybox\nADD cut.tgz /t/\n" });
  writeFileSync(join(context, "cut.tgz"), whole.subarray(0, whole.length / 2));
  const said = await engine.naru(["build", context]);
  expect(said).toMatchObject({ code: 1 });
  writeFileSync(join(context, "cut.tgz"), Bun.gzipSync(Buffer.from("no archive")));
  expect(await shown(context, "ls /t; zcat /t/cut.tgz")).toBe("cut.tgz\nno archive");
}, 60_000);

test("a cache folder is that of its owner and its namespace", async () => {
  const made = async (mount: string, args: readonly string[] = []): Promise<string> => {
    const script = "stat -c '%u:%g %a' /c > /seen; ls /c | wc -l >> /seen; touch /c/left";
    const step = `RUN --mount=type=cache,id=whose,target=/c${mount} ${script}`;
    const context = writeContext(engine, { Dockerfile: `FROM busybox\n${step}\n` });
    const words = ["build", "-q", ...args, "-t", "again", context];
    expect(await engine.naru(words)).toMatchObject({ code: 0 });
    return await engine.ok(["run", "--rm", "--network", "none", "again", "cat", "/seen"]);
  };
  expect(await made("")).toBe("0:0 755\n0");
  expect(await made("", ["--no-cache"])).toBe("0:0 755\n1");
  expect(await made(",uid=7,mode=0700")).toBe("7:0 700\n0");
  const namespace = ["--build-arg", "BUILDKIT_CACHE_MOUNT_NS=mine", "--no-cache"];
  expect(await made("", namespace)).toBe("0:0 755\n0");
  expect(await made("", namespace)).toBe("0:0 755\n1");
});

test("WORKDIR is a layer, of nothing where the folder is there; the top of all is none", async () => {
  const dockerfile = "FROM busybox\nWORKDIR /\nWORKDIR /tmp\nWORKDIR new\n";
  const context = writeContext(engine, { Dockerfile: dockerfile });
  await shown(context, "pwd");
  const layers = ["image", "inspect", "-f", "{{json .RootFS.Layers}}"];
  const count = async (image: string) =>
    (JSON.parse(await engine.ok([...layers, image])) as string[]).slice(1);
  expect(await count("meant")).toEqual([
    "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    expect.stringContaining("sha256:"),
  ]);
});

test("an owner that the stage does not know, and a source that is not there, are the Dockerfile's faults", async () => {
  const chown = "FROM busybox\nCOPY --chown=nosuch a /a\n";
  await refused(
    chown,
    "unable to convert uid/gid chown string to host mapping: can't find uid for user nosuch: no such user: nosuch",
  );
  await refused("FROM busybox\nCOPY --chown=root:none a /a\n", "no such group: none");
  await refused("FROM busybox\nCOPY gone /a\n", "COPY failed: file not found in build context");
  const buildx = ["buildx", "build", "--progress=plain"];
  const missing = writeContext(engine, { Dockerfile: "FROM busybox\nCOPY ./sub/../gone /a\n" });
  const said = await engine.docker([...buildx, missing]);
  expect(said.stderr).toMatch(
    /failed to compute cache key: failed to calculate checksum of ref \w+: "\/gone": not found/,
  );
  expect(said.stderr).toContain("   2 | >>> COPY ./sub/../gone /a");
});

test("what is wrong is said in BuildKit's words, with the line where BuildKit says it", async () => {
  for (const [line, sentence] of REFUSED) await refused(`FROM busybox\n${line}\n`, sentence);
});

test("RUN --device gives a step what a vendor's file says, to who may have it", async () => {
  mkdirSync(devices, { recursive: true });
  const edits = (name: string) => ({
    env: [`GIVEN=${name}`],
    deviceNodes: [{ path: `/dev/naru-${name}`, hostPath: "/dev/zero" }],
  });
  const document = {
    cdiVersion: "0.6.0",
    kind: "naru.test/thing",
    devices: [
      { name: "one", containerEdits: edits("one") },
      {
        name: "two",
        annotations: {
          "org.mobyproject.buildkit.device.autoallow": "true",
          "org.mobyproject.buildkit.device.class": "free",
        },
        containerEdits: edits("two"),
      },
    ],
  };
  writeFileSync(join(devices, "thing.json"), JSON.stringify(document));
  const file = (device: string) =>
    writeContext(engine, {
      Dockerfile: `FROM busybox\nRUN --device=${device} echo $GIVEN $(head -c 3 /dev/naru-* | wc -c) > /got\nRUN ls /dev | grep -c naru >> /got; true\n`,
    });
  const read = "cat /got; ls /dev | grep -c naru";
  expect(await shown(file("free"), `${read}; true`)).toBe("two 3\n0\n0");
  expect(await shown(file("naru.test/none"), `${read}; true`)).toBe("0\n0\n0");
  const one = file("naru.test/thing=one,required");
  const refusal = "device naru.test/thing=one is requested by the build but not allowed";
  expect((await engine.naru(["build", one])).stderr).toContain(refusal);
  for (const allowed of ["device", "device=naru.test/thing"]) {
    const { code, stderr } = await engine.naru(["build", "--allow", allowed, "-t", "one", one]);
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
  }
  const said = await engine
    .ok(["run", "--rm", "--network", "none", "one", "sh", "-c", read])
    .catch(String);
  expect(said).toContain("one 3\n0");
});

test("a context goes through gzip where that is asked for; another isolation is refused", async () => {
  const context = writeContext(engine, {
    Dockerfile: "FROM busybox\nCOPY a /a\n",
    a: "x".repeat(99),
  });
  const built = await engine.naru(["build", "--compress", "--rm", "--force-rm", "-q", context]);
  expect(built).toMatchObject({ code: 0, stderr: "" });
  for (const cli of ["docker", "naru"] as const) {
    const words = ["build", "--isolation", "hyperv", context];
    const { code, stderr } = await engine[cli](words, { env: { DOCKER_BUILDKIT: "0" } });
    expect([code === 0, stderr.includes('Unsupported isolation: "hyperv"')]).toEqual([false, true]);
  }
});
