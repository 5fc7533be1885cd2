/** dockerode, the client of Node programs, on a private engine. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";

import Docker from "dockerode";

import { baseImage, type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let docker: Docker;

beforeAll(async () => {
  engine = await startEngine();
  docker = new Docker({ socketPath: engine.socket });
});

afterAll(async () => {
  await engine?.[Symbol.asyncDispose]();
});

async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as Readable) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString();
}

/** Docker's frames taken apart: standard output and standard error. */
async function split(stream: NodeJS.ReadableStream): Promise<{ out: string; err: string }> {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => {
    out.end();
    err.end();
  });
  const [outText, errText] = await Promise.all([textOf(out), textOf(err)]);
  return { out: outText, err: errText };
}

test("run joins create, attach, start and wait", async () => {
  const out = new PassThrough();
  const text = textOf(out);
  const [result, container] = (await docker.run(
    "busybox",
    ["sh", "-c", "echo from $(hostname); exit 3"],
    out,
    {
      Hostname: "dock",
    },
  )) as [{ StatusCode: number }, Docker.Container];
  expect(result.StatusCode).toBe(3);
  // The end of what it prints ends it, and comes when it comes.
  expect((await text).trim()).toBe("from dock");
  await container.remove();
});

test("a container's life: create, start, inspect, list, rename, pause, stop, remove", async () => {
  const container = await docker.createContainer({
    name: "life",
    Image: "busybox",
    Cmd: ["sleep", "1000"],
    Labels: { crew: "red" },
    HostConfig: { Memory: 64 * 2 ** 20, StopTimeout: 0 } as Docker.HostConfig,
    StopTimeout: 0,
  });
  await container.start();
  const inspected = await container.inspect();
  expect(inspected.State).toMatchObject({ Running: true, Status: "running" });
  expect(inspected.HostConfig.Memory).toBe(64 * 2 ** 20);
  const listed = await docker.listContainers({ filters: { label: ["crew=red"] } });
  expect(listed.map(({ Names }) => Names)).toEqual([["/life"]]);
  await container.rename({ name: "second-life" });
  await container.pause();
  expect((await container.inspect()).State.Paused).toBe(true);
  await container.unpause();
  const [titles, row] = await container.top().then((top) => [top.Titles, top.Processes[0]]);
  expect(titles).toContain("PID");
  expect(row?.join(" ")).toContain("sleep 1000");
  await container.stop();
  expect((await container.wait()) as { StatusCode: number }).toEqual({ StatusCode: 137 });
  await container.remove();
  const gone = await container.inspect().catch((error: unknown) => error);
  expect(gone).toMatchObject({ statusCode: 404, reason: "no such container" });
});

test("attach sends what is typed and hears both streams", async () => {
  const container = await docker.createContainer({
    Image: "busybox",
    Cmd: ["sh", "-c", "read line; echo got $line; echo bad >&2"],
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
  });
  const stream = await container.attach({
    stream: true,
    stdin: true,
    stdout: true,
    stderr: true,
    hijack: true,
  });
  const both = split(stream);
  await container.start();
  stream.write("a rope\n");
  expect(await both).toEqual({ out: "got a rope\n", err: "bad\n" });
  await container.remove({ force: true });
});

test("exec answers with its output and its exit code", async () => {
  const container = await docker.createContainer({ Image: "busybox", Cmd: ["sleep", "1000"] });
  await container.start();
  const exec = await container.exec({
    Cmd: ["sh", "-c", "cat; echo $KEY >&2; exit 5"],
    Env: ["KEY=brass"],
    AttachStdin: true,
    AttachStdout: true,
    AttachStderr: true,
  });
  const stream = await exec.start({ hijack: true, stdin: true });
  const both = split(stream);
  stream.end("typed\n");
  expect(await both).toEqual({ out: "typed\n", err: "brass\n" });
  expect(await exec.inspect()).toMatchObject({ ExitCode: 5, Running: false });
  await container.remove({ force: true });
});

test("logs are read whole, by tail, and followed to the end", async () => {
  const container = await docker.createContainer({
    Image: "busybox",
    Cmd: ["sh", "-c", "echo one; echo two; echo three >&2"],
  });
  await container.start();
  await container.wait();
  const whole = await container.logs({ stdout: true, stderr: false });
  expect(whole.toString("latin1")).toContain("two\n");
  const follow = await container.logs({ follow: true, stdout: true, stderr: true, tail: 2 });
  const { out, err } = await split(follow);
  expect(`${out}${err}`).toBe("two\nthree\n");
  await container.remove();
});

test("events arrive as they happen, filtered", async () => {
  const events = await docker.getEvents({ filters: { type: ["container"], event: ["die"] } });
  const heard = once(events, "data");
  await docker.run("busybox", ["false"], new PassThrough());
  const [line] = (await heard) as [Buffer];
  expect(JSON.parse(String(line))).toMatchObject({
    Type: "container",
    Action: "die",
    Actor: { Attributes: { exitCode: "1", image: "busybox" } },
  });
  (events as Readable).destroy();
});

test("images are imported, tagged, saved, inspected and removed", async () => {
  const archive = Bun.file(await baseImage("busybox"));
  const bytes = Buffer.from(await archive.bytes());
  // Its types know the older form only, with a callback.
  const importer = docker as unknown as {
    importImage(
      file: NodeJS.ReadableStream,
      options: Record<string, string>,
    ): Promise<NodeJS.ReadableStream>;
  };
  const options = { repo: "cargo", tag: "v1" };
  await textOf(await importer.importImage(Readable.from([bytes]), options));
  const image = docker.getImage("cargo:v1");
  expect(await image.inspect()).toMatchObject({ RepoTags: ["cargo:v1"], Os: "linux" });
  await image.tag({ repo: "cargo", tag: "v2" });
  expect(
    (await docker.listImages({ filters: { reference: ["cargo"] } }))
      .flatMap(({ RepoTags }) => RepoTags ?? [])
      .toSorted(),
  ).toEqual(["cargo:v1", "cargo:v2"]);
  expect((await image.history()).length).toBe(1);
  const saved = await image.get();
  expect((await textOf(saved)).length).toBeGreaterThan(100_000);
  await image.remove();
  await docker.getImage("cargo:v2").remove();
  const gone = await image.inspect().catch((error: unknown) => error);
  expect(gone).toMatchObject({ statusCode: 404 });
});

test("the engine tells of itself, and an engine in no swarm says so", async () => {
  expect(String(await docker.ping())).toBe("OK");
  expect(await docker.version()).toMatchObject({ ApiVersion: "1.51", Os: "linux" });
  expect(await docker.info()).toMatchObject({ Swarm: { LocalNodeState: "inactive" } });
  const networks = await docker.listNetworks();
  expect(networks.map(({ Name }) => Name)).toEqual(
    expect.arrayContaining(["bridge", "host", "none"]),
  );
  const refused = await docker.listServices().catch((error: unknown) => error);
  expect(refused).toMatchObject({ statusCode: 503 });
  expect(await docker.listPlugins()).toEqual([]);
});

test("every JSON answer was as the definition says", () => {
  expect(engine.violations()).toEqual([]);
});

test("buildImage with BuildKit takes an archive, with a session and without", async () => {
  const archive = () => {
    const folder = `${engine.root}/buildkit`;
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/Dockerfile`, "FROM busybox\nRUN echo program > /by\n");
    return Readable.from(Bun.spawnSync(["tar", "c", "-C", folder, "."]).stdout);
  };
  for (const [name, version] of [
    ["with", "2"],
    ["without", "2"],
  ] as const) {
    if (name === "with") {
      const stream = await docker.buildImage(archive(), { t: `by:${name}`, version });
      const said = await textOf(stream);
      expect(said).toContain("moby.image.id");
    } else {
      const body = Bun.spawnSync(["tar", "c", "-C", `${engine.root}/buildkit`, "."]).stdout;
      const answer = await engine.fetch(`/build?version=${version}&t=by:${name}`, {
        method: "POST",
        body: new Uint8Array(body),
        headers: { "content-type": "application/x-tar" },
      });
      expect(await answer.text()).toContain("moby.image.id");
    }
    expect(await engine.ok(["run", "--rm", "--network", "none", `by:${name}`, "cat", "/by"])).toBe(
      "program",
    );
  }
});
