/**
 * Docker's experimental checkpoints by the real docker CLI. criu is no part of the engine: where the host has none, what needs
 * it is skipped, and that it is told of is tested instead.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

const CRIU = Bun.which("criu");
const REASON = CRIU === null ? " (skipped: criu is not installed)" : "";
/** Counts in memory alone, a line for each number. */
const COUNT = ["busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"];

/** The engine looks for programs here first: for criu, too. */
const tools = mkdtempSync("/tmp/naru-test-criu-");
const prefix = ["env", `PATH=${tools}:${process.env["PATH"]}`];
let engine: Engine;

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--experimental"], prefix });
});

afterAll(async () => {
  rmSync(tools, { recursive: true });
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const said = async (args: string[], client: "docker" | "naru" = "docker") => {
  const { code, stdout, stderr } = await engine[client](args);
  return { code, stdout, stderr: stderr.trim() };
};
const failed = (message: string) => ({
  code: 1,
  stdout: "",
  stderr: `Error response from daemon: ${message}`,
});
const remove = (name: string) => engine.ok(["rm", "-f", name]);
const stateOf = (name: string, field: string) =>
  engine.ok(["inspect", "-f", `{{.State.${field}}}`, name]);

test("an engine says that it is experimental wherever clients look", async () => {
  expect(await engine.ok(["version", "-f", "{{.Server.Experimental}}"])).toBe("true");
  expect(await engine.ok(["info", "-f", "{{.ExperimentalBuild}}"])).toBe("true");
  expect((await engine.fetch("/_ping")).headers.get("docker-experimental")).toBe("true");
});

test("names, folders and states are refused in Docker's words, the same for both clients", async () => {
  const id = await engine.ok(["create", "--name", "idle", "busybox", "true"]);
  const mine = mkdtempSync("/tmp/naru-test-checkpoints-");
  mkdirSync(join(mine, "photos"));
  const dir = `--checkpoint-dir=${mine}`;
  for (const client of ["docker", "naru"] as const) {
    const ask = (...args: string[]) => said(args, client);
    const create = (...args: string[]) => ask("checkpoint", "create", ...args);
    expect(await create("idle", "one")).toEqual(failed(`container ${id} is not running`));
    expect(await create("none", "one")).toEqual(failed("No such container: none"));
    expect(await ask("checkpoint", "ls", "none")).toEqual(failed("No such container: none"));
    expect(await ask("checkpoint", "ls", "idle")).toMatchObject({
      code: 0,
      stdout: "CHECKPOINT NAME\n",
    });
    expect((await ask("checkpoint", "ls", dir, "idle")).stdout).toBe("CHECKPOINT NAME\nphotos\n");
    for (const flags of [[], [dir]]) {
      const name = flags.length === 0 ? "one" : "photos";
      expect(await ask("checkpoint", "rm", ...flags, "idle", name)).toEqual(
        failed(`checkpoint ${name} does not exist for container idle`),
      );
    }
    expect(await ask("start", "--checkpoint", "one", "idle")).toEqual(
      failed("checkpoint one does not exist for container /idle"),
    );
    expect(await ask("start", "--checkpoint", "one", dir, "idle")).toEqual(
      failed("custom checkpointdir is not supported"),
    );
  }
  expect(existsSync(join(mine, "photos"))).toBe(true);
  rmSync(mine, { recursive: true });
  await remove("idle");
});

test("paths as names lead nowhere", async () => {
  await engine.ok(["create", "--name", "kept", "busybox", "true"]);
  for (const name of ["..%2f..%2fkept", "%2e%2e%2fx", "a%00b", "a"]) {
    const answer = await engine.fetch(`/v1.51/containers/kept/checkpoints/${name}`, {
      method: "DELETE",
    });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    await answer.body?.cancel();
  }
  for (const body of ["", "{", "[]", "null", '{"Exit":"yes"}', '{"CheckpointID":7}', "{}"]) {
    const answer = await engine.fetch("/v1.51/containers/kept/checkpoints", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
    });
    expect({ body, refused: answer.status >= 400 && answer.status < 500 }).toEqual({
      body,
      refused: true,
    });
    await answer.body?.cancel();
  }
  expect((await engine.fetch("/v1.51/containers/kept/checkpoints?dir=a%00b")).status).toBe(400);
  expect(await engine.ok(["start", "-a", "kept"])).toBe("");
  await remove("kept");
});

test.skipIf(CRIU !== null)(
  "without criu a container runs on, and the error names criu",
  async () => {
    await engine.ok(["run", "-d", "--name", "web", ...COUNT]);
    const mine = join(engine.root, "mine");
    for (const flags of [[], [`--checkpoint-dir=${mine}`]]) {
      expect(await said(["checkpoint", "create", ...flags, "web", "one"])).toEqual(
        failed(
          'Cannot checkpoint container web: CRIU version check failed: exec: "criu": executable file not found in $PATH: unknown',
        ),
      );
    }
    expect(readdirSync(mine)).toEqual([]);
    expect(await engine.ok(["checkpoint", "ls", "web"])).toBe("CHECKPOINT NAME");
    expect(await stateOf("web", "Running")).toBe("true");
    await remove("web");
  },
);

/**
 * Stands in for criu where it matters when something dies, not what is written: tells its number in `begun`, and ends as
 * `go` says.
 */
const STAND_IN = `#!/bin/sh
for word in "$@"; do
  case $word in
  --images-dir=*) images=\${word#*=} ;;
  --work-dir=*) work=\${word#*=} ;;
  --tree=*) tree=\${word#*=} ;;
  --leave-running) leave=1 ;;
  esac
done
echo $$ >${tools}/begun.new && mv ${tools}/begun.new ${tools}/begun
while [ ! -e ${tools}/go ]; do sleep 0.02; done
if [ "$(cat ${tools}/go)" != well ] || [ "$1" != dump ]; then
  echo "(00.01) Error (criu/some.c:1): no luck" >\${work:-$images}/$1.log
  exit 1
fi
touch $images/inventory.img $images/stats-dump
[ -n "$leave" ] || kill -9 $tree
`;

describe("what dies in the middle", () => {
  beforeAll(() => {
    writeFileSync(join(tools, "criu"), STAND_IN, { mode: 0o755 });
  });
  afterAll(() => rmSync(join(tools, "criu")));
  afterEach(async () => {
    for (const name of ["begun", "go"]) rmSync(join(tools, name), { force: true });
    await remove("web");
  });

  const runs = () => engine.ok(["run", "-d", "--name", "web", ...COUNT]);
  const begun = () => until(() => existsSync(join(tools, "begun")));
  const letGo = (how: "well" | "badly") => {
    writeFileSync(join(tools, "go.new"), how);
    renameSync(join(tools, "go.new"), join(tools, "go"));
  };
  const create = (...flags: string[]) => said(["checkpoint", "create", ...flags, "web", "one"]);
  const names = async () => (await engine.ok(["checkpoint", "ls", "web"])).split("\n").slice(1);
  const killBoth = async () => {
    process.kill(engine.supervisorPid(), "SIGKILL");
    await engine.killDaemon();
    await engine.startDaemon();
  };
  const made = { code: 0, stdout: "one\n", stderr: "" };

  test("a writer that fails leaves a container that runs, and nothing else", async () => {
    await runs();
    letGo("badly");
    expect(await create()).toEqual(
      failed(
        "Cannot checkpoint container web: criu failed: exit status 1: Error (criu/some.c:1): no luck: unknown",
      ),
    );
    expect(await names()).toEqual([]);
    expect(await stateOf("web", "Running")).toBe("true");
  });

  test("what has a terminal, or is paused, is refused and stays as it is", async () => {
    await engine.ok(["run", "-dt", "--name", "web", ...COUNT]);
    expect(await create()).toEqual(
      failed(
        "Cannot checkpoint container web: criu failed: external terminals are not supported: unknown",
      ),
    );
    await engine.ok(["pause", "web"]);
    expect((await create()).stderr).toContain("is paused");
    expect(await stateOf("web", "Status")).toBe("paused");
    expect(await names()).toEqual([]);
  });

  test("a container ends with its checkpoint, and both are told of", async () => {
    const since = `${Date.now() / 1000}`;
    await runs();
    letGo("well");
    expect(await create()).toEqual(made);
    expect(await stateOf("web", "Status")).toBe("exited");
    expect(await stateOf("web", "ExitCode")).toBe("137");
    const until = ["--since", since, "--until", `${Date.now() / 1000}`];
    const format = ["--filter", "container=web", "--format", "{{.Action}}"];
    const events = (await engine.ok(["events", ...until, ...format])).split("\n");
    expect(events).toContain("checkpoint");
    expect(events).toContain("die");
    expect(await create("--leave-running")).toMatchObject({ code: 1 });
    expect(await names()).toEqual(["one"]);
    expect(await said(["checkpoint", "rm", "web", "one"])).toMatchObject({ code: 0, stdout: "" });
    expect(await names()).toEqual([]);
  });

  test("a container that removes itself leaves what a person's folder holds", async () => {
    const mine = join(engine.root, "left");
    letGo("well");
    for (const flags of [[], [`--checkpoint-dir=${mine}`]]) {
      await engine.ok(["run", "-d", "--rm", "--name", "web", ...COUNT]);
      expect(await create(...flags)).toEqual(made);
      await engine.docker(["wait", "web"]);
      expect(await engine.ok(["ps", "-aq", "--filter", "name=web"])).toBe("");
    }
    expect(readdirSync(mine)).toEqual(["one"]);
    await engine.ok(["create", "--name", "web", "busybox", "true"]);
    expect(await engine.ok(["checkpoint", "ls", `--checkpoint-dir=${mine}`, "web"])).toBe(
      "CHECKPOINT NAME\none",
    );
  });

  test("daemon and supervisor: what was being written is a checkpoint when its writer is done", async () => {
    await runs();
    const answer = create("--leave-running");
    await begun();
    await killBoth();
    await answer;
    expect(await names()).toEqual([]);
    letGo("well");
    await until(async () => (await names()).join() === "one");
    expect(await stateOf("web", "Running")).toBe("true");
  });

  test("the supervisor alone: who asked for the checkpoint gets it", async () => {
    await runs();
    const answer = create();
    await begun();
    process.kill(engine.supervisorPid(), "SIGKILL");
    letGo("well");
    expect(await answer).toEqual(made);
    await until(async () => (await stateOf("web", "Status")) === "exited");
    expect(await names()).toEqual(["one"]);
  });

  test("a container that is removed by force does not wait for a writer that never ends", async () => {
    await runs();
    const answer = create();
    await begun();
    await remove("web");
    expect((await answer).code).toBe(1);
    const left = readdirSync(join(engine.dataRoot, "containers"));
    await until(() => left.every((id) => !existsSync(join(engine.dataRoot, "containers", id))));
  });

  test("daemon and supervisor in a start from a checkpoint: nothing of it lives, and it starts again", async () => {
    await runs();
    letGo("well");
    expect(await create()).toEqual(made);
    rmSync(join(tools, "go"));
    rmSync(join(tools, "begun"));
    const answer = said(["start", "--checkpoint", "one", "web"]);
    await begun();
    const pid = readFileSync(join(tools, "begun"), "utf8").trim();
    await killBoth();
    expect((await answer).code).toBe(1);
    await until(() => !existsSync(`/proc/${pid}`));
    letGo("badly");
    expect(await said(["start", "--checkpoint", "one", "web"])).toEqual(
      failed(
        "OCI runtime restore failed: criu failed: exit status 1: Error (criu/some.c:1): no luck: unknown",
      ),
    );
    await engine.ok(["start", "web"]);
    expect(await stateOf("web", "Running")).toBe("true");
  });
});

const numbersOf = async (name: string) =>
  (await engine.ok(["logs", name])).split("\n").filter(Boolean).map(Number);
const counts = (numbers: readonly number[]) => numbers.every((each, at) => each === at + 1);
const countsPast = (name: string, least: number) =>
  until(async () => (await numbersOf(name)).length > least);

describe.skipIf(CRIU === null)(`with criu${REASON}`, () => {
  test("a process goes on counting where its checkpoint was made", async () => {
    const volumes = ["kept:/data", "kept:/same:ro", "/etc/hostname:/name:ro"];
    const mounts = [
      ...volumes.map((each) => `--volume=${each}`),
      "--tmpfs=/scratch",
      "-eWORD=ferry",
    ];
    const web = "mkdir -p /www; hostname >/www/name; httpd -h /www; echo $$ >/scratch/pid; ";
    const flags = ["--name", "counter", "-p", "127.0.0.1::80", ...mounts];
    const [image = "", shell = "", option = "", count = ""] = COUNT;
    await engine.ok(["run", "-d", ...flags, image, shell, option, web + count]);
    const page = async () => {
      const address = await engine.ok(["port", "counter", "80"]);
      return await (await fetch(`http://${address}/name`)).text();
    };
    await countsPast("counter", 3);
    const name = await page();
    const look = `cat /scratch/pid; echo $WORD; touch /data/file; cat /proc/1/cgroup; ls -R /sys/fs/cgroup | head -100; cut -d' ' -f5-6 /proc/self/mountinfo | sort; ulimit -n; grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/1/status; cat /proc/1/oom_score_adj; hostname`;
    const seen = await engine.ok(["exec", "counter", "sh", "-c", look]);
    expect(await said(["checkpoint", "create", "counter", "one"])).toEqual({
      code: 0,
      stdout: "one\n",
      stderr: "",
    });
    expect(await stateOf("counter", "Status")).toBe("exited");
    expect(await stateOf("counter", "ExitCode")).toBe("137");
    const before = await numbersOf("counter");
    expect(counts(before)).toBe(true);

    expect(await said(["start", "--checkpoint", "one", "counter"])).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    await countsPast("counter", before.length + 3);
    expect(counts(await numbersOf("counter"))).toBe(true);
    expect(await page()).toBe(name);
    expect(await engine.ok(["exec", "counter", "sh", "-c", look])).toBe(seen);
    process.kill(engine.supervisorPid(), "SIGKILL");
    await engine.killDaemon();
    await engine.startDaemon();
    await countsPast("counter", (await numbersOf("counter")).length + 3);
    expect(counts(await numbersOf("counter"))).toBe(true);
    await engine.ok(["stop", "-t", "0", "counter"]);
    expect(await stateOf("counter", "ExitCode")).toBe("137");
    await remove("counter");
    await engine.ok(["volume", "rm", "kept"]);
  });

  test("one that is left running goes on, and its checkpoints are kept until somebody removes them", async () => {
    await engine.ok(["run", "-d", "--init", "--name", "web", "--network", "none", ...COUNT]);
    await countsPast("web", 3);
    const mine = join(engine.root, "kept-here");
    const create = (...flags: string[]) => engine.naru(["checkpoint", "create", ...flags]);
    for (const flags of [["--leave-running"], ["--leave-running", `--checkpoint-dir=${mine}`]]) {
      expect(await create(...flags, "web", "one")).toMatchObject({ code: 0, stdout: "one\n" });
      await countsPast("web", (await numbersOf("web")).length + 3);
    }
    expect(counts(await numbersOf("web"))).toBe(true);
    expect(await said(["checkpoint", "create", "web", "one"])).toEqual(
      failed(
        "cannot checkpoint container web: checkpoint with name one already exists for container web",
      ),
    );
    await engine.ok(["kill", "web"]);
    const before = (await numbersOf("web")).length;
    expect(await engine.naru(["start", "--checkpoint", "one", "web"])).toMatchObject({
      code: 0,
      stdout: "",
    });
    await countsPast("web", before + 3);
    const after = await numbersOf("web");
    // From the checkpoint's number on, whatever was printed since.
    expect(after[before]).toBeLessThan(before);
    expect(counts(after.slice(before).map((each) => each - (after[before] ?? 0) + 1))).toBe(true);
    await engine.ok(["checkpoint", "rm", `--checkpoint-dir=${mine}`, "web", "one"]);
    expect(readdirSync(mine)).toEqual([]);
    const { stdout } = await engine.naru(["checkpoint", "ls", "web"]);
    expect(stdout).toBe("CHECKPOINT NAME\none\n");
    await remove("web");
  });

  test("standard input goes on where it was, with whoever attaches next", async () => {
    const words = ["read a; echo got $a; read b; echo then $b; cat; echo end"];
    await engine.ok(["create", "-i", "--name", "web", "busybox", "sh", "-c", ...words]);
    const first = Bun.spawn(["docker", "-H", `unix://${engine.socket}`, "start", "-ai", "web"], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
    });
    void first.stdin.write("one\n");
    void first.stdin.flush();
    await until(async () => (await engine.ok(["logs", "web"])).includes("got one"));
    await engine.ok(["checkpoint", "create", "web", "open"]);
    await first.exited;
    const second = await engine.docker(["start", "-ai", "--checkpoint", "open", "web"], {
      stdin: "two\nthree\n",
    });
    expect(second).toMatchObject({ code: 0, stdout: "then two\nthree\nend\n" });
    await remove("web");
  });
});
