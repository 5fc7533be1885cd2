/** Options of `docker build`, ADD's sources, and Dockerfiles that come by other ways than a folder. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

import { encodeTarHeader, TAR_TRAILER, tarPadding } from "#wire/tar";

import { writeContext } from "./build-context.ts";
import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let web: Bun.Server<undefined>;
const LEGACY = { DOCKER_BUILDKIT: "0" };
const TEXT = "from the web\n";

beforeAll(async () => {
  web = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/files/page.txt") {
        const headers = { "Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT" };
        return new Response(TEXT, { headers });
      }
      if (pathname === "/packed.tgz") return new Response(gzipSync(packed()));
      if (pathname === "/Dockerfile.web")
        return new Response("FROM busybox\nRUN echo web > /web\n");
      return new Response("no", { status: 404 });
    },
  });
  engine = await startEngine();
});
afterAll(async () => {
  await web.stop(true);
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** An archive with one file of somebody's. */
function packed(): Buffer {
  const bytes = Buffer.from("packed\n");
  const header = encodeTarHeader({ name: "d/file", sizeBytes: bytes.length, uid: 7, gid: 8 });
  return Buffer.concat([header, bytes, tarPadding(bytes.length), TAR_TRAILER]);
}

const contextOf = (files: Record<string, string | Uint8Array>): string =>
  writeContext(engine, files);

async function built(args: readonly string[], stdin?: string | Uint8Array): Promise<string> {
  const options = stdin === undefined ? {} : { stdin };
  const finished = await engine.docker(["build", ...args], { env: LEGACY, ...options });
  if (finished.code !== 0) throw new Error(finished.stdout + finished.stderr);
  return finished.stdout;
}

const shown = (image: string, script: string): Promise<string> =>
  engine.ok(["run", "--rm", "--network", "none", image, "sh", "-c", script]);

test("ADD unpacks archives of the context, and takes URLs as files, checked by their checksum", async () => {
  const url = `http://127.0.0.1:${web.port}`;
  const digest = new Bun.CryptoHasher("sha256").update(TEXT).digest("hex");
  const dockerfile = [
    "FROM busybox",
    "ADD plain.tar /plain/",
    "ADD packed.tar.gz /packed/",
    "ADD --unpack=false plain.tar /kept/",
    "ADD --chown=9:9 plain.tar /owned/",
    `ADD --checksum=sha256:${digest} ${url}/files/page.txt /web/`,
    `ADD --chmod=644 ${url}/files/page.txt /renamed`,
    `ADD --unpack=true ${url}/packed.tgz /unpacked/`,
  ].join("\n");
  const context = contextOf({
    Dockerfile: dockerfile,
    "plain.tar": packed(),
    "packed.tar.gz": gzipSync(packed()),
  });
  await built(["-t", "added", context]);
  expect(
    await shown(
      "added",
      "cat /plain/d/file /packed/d/file /unpacked/d/file /web/page.txt; ls /kept; stat -c '%u:%g' /plain/d/file /owned/d/file; stat -c '%a %Y' /web/page.txt /renamed",
    ),
  ).toBe(
    "packed\npacked\npacked\nfrom the web\nplain.tar\n7:8\n9:9\n600 1700000000\n644 1700000000",
  );
  const wrong = `FROM busybox\nADD --checksum=sha256:${"0".repeat(64)} ${url}/files/page.txt /x\n`;
  const refused = await engine.docker(["build", contextOf({ Dockerfile: wrong })], { env: LEGACY });
  expect(refused.stderr).toContain(`digest mismatch sha256:${digest}`);
  const gone = `FROM busybox\nADD ${url}/none /x\n`;
  const missing = await engine.docker(["build", contextOf({ Dockerfile: gone })], { env: LEGACY });
  expect(missing.stderr).toContain("with status 404");
});

test("a Dockerfile comes from standard input, another name, an archive or a URL", async () => {
  await built(["-t", "stdin", "-"], "FROM busybox\nRUN echo stdin > /way\n");
  expect(await shown("stdin", "cat /way")).toBe("stdin");
  const other = contextOf({ "Other.file": "FROM busybox\nCOPY way /way\n", way: "other\n" });
  await built(["-t", "other", "-f", join(other, "Other.file"), other]);
  expect(await shown("other", "cat /way")).toBe("other");
  const dockerfile = Buffer.from("FROM busybox\nRUN echo archive > /way\n");
  const header = encodeTarHeader({ name: "Dockerfile", sizeBytes: dockerfile.length });
  const archive = Buffer.concat([header, dockerfile, tarPadding(dockerfile.length), TAR_TRAILER]);
  await built(["-t", "archive", "-"], new Uint8Array(gzipSync(archive)));
  expect(await shown("archive", "cat /way")).toBe("archive");
  const remote = encodeURIComponent(`http://127.0.0.1:${web.port}/Dockerfile.web`);
  const answer = await engine.fetch(`/build?t=remote&remote=${remote}`, { method: "POST" });
  expect(await answer.text()).toContain("Successfully tagged remote:latest");
  expect(await shown("remote", "cat /web")).toBe("web");
});

test("a RUN sees hosts, limits, network and shared memory as asked, and proxies stay out of the image", async () => {
  const context = contextOf({
    Dockerfile:
      'FROM busybox\nRUN (grep -c "10.1.2.3.*extra" /etc/hosts; ulimit -n; df -k /dev/shm | tail -n1 | awk "{print \\$2}"; ip -o addr | grep -c eth0; echo $http_proxy) > /seen || true\n',
  });
  await built([
    "-t",
    "options",
    "--add-host=extra:10.1.2.3",
    "--ulimit=nofile=77:77",
    "--shm-size=8m",
    "--network=none",
    "--memory=64m",
    "--build-arg=http_proxy=http://user:pass@proxy",
    context,
  ]);
  expect(await shown("options", "cat /seen")).toBe("1\n77\n8192\n0\nhttp://user:pass@proxy");
  expect(await engine.ok(["history", "--no-trunc", "options"])).not.toContain("user:pass");
  expect(await engine.ok(["inspect", "options"])).not.toContain("user:pass");
  // Another proxy is no other build, nor is more memory; what a step can see of its limits is.
  const seen = ["--ulimit=nofile=77:77", "--shm-size=8m"];
  const other = [
    "--add-host=extra:10.1.2.3",
    "--network=none",
    "--build-arg=http_proxy=other",
    ...seen,
  ];
  expect(await built([...other, context])).toContain(" ---> Using cache\n");
});

test("what is not there is refused by name, and what was of no use is told", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN true\n" });
  const squash = await engine.fetch("/build?squash=1", { method: "POST" });
  expect([squash.status, await squash.text()]).toEqual([
    400,
    '{"message":"squash is only supported with experimental mode"}\n',
  ]);
  const session = await engine.fetch("/build?version=2&remote=client-session", { method: "POST" });
  expect(session.status).toBe(400);
  expect(await built(["--cache-from", "busybox", context])).toContain(
    "[Warning] failed to import the build cache busybox: the image has no inline cache",
  );
  expect(await built(["--build-arg", "UNKNOWN=1", context])).toContain(
    "[Warning] One or more build-args [UNKNOWN] were not consumed",
  );
  const tag = await engine.docker(["build", "-t", "UPPER", context], { env: LEGACY });
  expect(tag.stderr).toContain("must be lowercase");
});

test("a RUN joins the network of a container, by whatever name; one that is not there is told", async () => {
  const id = await engine.ok(["run", "-d", "--name", "joined", "busybox", "sleep", "1000"]);
  try {
    const address = await engine.ok([
      "inspect",
      "-f",
      "{{.NetworkSettings.Networks.bridge.IPAddress}}",
      id,
    ]);
    const script =
      'ip -4 -o addr show eth0 | grep -o "inet [0-9.]*" > /seen; cat /etc/hosts >> /seen';
    const context = contextOf({ Dockerfile: `FROM busybox\nRUN ${script}\n` });
    for (const name of ["joined", id.slice(0, 12)]) {
      await built(["--no-cache", "-t", "joins", `--network=container:${name}`, context]);
      const seen = await shown("joins", "cat /seen");
      expect(seen).toStartWith(`inet ${address}\n`);
      expect(seen).toContain(`${address}\t${id.slice(0, 12)}`);
    }
    const naru = ["build", "-q", "--no-cache", "--network=container:joined", context];
    expect(await engine.naru(naru)).toMatchObject({ code: 0, stderr: "" });
    const nobody = ["build", "--no-cache", "--network=container:nobody", context];
    expect((await engine.docker(nobody, { env: LEGACY })).stderr).toContain(
      "No such container: nobody",
    );
  } finally {
    await engine.ok(["rm", "-f", id]);
  }
});

test("who keeps intermediate containers is not told that they are gone", async () => {
  const context = contextOf({ Dockerfile: "FROM busybox\nRUN true\n" });
  const removed = " ---> Removed intermediate container ";
  expect(await built(["--no-cache", context])).toContain(removed);
  expect(await built(["--no-cache", "--rm=false", context])).not.toContain(removed);
  expect(await built(["--no-cache", "--rm=false", "--force-rm", context])).toContain(removed);
  const wrong = await engine.naru(["build", "-t", "UPPER", context]);
  expect(wrong.code).toBe(125);
  expect(wrong.stderr).toStartWith(
    'invalid argument "UPPER" for "-t, --tag" flag: invalid reference format: repository name (library/UPPER) must be lowercase\n',
  );
});
