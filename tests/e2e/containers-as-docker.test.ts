/** Where Docker's behaviour is easily missed: each of these once differed, in a sentence, an order or a null. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";

let engine: Engine;
let folder: string;
beforeAll(async () => {
  engine = await startEngine();
  folder = join(engine.root, "files");
  mkdirSync(folder);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

/** What a command that fails says first, without the CLI's own words. */
async function refused(...args: string[]): Promise<{ code: number; said: string }> {
  const { code, stderr } = await engine.docker(args);
  const [first = ""] = stderr.trim().split("\n");
  return { code, said: first.replace(/^(docker: )?Error response from daemon: /, "") };
}

const inspect = async (format: string, name: string): Promise<unknown> =>
  JSON.parse(await engine.ok(["inspect", "--format", `{{json ${format}}}`, name])) as unknown;

async function running(name: string, ...args: string[]): Promise<string> {
  return await engine.ok(["run", "-d", "--name", name, ...args, "busybox", "sleep", "1000"]);
}

describe("exec", () => {
  beforeAll(() => running("execs"));
  afterAll(() => engine.ok(["rm", "-f", "execs"]));

  test("an unknown user or group is an error of the daemon, and no output", async () => {
    for (const [user, sentence] of [
      ["nosuch", "unable to find user nosuch: no matching entries in passwd file"],
      ["0:nosuch", "unable to find group nosuch: no matching entries in group file"],
      ["9999999999", "uids and gids must be in range 0-2147483647"],
    ] as const) {
      const { code, stdout, stderr } = await engine.docker(["exec", "-u", user, "execs", "id"]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr.trim()).toBe(`Error response from daemon: ${sentence}`);
      const ours = await engine.naru(["exec", "-u", user, "execs", "id"]);
      expect({ code: ours.code, stdout: ours.stdout }).toEqual({ code: 1, stdout: "" });
      expect(ours.stderr).toContain(sentence);
    }
    const lost = await engine.docker(["exec", "-u", "daemon", "execs", "nosuch"]);
    expect(lost.code).toBe(127);
    expect(lost.stdout).toContain("executable file not found in $PATH");
    expect(await engine.ok(["exec", "-u", "daemon", "execs", "id", "-un"])).toBe("daemon");
  });

  test("a user is looked up in the files of now, whoever wrote them", async () => {
    await engine.ok(["exec", "execs", "sh", "-c", "echo new:x:700:7::/tmp: >> /etc/passwd"]);
    expect(await engine.ok(["exec", "-u", "new", "execs", "id", "-u"])).toBe("700");
    // A FIFO, a loop of links and a file too large are no passwd files, and nobody waits for them.
    const shell = (script: string) => engine.ok(["exec", "execs", "sh", "-c", script]);
    for (const make of [
      "mkfifo /etc/passwd",
      "ln -s passwd /etc/passwd",
      "dd if=/dev/zero of=/etc/passwd bs=1M count=5 2>/dev/null",
      "ln -s /proc/self/fd/0 /etc/passwd",
    ]) {
      await shell(`mv /etc/passwd /etc/passwd.kept; ${make}`);
      const { code, said } = await refused("exec", "-u", "new", "execs", "true");
      const number = await engine.ok("exec -u 77 execs grep ^Uid /proc/self/status".split(" "));
      await shell("rm /etc/passwd; mv /etc/passwd.kept /etc/passwd");
      expect({ make, code, said, number }).toEqual({
        make,
        code: 1,
        said: "unable to find user new: no matching entries in passwd file",
        number: expect.stringMatching(/\b77\b/),
      });
    }
    expect(await engine.ok(["exec", "-u", "new", "execs", "id", "-u"])).toBe("700");
  });

  test("a size that is none is refused in Docker's words", async () => {
    for (const [size, sentence] of [
      ["h=x&w=1", 'invalid resize height "x": invalid syntax'],
      ["h=1", 'invalid resize width "": invalid syntax'],
      ["h=1&w=-1", 'invalid resize width "-1": value out of range'],
    ] as const) {
      const answer = await engine.fetch(`/containers/execs/resize?${size}`, { method: "POST" });
      expect(await answer.json()).toEqual({ message: sentence });
    }
    expect((await refused("exec", "--detach-keys", "no", "execs", "true")).said).toBe(
      "Invalid escape keys (no) provided",
    );
  });

  test("a relative working directory is the runtime's to refuse, when the program starts", async () => {
    const { code, stdout } = await engine.docker(["exec", "-w", "rel", "execs", "pwd"]);
    expect({ code, stdout: stdout.trim() }).toEqual({
      code: 128,
      stdout: "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown",
    });
    expect((await refused("exec", "-d", "-w", "rel", "execs", "pwd")).said).toContain(
      "Cwd must be an absolute path",
    );
  });
});

describe("links", () => {
  beforeAll(async () => {
    await running("db", "--expose", "5432", "-e", "SECRET=7");
    await running("web", "--link", "db:store");
  });
  afterAll(() => engine.ok(["rm", "-f", "web", "db"]));

  test("a linked container has its links' names too, and answers to them", async () => {
    const names = (...args: string[]) => engine.ok(["ps", "--format", "{{.Names}}", ...args]);
    expect(await names("-f", "name=db")).toBe("db");
    expect(await names("-f", "name=db", "--no-trunc")).toBe("db,web/store");
    const ours = await engine.naru("ps --no-trunc -f name=db --format {{.Names}}".split(" "));
    expect(ours.stdout.trim()).toBe("db,web/store");
    // Past the recorder: the definition knows no names with a slash.
    const unix = { unix: engine.daemonSocket };
    const found = await fetch("http://engine/containers/web/store/json", unix);
    expect(((await found.json()) as { Name: string }).Name).toBe("/db");
    await engine.ok(["rename", "web", "shop"]);
    expect(await names("-f", "name=db", "--no-trunc")).toBe("db,shop/store");
    await engine.ok(["rename", "shop", "web"]);
  });

  test("an exec sees what the links say, as the container's own program does", async () => {
    const told = await engine.ok(["exec", "web", "sh", "-c", "env | grep ^STORE_ | sort"]);
    const own = await engine.ok(["exec", "web", "sh", "-c", "tr '\\0' '\\n' </proc/1/environ"]);
    expect(told).toContain("STORE_ENV_SECRET=7");
    expect(told).toMatch(/STORE_PORT=tcp:\/\/[\d.]+:5432/);
    expect(told.split("\n")).toEqual(
      own
        .split("\n")
        .filter((line) => line.startsWith("STORE_"))
        .toSorted(),
    );
  });
});

describe("ps", () => {
  test("a filter that is none is refused in Docker's words", async () => {
    for (const [filter, sentence] of [
      ["nope=1", "invalid filter 'nope'"],
      ["exited=abc", `invalid filter 'exited=abc': strconv.Atoi: parsing "abc": invalid syntax`],
      [
        "status=gone",
        "invalid filter 'status=gone': invalid value for state (gone): must be one of created, running, paused, restarting, removing, exited, dead",
      ],
      [
        "health=ill",
        "invalid filter 'health=ill': invalid value for health (ill): must be one of none, starting, healthy, unhealthy",
      ],
      ["is-task=x", "invalid filter 'is-task=[x]'"],
      ["publish=1:2", "filter for 'publish' should not contain ':': 1:2"],
      [
        "expose=x",
        `error while looking up for expose x: strconv.ParseUint: parsing "x": invalid syntax`,
      ],
      [
        "publish=9-8",
        "error while looking up for publish 9-8: invalid range specified for port: 9-8",
      ],
      ["before=nobody", "No such container: nobody"],
    ] as const) {
      expect({ filter, ...(await refused("ps", "-f", filter)) }).toEqual({
        filter,
        code: 1,
        said: sentence,
      });
    }
  });

  test("only the status looks beyond what runs, and an id is one that is nobody else's", async () => {
    const ids = async (...args: string[]) =>
      (await engine.ok(["ps", "-q", "--no-trunc", ...args])).split("\n").filter(Boolean);
    const one = await engine.ok(["create", "--name", "one", "--expose", "81", "busybox", "true"]);
    await engine.docker(["run", "--name", "two", "busybox", "false"]);
    const two = (await inspect(".Id", "two")) as string;
    expect(await ids("-f", "exited=1")).toEqual([]);
    expect(await ids("-a", "-f", "exited=1")).toEqual([two]);
    expect(await ids("-f", "status=exited")).toEqual([two]);
    expect(await ids("-f", "before=two")).toEqual([]);
    expect(await ids("-a", "-f", "id=")).toEqual([]);
    expect(await ids("-a", "-f", `id=${one.slice(0, 20)}`)).toEqual([one]);
    expect(await ids("-a", "-f", `id=${one.slice(1)}`)).toEqual([]);
    // Only what runs has ports.
    expect(await ids("-a", "-f", "expose=81")).toEqual([]);
    const three = await running("three", "--expose", "81", "-p", "127.0.0.1::82");
    expect(await ids("-f", "expose=80-81")).toEqual([three]);
    expect(await ids("-f", "expose=82")).toEqual([three]);
    const port = (await engine.ok(["port", "three", "82"])).split(":").at(-1) ?? "";
    expect(await ids("-f", `publish=${port}`, "-f", "expose=9")).toEqual([three]);
    const network = (await inspect(
      ".NetworkSettings.Networks.bridge.NetworkID",
      "three",
    )) as string;
    expect(await ids("-f", `network=${network.slice(0, 8)}`)).toContain(three);
    await engine.ok(["rm", "-f", "one", "two", "three"]);
  });
});

describe("create and rename", () => {
  test("a file where a folder is needed is refused at once", async () => {
    const said = async (...args: string[]) => await refused("create", ...args, "busybox", "true");
    expect(await said("-w", "/etc/passwd")).toEqual({
      code: 1,
      said: "Cannot mkdir: /etc/passwd is not a directory",
    });
    expect((await said("-w", "/etc/passwd/x")).said).toBe("lstat /etc/passwd/x: not a directory");
    expect((await said("-v", "/etc/passwd")).said).toBe(
      "cannot mount volume over existing file, file exists /etc/passwd",
    );
    for (const volume of ["type=volume,dst=/etc/passwd", "type=volume,src=onfile,dst=/etc/passwd"])
      expect((await said("--mount", volume)).said).toBe("source /etc/passwd is not directory");
    // Nothing of them is left, and what asks for no copy is the runtime's matter.
    expect(await engine.ok(["volume", "ls", "-q"])).toBe("");
    const bare = ["-v", "onfile:/etc/passwd:nocopy"];
    const id = await engine.ok(["create", ...bare, "busybox", "true"]);
    expect((await engine.docker(["start", id])).stderr).toContain("not a directory");
    await engine.ok(["rm", id]);
    await engine.ok(["volume", "rm", "onfile"]);
    // What is mounted there hides the image's file.
    const covered = ["-v", "/etc:/etc/passwd", "-w", "/etc/passwd"];
    const other = await engine.ok(["create", ...covered, "busybox", "true"]);
    await engine.ok(["rm", other]);
  });

  test("a container whose namespaces nobody has is refused at once", async () => {
    for (const flag of ["--pid", "--ipc"]) {
      expect(await refused("create", flag, "container:nobody", "busybox", "true")).toEqual({
        code: 1,
        said: "No such container: nobody",
      });
    }
    // With those powers Docker looks at the start.
    await engine.ok([
      "create",
      "--privileged",
      "--pid=container:nobody",
      "--name=pp",
      "busybox",
      "true",
    ]);
    expect((await refused("start", "pp")).said).toBe(
      "failed to join PID namespace: No such container: nobody",
    );
    await engine.ok(["rm", "pp"]);
    await engine.ok("create --name own --network container:own busybox true".split(" "));
    expect((await refused("start", "own")).said).toBe("cannot join own network namespace");
    await engine.ok(["rm", "own"]);
    expect(
      await refused("run", "--rm", "--network", "container:nobody", "busybox", "true"),
    ).toEqual({
      code: 125,
      said: "joining network namespace of container: No such container: nobody",
    });
  });

  test("names may be long, and not odd", async () => {
    const long = "n".repeat(300);
    expect(await engine.ok(["run", "--rm", "--name", long, "busybox", "echo", "ok"])).toBe("ok");
    await engine.ok(["create", "--name", "plain", "busybox", "true"]);
    const allowed = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
    expect((await refused("rename", "plain", "a b")).said).toBe(
      `Error when allocating new name: Invalid container name (/a b), ${allowed}`,
    );
    expect((await refused("create", "--name", "x", "busybox", "true")).said).toBe(
      `Invalid container name (x), ${allowed}`,
    );
    await engine.ok(["rm", "plain"]);
  });

  test("a stop signal is known, or a number", async () => {
    expect((await refused("create", "--stop-signal", "FOO", "busybox", "true")).said).toBe(
      "invalid signal: FOO",
    );
    const id = await engine.ok(["run", "-d", "--stop-signal", "200", "busybox", "sleep", "1000"]);
    await engine.ok(["stop", id]);
    expect(await inspect(".State.ExitCode", id)).toBe(137);
    expect((await refused("commit", "--change", "STOPSIGNAL FOO", id)).said).toBe(
      "invalid signal: FOO",
    );
    await engine.ok(["rm", id]);
  });

  test("a working directory that is a file, and a mount inside /proc, have Docker's sentences", async () => {
    expect(await refused("run", "--rm", "-w", "/etc/passwd", "busybox", "true")).toEqual({
      code: 125,
      said: "Cannot mkdir: /etc/passwd is not a directory",
    });
    for (const mount of [`-v=${folder}:/proc/acpi`, "--tmpfs=/proc/acpi"]) {
      const { code, said } = await refused("run", "--rm", mount, "busybox", "true");
      expect(code).toBe(125);
      expect(said).toContain("check proc-safety of /proc/acpi mount: ");
      expect(said).toEndWith("cannot be mounted because it is inside /proc: unknown");
    }
  });
});

describe("events", () => {
  /** What a container's life told, itself and its network and volumes. */
  async function told(work: () => Promise<unknown>): Promise<string[]> {
    const since = (Date.now() / 1000).toFixed(3);
    await work();
    const until = (Date.now() / 1000 + 0.001).toFixed(3);
    const format = "{{.Type}} {{.Action}}";
    const lines = await engine.ok([
      "events",
      "--since",
      since,
      "--until",
      until,
      "--format",
      format,
    ]);
    return lines.split("\n");
  }

  test("the end tells of its network and volumes before itself", async () => {
    const args = "run --rm -v kept:/kept --name ended busybox true".split(" ");
    expect(await told(() => engine.ok(args))).toEqual([
      "volume create",
      "container create",
      "container attach",
      "volume mount",
      "network connect",
      "container start",
      "network disconnect",
      "volume unmount",
      "container die",
      "container destroy",
    ]);
  });

  test("a start that fails leaves its networks and volumes", async () => {
    const args = "run --rm -v kept:/kept --name failed busybox nosuch".split(" ");
    expect(await told(() => engine.docker(args))).toEqual([
      "container create",
      "container attach",
      "volume mount",
      "network disconnect",
      "volume unmount",
      "container destroy",
    ]);
  });

  test("the host's network is one, and a commit makes an image", async () => {
    const host = await told(async () => {
      await engine.ok("run --network host --name hosted busybox touch /made".split(" "));
      await engine.ok(["commit", "hosted", "made"]);
    });
    expect(host).toEqual([
      "container create",
      "container attach",
      "network connect",
      "container start",
      "network disconnect",
      "container die",
      "image create",
      "image tag",
      "container commit",
    ]);
    await engine.ok(["rm", "hosted"]);
  });
});

test("inspect shows of a network what was said and what is known", async () => {
  await engine.ok(["network", "create", "net"]);
  await engine.ok(
    "create --name seen --network net --network-alias alias busybox sleep 1000".split(" "),
  );
  const seen = (network: string) =>
    inspect(`(index .NetworkSettings.Networks "${network}")`, "seen") as Promise<
      Record<string, unknown>
    >;
  const id = await engine.ok(["network", "inspect", "--format", "{{.Id}}", "net"]);
  expect(await seen("net")).toMatchObject({
    IPAMConfig: null,
    Links: null,
    Aliases: ["alias"],
    DriverOpts: null,
    NetworkID: "",
    DNSNames: null,
  });
  await engine.ok(["start", "seen"]);
  await engine.ok(["network", "create", "more"]);
  await engine.ok(["network", "connect", "more", "seen"]);
  const short = ((await inspect(".Id", "seen")) as string).slice(0, 12);
  const known = { NetworkID: id, DNSNames: ["seen", "alias", short] };
  expect(await seen("net")).toMatchObject(known);
  const asked = { IPAMConfig: {}, Links: null, Aliases: [], DriverOpts: {} };
  expect(await seen("more")).toMatchObject({ ...asked, DNSNames: ["seen", short] });
  await engine.ok(["stop", "-t", "0", "seen"]);
  expect(await seen("net")).toMatchObject({ ...known, EndpointID: "", IPAddress: "" });
  await engine.ok(["rm", "seen"]);
  await engine.ok(["network", "rm", "net", "more"]);
});

test("what the engine mounts over /etc cannot be replaced by a copy", async () => {
  await running("copied");
  writeFileSync(join(folder, "text"), "1.2.3.4 other\n");
  for (const name of ["hosts", "resolv.conf", "hostname"]) {
    expect(await refused("cp", join(folder, "text"), `copied:/etc/${name}`)).toEqual({
      code: 1,
      said: `unlinkat /etc/${name}: device or resource busy`,
    });
  }
  await engine.ok(["rm", "-f", "copied"]);
});

/** `docker logs -f` that has begun: what it printed by then is past. */
async function follower(name: string): Promise<Bun.Subprocess> {
  const command = ["docker", "-H", `unix://${engine.socket}`, "logs", "-f", name];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  await reader.read();
  void (async () => {
    while (!(await reader.read()).done) continue;
  })();
  return child;
}

test("a follower of a log ends with the run it follows, however that ends", async () => {
  const script = "while :; do echo tick; sleep 0.05; done";
  const ways: readonly (readonly string[])[] = [["kill"], ["restart", "-t", "0"], ["rm", "-f"]];
  for (const way of ways) {
    await engine.ok(["run", "-d", "--name", "followed", "busybox", "sh", "-c", script]);
    const child = await follower("followed");
    await engine.ok([...way, "followed"]);
    expect({ way, code: await child.exited }).toEqual({ way, code: 0 });
    await engine.docker(["rm", "-f", "followed"]);
  }
  await engine.ok(["run", "--name", "followed", "busybox", "echo", "done"]);
  expect(await engine.ok(["logs", "-f", "followed"])).toBe("done");
  await engine.ok(["rm", "followed"]);
});
