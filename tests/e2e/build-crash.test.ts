/** Builds that are cut, cancelled, killed or starved: nothing is left of them, and the cache still works. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { mount, readMountInfo } from "#linux/mount";
import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { writeContext } from "./build-context.ts";
import { leftByBuilds, untilChanged, untilNothingLeft } from "./build-left.ts";
import { type Engine, type Finished, NARU, startEngine } from "./engine.ts";
import { expectNothingLeft } from "./leftovers.ts";

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  const violations = engine.violations();
  await engine[Symbol.asyncDispose]();
  expect(violations).toEqual([]);
});

type Files = Record<string, string | Uint8Array>;
const LEGACY = { DOCKER_BUILDKIT: "0" };
const MIB = 1024 * 1024;

const build = (files: Files, args: readonly string[] = []): Promise<Finished> =>
  engine.docker(["build", ...args, writeContext(engine, files)], { env: LEGACY });

function okay({ code, stdout, stderr }: Finished): string {
  if (code !== 0) throw new Error(stdout + stderr);
  return stdout;
}

/** Mounts below the engine's own folder of running steps. */
const mountsOfSteps = (): string[] =>
  readMountInfo()
    .map(({ target }) => target)
    .filter((target) => target.startsWith(join(engine.execRoot, "build")));

async function nothingLeft(): Promise<void> {
  await untilNothingLeft(engine);
  await expectNothingLeft(engine);
  expect(mountsOfSteps()).toEqual([]);
}

/** A client that is not waited for; resolves when it has printed something. */
function client(words: readonly string[]) {
  const child = Bun.spawn([...words], {
    env: { ...process.env, ...LEGACY },
    stdout: "pipe",
    stderr: "pipe",
  });
  const seen = (stream: ReadableStream<Uint8Array>) => {
    let text = "";
    const waiting: { wanted: string; resolve: () => void }[] = [];
    const read = async () => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        text += decoder.decode(chunk, { stream: true });
        for (const { wanted, resolve } of waiting) if (text.includes(wanted)) resolve();
      }
      for (const { resolve } of waiting) resolve();
    };
    const ended = read();
    return {
      text: () => text,
      ended,
      until: async (wanted: string) => {
        if (text.includes(wanted)) return;
        const { promise, resolve } = Promise.withResolvers<void>();
        waiting.push({ wanted, resolve });
        await promise;
      },
    };
  };
  return { child, stdout: seen(child.stdout), stderr: seen(child.stderr) };
}

const dockerAt = () => ["docker", "-H", `unix://${engine.daemonSocket}`];

test("a cancelled build stops at once and leaves nothing, whichever client it was", async () => {
  const dockerfile = "FROM busybox\nRUN --mount=type=cache,target=/c echo begun; sleep 1000\n";
  const folder = writeContext(engine, { Dockerfile: dockerfile });
  const ways: [string[], "stdout" | "stderr"][] = [
    [[...dockerAt(), "build", folder], "stdout"],
    [[NARU, "-H", `unix://${engine.daemonSocket}`, "build", "--progress=plain", folder], "stderr"],
  ];
  for (const [words, stream] of ways) {
    const running = client(words);
    await running[stream].until("begun\n");
    expect(leftByBuilds(engine).length).toBeGreaterThan(0);
    running.child.kill("SIGINT");
    const code = await running.child.exited;
    // docker's CLI says 0 where it hears of its broken connection before it hears of the signal.
    if (words[0] === NARU) expect(code).toBe(130);
    await nothingLeft();
  }
});

test("a connection that is cut while the context arrives leaves nothing", async () => {
  const contexts = join(engine.dataRoot, "build/contexts");
  const header = encodeTarHeader({ name: "large", sizeBytes: 64 * MIB });
  const socket = await Bun.connect({
    unix: engine.daemonSocket,
    socket: { data: () => undefined },
  });
  const chunk = Buffer.concat([header, Buffer.alloc(256 * 1024, 7)]);
  socket.write(
    "POST /v1.51/build HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
  );
  socket.write(Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk]));
  const arrived = () => existsSync(contexts) && readdirSync(contexts).length > 0;
  await untilChanged([join(engine.dataRoot, "build"), contexts], arrived);
  socket.terminate();
  await nothingLeft();
});

test("builds of one thing at once run it once", async () => {
  const cache = "--mount=type=cache,target=/c,id=once";
  const files = {
    Dockerfile: `FROM busybox\nRUN ${cache} echo ran >> /c/log; touch /c/begun; until [ -e /c/go ]; do sleep 0.05; done\n`,
  };
  const folder = writeContext(engine, files);
  const held = join(engine.dataRoot, "build/caches");
  const inside = (name: string) =>
    existsSync(held) ? readdirSync(held).map((id) => join(held, id, name)) : [];
  const all = Array.from({ length: 3 }, () => client([...dockerAt(), "build", folder]));
  for (const { stdout } of all) await stdout.until("Step 2/2");
  const begun = () => inside("begun").find((path) => existsSync(path));
  await untilChanged([join(engine.dataRoot, "build"), held], () => begun() !== undefined);
  const mine = (begun() ?? "").replace(/begun$/, "");
  writeFileSync(join(mine, "go"), "");
  for (const { child } of all) expect(await child.exited).toBe(0);
  expect(readFileSync(join(mine, "log"), "utf8")).toBe("ran\n");
});

test("a step that fills its disk says so, harms nobody and leaves nothing", async () => {
  const files = { Dockerfile: "FROM busybox\nRUN head -c 100000000 /dev/zero > /big; echo $?\n" };
  {
    using disk = mount({
      target: join(engine.dataRoot, "snapshots"),
      type: "tmpfs",
      data: "size=24m",
    });
    void disk;
    const finished = await build({
      Dockerfile: "FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=100\n",
    });
    expect(finished.code).not.toBe(0);
    expect(finished.stdout + finished.stderr).toContain("No space left on device");
    expect(leftByBuilds(engine)).toEqual([]);
  }
  {
    using disk = mount({
      target: join(engine.dataRoot, "layers/ingest"),
      type: "tmpfs",
      data: "size=24m",
    });
    void disk;
    const finished = await build({
      Dockerfile: "FROM busybox\nRUN yes | head -c 100000000 > /big\n",
    });
    expect(finished.code).not.toBe(0);
    expect(finished.stderr).toContain("no space left on device");
    expect(finished.stderr).not.toContain("ENOSPC");
    await untilNothingLeft(engine);
  }
  okay(await build(files, ["--no-cache"]));
  await nothingLeft();
});

test("kill -9 at many moments of builds that share steps: nothing is left, and the cache is right", async () => {
  const dockerfile = (name: string) =>
    [
      "FROM busybox AS one",
      "RUN echo one > /one; echo line 1",
      "RUN --mount=type=tmpfs,target=/t cp /one /t/x && cat /t/x > /two; echo line 2",
      "FROM busybox AS other",
      "COPY file /file",
      `RUN head -c 3000000 /dev/zero > /zeros; echo line 3; echo ${name}`,
      "FROM one",
      "COPY --from=other /file /zeros /",
      "RUN --mount=from=other,target=/o cat /o/file /two > /both; echo line 4",
      'CMD ["cat", "/both"]',
    ].join("\n");
  const files = (name: string) => ({ Dockerfile: dockerfile(name), file: `of ${name}\n` });
  const moments = ["Step 2/", "line 1", "line 3", "Step 8/", "line 4"];
  for (const [round, moment] of moments.entries()) {
    const running = Array.from({ length: 3 }, (_, index) => {
      const folder = writeContext(engine, files(`round ${round} of ${index % 2}`));
      return client([...dockerAt(), "build", folder]);
    });
    await Promise.race(running.map(({ stdout }) => stdout.until(moment)));
    await engine.restartDaemon();
    for (const { child } of running) await child.exited;
    await untilNothingLeft(engine);
    expect(mountsOfSteps()).toEqual([]);
  }
  for (const round of moments.keys()) {
    okay(await build(files(`round ${round} of 0`), ["-t", "killed"]));
    const shown = await engine.ok(["run", "--rm", "--network", "none", "killed"]);
    expect(shown).toBe(`of round ${round} of 0\none`);
    const again = okay(await build(files(`round ${round} of 0`)));
    expect(again.match(/ ---> Using cache$/gm)?.length).toBe(7);
  }
  await nothingLeft();
});

const entry = (header: Parameters<typeof encodeTarHeader>[0], text = ""): Uint8Array[] => {
  const bytes = Buffer.from(text);
  return [encodeTarHeader({ ...header, sizeBytes: bytes.length }), bytes, tarPadding(bytes.length)];
};

test("thirty thousand entries, as a context and in an archive, take a bounded part of the memory", async () => {
  const count = 30_000;
  function* entries(): Generator<Uint8Array> {
    for (let index = 0; index < count; index += 1) {
      yield* entry({ name: `d${index % 100}/some-name-of-a-file-${index}` }, `file ${index}\n`);
    }
  }
  const peakBytes = () => {
    const status = readFileSync(`/proc/${engine.daemonPid}/status`, "utf8");
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? Number.NaN) * 1024;
  };
  await engine.restartDaemon();
  const idle = peakBytes();
  const context = (dockerfile: string, more: Iterable<Uint8Array>) =>
    Buffer.concat([...entry({ name: "Dockerfile" }, dockerfile), ...more, TAR_TRAILER]);
  const inner = Buffer.concat([...entries(), TAR_TRAILER]);
  const archives = [
    context(
      "FROM busybox\nCOPY . /all\nRUN ls /all | wc -l; find /all -type f | wc -l\n",
      entries(),
    ),
    context("FROM busybox\nADD x.tar /all\nRUN ls /all | wc -l; find /all -type f | wc -l\n", [
      encodeTarHeader({ name: "x.tar", sizeBytes: inner.length }),
      inner,
      tarPadding(inner.length),
    ]),
  ];
  const counted = ["101\n30001\n", "100\n30000\n"];
  for (const [index, archive] of archives.entries()) {
    const finished = await engine.docker(["build", "-"], { env: LEGACY, stdin: archive });
    expect(okay(finished)).toContain(counted[index] ?? "");
  }
  // Ten kilobytes an entry: several times what 200,000 take each.
  expect(peakBytes() - idle).toBeLessThan(count * 10 * 1024);
  await nothingLeft();
});

test("nothing of a build reaches outside its root: links, mounts, /proc and archives", async () => {
  const outside = `/tmp/naru-test-outside-${engine.tag}`;
  const archive = Buffer.concat([
    ...entry({ name: `${outside}/absolute` }, "x"),
    ...entry({ name: "link", type: "symlink", link: outside }),
    ...entry({ name: "link/through" }, "x"),
    ...entry({ name: "proc/self/root/tmp/file" }, "x"),
    ...entry({ name: "null", type: "character", devMajor: 1, devMinor: 3 }),
    TAR_TRAILER,
  ]);
  const climbing = Buffer.concat([
    ...entry({ name: `../../../..${outside}/climbing` }, "x"),
    TAR_TRAILER,
  ]);
  const hard = Buffer.concat([
    ...entry({ name: "hard", type: "hardlink", link: "../../../etc/shadow" }),
    TAR_TRAILER,
  ]);
  const dockerfile = [
    "FROM busybox AS links",
    `RUN ln -s ${outside} /w; ln -s /proc/self/root /p; ln -s /etc/shadow /shadow; ln -s ../../../../../.. /up`,
    "FROM links",
    "WORKDIR /w/folder",
    "COPY file /w/copied",
    "COPY file /p/tmp/through-proc",
    `COPY file /up${outside}/up`,
    "ADD archive.tar /",
    "COPY --from=links /shadow /stolen",
    "RUN --mount=type=bind,source=file,target=/w/bound --mount=type=tmpfs,target=/w/tmp --mount=type=cache,target=/w/cache touch /w/tmp/a /w/cache/b /w/made; cat /w/bound; ls /w",
    "WORKDIR /proc/self/fd/9/x",
    "WORKDIR /",
    "RUN ls -d /proc/1/root /proc/self/fd; cat /stolen",
  ].join("\n");
  const finished = await build({ Dockerfile: dockerfile, file: "file\n", "archive.tar": archive }, [
    "-t",
    "inside",
  ]);
  const said = finished.stdout + finished.stderr;
  expect(existsSync(outside)).toBe(false);
  expect(existsSync("/tmp/through-proc")).toBe(false);
  expect(said).not.toContain(readFileSync("/etc/shadow", "utf8").split("\n")[0] ?? "");
  expect(said).toContain("root:*:10933");
  expect(finished.code).toBe(0);
  const list = ["run", "--rm", "--network", "none", "inside", "ls", `${outside}/`];
  const names = (await engine.ok(list)).split("\n");
  for (const name of ["folder", "copied", "up", "made", "through"]) expect(names).toContain(name);
  for (const refused of [climbing, hard]) {
    const files = { Dockerfile: "FROM busybox\nADD x.tar /\n", "x.tar": refused };
    expect((await build(files)).code).not.toBe(0);
  }
  expect(existsSync(outside)).toBe(false);
  const linked = {
    Dockerfile: "FROM busybox\nRUN --mount=type=bind,source=l/shadow,target=/m cat /m\n",
  };
  const context = Buffer.concat([
    ...entry({ name: "Dockerfile" }, linked.Dockerfile),
    ...entry({ name: "l", type: "symlink", link: "/etc" }),
    TAR_TRAILER,
  ]);
  const followed = await engine.docker(["build", "-"], { env: LEGACY, stdin: context });
  expect(followed.code).not.toBe(0);
  await nothingLeft();
});
