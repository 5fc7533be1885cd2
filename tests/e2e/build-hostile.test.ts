/** Builds that mean harm, or have bad luck: they end with a clear error, leave nothing, and the next one works. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { mount } from "#linux/mount";
import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { writeContext } from "./build-context.ts";
import { type Engine, type Finished, startEngine } from "./engine.ts";

let engine: Engine;
const MIB = 1024 * 1024;

beforeAll(async () => {
  engine = await startEngine();
});
afterAll(async () => {
  const left = ["contexts", "scratch"].flatMap((name) => {
    const path = join(engine.dataRoot, "build", name);
    return existsSync(path) ? readdirSync(path) : [];
  });
  const violations = engine.violations();
  await engine[Symbol.asyncDispose]();
  expect({ left, violations }).toEqual({ left: [], violations: [] });
});

function build(
  files: Record<string, string | Uint8Array>,
  args: readonly string[] = [],
): Promise<Finished> {
  const folder = writeContext(engine, files);
  return engine.docker(["build", ...args, folder], { env: { DOCKER_BUILDKIT: "0" } });
}

async function works(): Promise<void> {
  const finished = await build({ Dockerfile: "FROM busybox\nRUN echo fine\n" }, ["--no-cache"]);
  expect(finished.stdout + finished.stderr).toContain("Successfully built");
}

/** A small disk in place of one of the engine's folders. */
const smallDisk = (target: string): Disposable =>
  mount({ target, type: "tmpfs", data: "size=24m" });

test("a step that forks without end is held by its own cgroup, and ends with it", async () => {
  const script = [
    "FROM busybox",
    "RUN cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null > /max || true",
    "RUN bomb() { bomb | bomb & }; bomb; exit 0",
  ].join("\n");
  const finished = await build({ Dockerfile: script }, ["-t", "bomb", "--memory", "64m"]);
  expect(finished.code === 0 || finished.stderr.includes("non-zero code")).toBe(true);
  await works();
  if (finished.code !== 0) return;
  const max = await engine.ok(["run", "--rm", "--network", "none", "bomb", "cat", "/max"]);
  expect(max).toBe("8192");
});

test("an archive that unpacks to more than the disk holds is refused, and goes", async () => {
  const header = encodeTarHeader({ name: "zeros", sizeBytes: 64 * MIB });
  const bomb = gzipSync(Buffer.concat([header, Buffer.alloc(64 * MIB), TAR_TRAILER]));
  {
    using disk = smallDisk(join(engine.dataRoot, "build", "scratch"));
    void disk;
    const files = { Dockerfile: "FROM busybox\nADD bomb.tar.gz /in/\n", "bomb.tar.gz": bomb };
    const finished = await build(files);
    expect(finished.code).not.toBe(0);
    expect(finished.stderr).toContain("no space left on device");
    expect(finished.stderr).not.toContain("ENOSPC");
    expect(readdirSync(join(engine.dataRoot, "build", "scratch"))).toEqual([]);
  }
  await works();
});

test("a context larger than the disk is refused, and goes", async () => {
  await works();
  {
    using disk = smallDisk(join(engine.dataRoot, "build", "contexts"));
    void disk;
    const files = { Dockerfile: "FROM busybox\n", large: Buffer.alloc(48 * MIB) };
    const finished = await build(files);
    expect(finished.code).not.toBe(0);
    expect(readdirSync(join(engine.dataRoot, "build", "contexts"))).toEqual([]);
  }
  await works();
});

test("who waits for a locked cache folder and goes away waits no more, and holds up nobody", async () => {
  const cache = "--mount=type=cache,target=/c,sharing=locked,id=held";
  const step = (name: string, body: string) => ({
    Dockerfile: `FROM busybox\nRUN ${cache} : ${name}; ${body}\n`,
  });
  const first = build(step("first", "touch /c/begun; until [ -e /c/go ]; do :; done; rm /c/go"));
  const held = join(engine.dataRoot, "build", "caches");
  const inside = () => readdirSync(held).map((id) => join(held, id));
  while (!existsSync(held) || !inside().some((path) => existsSync(join(path, "begun")))) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  const abort = new AbortController();
  const waiter = fetch(`http://d/v1.51/build?events=1`, {
    method: "POST",
    unix: engine.socket,
    signal: abort.signal,
    body: archive(step("waiter", "true").Dockerfile),
    headers: { "Content-Type": "application/x-tar" },
  });
  const response = await waiter;
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let text = "";
  // The step was not in the cache: it is made next, and waits for its folder.
  while (!text.includes('"hit":false')) {
    const { done, value } = await reader.read();
    if (done) throw new Error(text);
    text += decoder.decode(value, { stream: true });
  }
  abort.abort();
  await reader.read().catch(() => undefined);
  const [folder = ""] = inside();
  writeFileSync(join(folder, "go"), "");
  expect((await first).code).toBe(0);
  expect((await build(step("third", "test -e /c/begun"))).code).toBe(0);
});

test("a supervisor that dies during a step leaves no build hanging, and the next one works", async () => {
  const held = join(engine.dataRoot, "build", "caches");
  const cache = "--mount=type=cache,target=/c,id=dying";
  const dockerfile = `FROM busybox\nRUN ${cache} touch /c/dying; until [ -e /c/go ]; do sleep 0.1; done\n`;
  const dying = build({ Dockerfile: dockerfile });
  const isBegun = () =>
    existsSync(held) && readdirSync(held).some((id) => existsSync(join(held, id, "dying")));
  while (!isBegun()) await new Promise((resolve) => setImmediate(resolve));
  process.kill(engine.supervisorPid(), "SIGKILL");
  for (const id of readdirSync(held)) writeFileSync(join(held, id, "go"), "");
  const finished = await dying;
  expect(finished.code === 0).toBe(finished.stdout.includes("Successfully built"));
  await works();
});

test("a cache folder starts with the files of a stage, once", async () => {
  const dockerfile = (value: string) =>
    [
      "FROM busybox AS seed",
      "RUN mkdir /s && echo seeded > /s/file && chown 7:8 /s/file",
      "FROM busybox",
      "RUN --mount=type=cache,target=/c,id=seeded,from=seed,source=/s " +
        `cat /c/file > /out; stat -c %u:%g /c/file >> /out; echo ${value} > /c/file`,
    ].join("\n");
  expect((await build({ Dockerfile: dockerfile("changed") }, ["-t", "seeded"])).code).toBe(0);
  const shown = ["run", "--rm", "--network", "none", "seeded", "cat", "/out"];
  expect(await engine.ok(shown)).toBe("seeded\n7:8");
  expect((await build({ Dockerfile: dockerfile("again") }, ["-t", "seeded"])).code).toBe(0);
  expect(await engine.ok(shown)).toBe("changed\n7:8");
});

test("instructions that double a text have an end, and the engine its memory", async () => {
  const doubled = (line: string) => Array.from({ length: 40 }, () => line);
  const cases: readonly (readonly string[])[] = [
    ["FROM busybox", "ENV a=xxxxxxxx", ...doubled("ENV a=$a$a")],
    ["ARG a=xxxxxxxx", ...doubled("ARG a=$a$a"), "FROM busybox"],
    ["FROM busybox", "ARG a=xxxxxxxx", ...doubled("ARG a=$a$a"), "LABEL b=$a"],
    ["FROM busybox", `ENV a=${"x".repeat(500_000)}`, `LABEL ${"b=$a c=$a ".repeat(2000)}`],
    ["FROM busybox", `EXPOSE ${"1-65535 ".repeat(2000)}`],
    ["FROM busybox", `ENV a=${"x".repeat(900_000)}`, ...doubled("ENV b=$a").slice(0, 12)],
  ];
  for (const lines of cases) {
    const context = writeContext(engine, { Dockerfile: lines.join("\n") });
    const said = await engine.naru(["build", "-q", context]);
    expect(said.code).toBe(1);
    expect(said.stderr).toMatch(/more than \d+ (?:characters|bytes|ports)/);
    const peak = /VmHWM:\s*(\d+) kB/.exec(
      readFileSync(`/proc/${engine.daemonPid}/status`, "utf8"),
    )?.[1];
    expect(Number(peak)).toBeLessThan(800 * 1024);
  }
}, 60_000);

test("a Dockerfile that nobody wrote, and devices in a context", async () => {
  const large = await build({ Dockerfile: `FROM busybox\n#${"x".repeat(16 * MIB)}\n` });
  expect(large.code).not.toBe(0);
  expect(large.stderr).toContain("Dockerfile is too large");
  const device = Buffer.concat([
    encodeTarHeader({ name: "disk", type: "block", devMajor: 8, devMinor: 0, sizeBytes: 0 }),
    archive("FROM busybox\nCOPY disk /disk\nRUN stat -c %F /disk; ! head -c 1 /disk\n"),
  ]);
  const finished = await engine.docker(["build", "-"], {
    env: { DOCKER_BUILDKIT: "0" },
    stdin: device,
  });
  expect(finished.stdout).toContain("block special file");
  expect(finished.code).toBe(0);
});

test("the cache is pruned by filters and limits, one value each", async () => {
  await build({ Dockerfile: "FROM busybox\nRUN head -c 3000000 /dev/zero > /z; : kept\n" });
  await build({ Dockerfile: "FROM busybox\nRUN head -c 3000000 /dev/zero > /z; : other\n" });
  const prune = async (query: Record<string, string>) => {
    const text = new URLSearchParams(query).toString();
    const response = await fetch(`http://d/v1.51/build/prune?${text}`, {
      method: "POST",
      unix: engine.socket,
    });
    return (await response.json()) as { CachesDeleted: string[]; message?: string };
  };
  const all = "true";
  const filters = (value: object) => JSON.stringify(value);
  expect((await prune({ all, filters: filters({ id: ["a", "b"] }) })).message).toContain(
    "filters expect only one value",
  );
  expect((await prune({ all, filters: filters({ inuse: ["true"] }) })).CachesDeleted).toEqual([]);
  expect((await prune({ all, "min-free-space": "1" })).CachesDeleted).toEqual([]);
  expect((await prune({ all, "reserved-space": "99999999999" })).CachesDeleted).toEqual([]);
  const description = "RUN head -c 3000000 /dev/zero > /z; : other";
  expect((await prune({ all, filters: filters({ description: [description] }) })).message).toBe(
    "failed to parse prune filters [description==RUN head -c 3000000 /dev/zero > /z; : other]: filters: parse error: [description==RUN >| |< head -c 3000000 /dev/zero > /z; : other]: unexpected input:  : invalid argument",
  );
  for (const [name, why] of Object.entries({
    mutable: "invalid filter 'mutable'",
    until: `"until" filter expects a duration (e.g., '24h') or a timestamp: failed to parse value as time or duration: "x"`,
    inuse: "failed to parse prune filters [inuse==.x]: filters: parse error",
  })) {
    const value = name === "inuse" ? ".x" : "x";
    expect((await prune({ all, filters: filters({ [name]: [value] }) })).message).toContain(why);
  }
  expect((await prune({ all, "keep-storage": "x" })).message).toBe(
    'keep-storage is in bytes and expects an integer, got x: strconv.Atoi: parsing "x": invalid syntax',
  );
  const quoted = JSON.stringify(description);
  const one = await prune({
    all,
    filters: filters({ description: [quoted], shared: [], "label!": ["x"] }),
  });
  expect(one.CachesDeleted).toHaveLength(1);
  const mounts = await prune({ all, filters: filters({ type: ["exec.cachemount"] }) });
  expect(mounts.CachesDeleted.length).toBeGreaterThan(0);
  expect((await prune({ all, "max-used-space": "1000" })).CachesDeleted.length).toBeGreaterThan(0);
});

function archive(dockerfile: string): Buffer {
  const bytes = Buffer.from(dockerfile);
  const header = encodeTarHeader({ name: "Dockerfile", sizeBytes: bytes.length });
  return Buffer.concat([header, bytes, tarPadding(bytes.length), TAR_TRAILER]);
}
