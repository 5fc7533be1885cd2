/**
 * Images as a Docker 28.5 beside this engine told them: the same commands were run on both, and what differed is
 * asserted here in Docker's words.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { archiveOf, fileTar, HERE, layoutOf, OTHER, upload } from "./platform-images.ts";
import { type Registry, startRegistry } from "./registry.ts";

let engine: Engine;
let registry: Registry;
const here = `linux/${HERE}`;
const other = `linux/${OTHER}`;

beforeAll(async () => {
  engine = await startEngine();
  registry = await startRegistry(engine.root);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await registry[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const json = async (path: string, init?: RequestInit): Promise<Record<string, unknown>> =>
  (await (await engine.fetch(path, init)).json()) as Record<string, unknown>;

/** What a command says where it fails, without its hints. */
async function refusal(...args: string[]): Promise<string> {
  const { code, stderr } = await engine.docker(args);
  expect(code).not.toBe(0);
  return stderr.trim();
}

describe("ps --filter ancestor", () => {
  const named = async (ancestor: string): Promise<string[]> =>
    (await engine.ok(["ps", "-a", "--filter", `ancestor=${ancestor}`, "--format", "{{.Names}}"]))
      .split("\n")
      .toSorted();

  test("finds every platform of a name, by name, id and digest", async () => {
    const layout = await layoutOf({ platforms: [other, here] });
    await upload(layout, { host: registry.host, name: "many" });
    const name = `${registry.host}/many`;
    await engine.ok(["pull", "-q", name]);
    await engine.ok(["create", "--name", "on-here", name]);
    await engine.ok(["pull", "-q", "--platform", other, name]);
    await engine.ok(["create", "--name", "on-other", "--platform", other, name]);
    const both = ["on-here", "on-other"];
    const id = await engine.ok(["image", "inspect", "-f", "{{.Id}}", name]);
    for (const ancestor of [
      name,
      `${name}:latest`,
      `${name}@${layout.index.digest}`,
      id,
      id.slice(7, 19),
    ]) {
      expect(await named(ancestor)).toEqual(both);
    }
    expect(await named(layout.manifests[OTHER]?.digest ?? "")).toEqual(["on-other"]);
    expect(await named("nobody")).toEqual([""]);
    await engine.ok(["rm", ...both]);
    await engine.ok(["rmi", name]);
  });

  test("finds what was made on it by commits, and not who only has the same layers", async () => {
    await engine.ok(["create", "--name", "first", "busybox", "true"]);
    await engine.ok(["commit", "first", "child"]);
    await engine.ok(["create", "--name", "second", "child", "true"]);
    await engine.ok(["commit", "second", "grandchild"]);
    await engine.ok(["create", "--name", "third", "grandchild", "true"]);
    expect(await named("busybox")).toEqual(["first", "second", "third"]);
    expect(await named("child")).toEqual(["second", "third"]);
    const twin = join(engine.root, "twin.tar");
    await engine.ok(["save", "-o", twin, "grandchild"]);
    await engine.ok(["rm", "first", "second", "third"]);
    await engine.ok(["rmi", "grandchild", "child"]);
    await engine.ok(["load", "-q", "-i", twin]);
    await engine.ok(["create", "--name", "twin", "grandchild", "true"]);
    expect(await named("busybox")).toEqual([""]);
    await engine.ok(["rm", "twin"]);
    await engine.ok(["rmi", "grandchild"]);
  });
});

describe("inspect and list", () => {
  test("tell null for what an image does not set, and the manifest it is", async () => {
    const image = await json("/v1.51/images/busybox/json");
    expect(image["Config"]).toMatchObject({ Entrypoint: null, Env: null, OnBuild: null });
    expect(image["Descriptor"]).toMatchObject({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
    });
    // Not through the proxy, whose definition is of the newest API only.
    const older = async (version: string) =>
      (await (
        await fetch(`http://engine/v${version}/images/busybox/json`, { unix: engine.daemonSocket })
      ).json()) as object;
    expect(await older("1.47")).not.toHaveProperty("Descriptor");
    expect(await older("1.44")).toMatchObject({ ContainerConfig: { Hostname: "" } });
  });

  test("count containers since API 1.51", async () => {
    await engine.ok(["create", "--name", "user", "busybox", "true"]);
    const containers = async (version: string) => {
      const answer = await engine.fetch(`/v${version}/images/json`);
      return ((await answer.json()) as { Containers: number }[]).map((image) => image.Containers);
    };
    expect(await containers("1.51")).toEqual([1]);
    expect(await containers("1.50")).toEqual([-1]);
    await engine.ok(["rm", "user"]);
  });

  test("filters are refused in Docker's words", async () => {
    expect(await refusal("images", "-f", "dangling=maybe")).toEndWith(
      "invalid filter 'dangling=[maybe]'",
    );
    expect(await refusal("images", "-f", "until=xx")).toEndWith(
      'failed to parse value as time or duration: "xx"',
    );
    expect(await refusal("search", "--filter", "stars=x", "y")).toEndWith(
      `invalid filter 'stars=x': strconv.Atoi: parsing "x": invalid syntax`,
    );
    const platform = await refusal("pull", "--platform", "linux/a,b", "x");
    expect(platform).toContain('"a,b" is an invalid component of "linux/a,b"');
    expect(await refusal("pull", "--platform", "a/b/c/d", "x")).toContain(
      '"a/b/c/d": cannot parse platform specifier',
    );
    const wrong = await refusal("image", "inspect", "--platform", "linux/s390x", "busybox");
    expect(wrong).toBe(
      `Error response from daemon: image with reference busybox was found but its platform (${here}) does not match the specified platform (linux/s390x)`,
    );
    expect(await refusal("save", "--platform", "linux/s390x", "busybox")).toEndWith(
      "no suitable export target found for platform linux/s390x",
    );
  });
});

describe("what brings images in", () => {
  test("an archive that is none is told in the stream", async () => {
    const load = async (bytes: Uint8Array) => {
      const { code, stderr } = await engine.docker(["load"], { stdin: bytes });
      expect(code).toBe(1);
      return stderr.trim();
    };
    expect(await load(new Uint8Array())).toBe("unrecognized image format");
    expect(await load(fileTar("x", "y"))).toBe("unrecognized image format");
    expect(await load(new TextEncoder().encode("garbage"))).toBe("unexpected EOF");
    const whole = archiveOf(
      await layoutOf({ name: "docker.io/library/cut:1", platforms: [here], base: false }),
    );
    expect(await load(whole.subarray(0, 700))).toBe("unexpected EOF");
    const elsewhere = ["load", "--platform", "linux/s390x"];
    expect((await engine.docker(elsewhere, { stdin: whole })).stderr.trim()).toBe(
      "requested platform (linux/s390x) not found: image might be filtered out",
    );
  });

  test("an import of nothing is an image, and changes are refused as Docker refuses them", async () => {
    const id = await engine.ok(["import", "-"], { stdin: new Uint8Array() });
    expect(await engine.ok(["image", "inspect", "-f", "{{.Size}}", id])).toBe("0");
    await engine.ok(["rmi", id]);
    const path = join(engine.root, "rootfs.tar");
    writeFileSync(path, fileTar("x", "y"));
    const change = (text: string) => refusal("import", "-c", text, path);
    expect(await change("FOO x")).toEndWith("daemon: FOO is not a valid change command");
    expect(await change('shell ["x"]')).toEndWith("daemon: shell is not a valid change command");
    expect(await change("ENV")).toEndWith("daemon: ENV requires at least one argument");
    expect(await refusal("import", "http://127.0.0.1:1/x")).toBe(
      'Error response from daemon: Get "http://127.0.0.1:1/x": dial tcp 127.0.0.1:1: connect: connection refused',
    );
  });

  test("reserved names are refused", async () => {
    expect(await refusal("pull", "scratch")).toEndWith("'scratch' is a reserved name");
    const answer = await engine.fetch("/v1.51/images/busybox/tag?repo=sha256&tag=1", {
      method: "POST",
    });
    expect([answer.status, await answer.json()]).toEqual([
      400,
      { message: "refusing to create an ambiguous tag using digest algorithm as name" },
    ]);
  });
});

describe("rmi", () => {
  test("takes a name from an image that others stand on, which stays for them and goes with them", async () => {
    await engine.ok(["import", "-", "base:1"], { stdin: fileTar("x", "base") });
    const id = await engine.ok(["image", "inspect", "-f", "{{.Id}}", "base:1"]);
    await engine.ok(["create", "--name", "made", "base:1", "true"]);
    await engine.ok(["commit", "made", "kid:1"]);
    await engine.ok(["rm", "made"]);
    expect(await refusal("rmi", "-f", id)).toContain("image has dependent child images");
    expect(await engine.ok(["rmi", "base:1"])).toBe("Untagged: base:1");
    expect(await engine.ok(["image", "inspect", "-f", "{{.Parent}}", "kid:1"])).toBe(id);
    const gone = await engine.ok(["rmi", "kid:1"]);
    expect(gone).toStartWith("Untagged: kid:1\nDeleted: sha256:");
    expect(gone).toContain(`Deleted: ${id}`);
  });
});

describe("a registry that wants a password", () => {
  test("is told without one being asked for", async () => {
    const hash = await Bun.password.hash("secret", { algorithm: "bcrypt", cost: 4 });
    await using locked = await startRegistry(engine.root, { htpasswd: `captain:${hash}\n` });
    for (const cli of ["docker", "naru"] as const) {
      const pulled = await engine[cli](["pull", `${locked.host}/x`]);
      expect(pulled.code).toBe(1);
      expect(pulled.stderr).toContain(`/v2/x/manifests/latest": no basic auth credentials`);
      expect(pulled.stdout).not.toContain("Username");
    }
  });
});

describe("events", () => {
  const eventsOf = async (work: () => Promise<unknown>): Promise<string[]> => {
    const since = String(Date.now() / 1000);
    await work();
    const until = String(Date.now() / 1000);
    const format = "{{.Action}} {{json .Actor.Attributes}}";
    const window = ["--since", since, "--until", until];
    const told = await engine.ok([
      "events",
      "--filter",
      "type=image",
      ...window,
      "--format",
      format,
    ]);
    return told.replaceAll(/sha256:[a-f0-9]{64}/g, "ID").split("\n");
  };

  test("an import tells its name, and a removal the last tag and what is gone", async () => {
    const name = `${registry.host}/told:1`;
    const imported = ["import", "-c", "LABEL a=b", "-", name];
    expect(await eventsOf(() => engine.ok(imported, { stdin: fileTar("x", "y") }))).toEqual([
      `tag {"a":"b","name":"${name}"}`,
      'import {"a":"b","name":"ID"}',
    ]);
    await engine.ok(["push", "-q", name]);
    // Of its digest, which goes with the tag, nothing is told.
    expect(await eventsOf(() => engine.ok(["rmi", name]))).toEqual([
      'untag {"a":"b","name":"ID"}',
      'delete {"name":"ID"}',
    ]);
  });
});

describe("push", () => {
  test("says where it goes before it says what is wrong", async () => {
    const name = `${registry.host}/app`;
    const nothing = await engine.docker(["push", name]);
    expect(nothing.stdout).toContain(`The push refers to repository [${name}]`);
    expect(nothing.stderr.trim()).toBe(`An image does not exist locally with the tag: ${name}`);
    await engine.ok(["tag", "busybox", `${name}:1`]);
    expect(await refusal("push", name)).toBe(`tag does not exist: ${name}:latest`);
    await engine.ok(["push", "-q", `${name}:1`]);
    // Of an image that is here nothing is told but its digest.
    const again = await engine.ok(["pull", `${name}:1`]);
    expect(again).not.toContain("Already exists");
    await engine.ok(["rmi", `${name}:1`]);
  });

  test("layers that came as plain tars go as they came: the digest stays", async () => {
    const mediaType = "application/vnd.oci.image.layer.v1.tar";
    const plain = await layoutOf({
      name: "docker.io/library/plain:latest",
      platforms: [here],
      compress: { pack: (tar) => tar, mediaType },
    });
    await engine.ok(["load", "-q"], { stdin: archiveOf(plain) });
    const name = `${registry.host}/plain`;
    await engine.ok(["tag", "plain", name]);
    expect(await engine.ok(["push", name])).toContain(`digest: ${plain.index.digest}`);
    await engine.ok(["rmi", name, "plain"]);
    await engine.ok(["pull", "-q", name]);
    expect(await engine.ok(["run", "--rm", name])).toBe(here);
    await engine.ok(["rmi", name]);
  });

  test("Docker's own form stays Docker's: told by inspect, and pushed again byte for byte", async () => {
    const name = `${registry.host}/schema2`;
    // A layer packed by push makes a manifest in Docker's form.
    await engine.ok(["import", "-", name], { stdin: fileTar("x", "y") });
    const pushed = await engine.ok(["push", name]);
    const digest = /digest: (sha256:[a-f0-9]{64})/.exec(pushed)?.[1] ?? "";
    await engine.ok(["rmi", name]);
    await engine.ok(["pull", "-q", name]);
    const { Descriptor, Manifests } = await json(`/v1.51/images/${name}/json?manifests=1`);
    const mediaType = "application/vnd.docker.distribution.manifest.v2+json";
    expect(Descriptor).toMatchObject({ mediaType, digest });
    expect(Manifests).toMatchObject([{ Descriptor: { mediaType, digest } }]);
    await engine.ok(["tag", name, `${name}:again`]);
    expect(await engine.ok(["push", `${name}:again`])).toContain(`digest: ${digest}`);
    await engine.ok(["rmi", name, `${name}:again`]);
  });
});
