/** Programs that vendors have run with their devices (CDI hooks): when, where, with what, and what bad ones do. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

let engine: Engine;
const folder = mkdtempSync("/tmp/naru-test-hooks-");
const log = join(folder, "log");

beforeAll(async () => {
  engine = await startEngine({ daemonFlags: ["--cdi-spec-dir", folder] });
});

afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

interface Hook {
  readonly hookName: string;
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly timeout?: number;
}

function device(name: string, hooks: readonly Hook[]): string {
  const document = {
    cdiVersion: "0.6.0",
    kind: `naru.test/${name}`,
    devices: [{ name: "x", containerEdits: { hooks } }],
  };
  writeFileSync(join(folder, `${name}.json`), JSON.stringify(document));
  return `naru.test/${name}=x`;
}

function program(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

interface Entry {
  readonly stage: string;
  readonly words: string;
  readonly net: string;
  readonly mnt: string;
  readonly own: string;
  readonly state: {
    readonly id: string;
    readonly status: string;
    readonly pid?: number;
    readonly bundle: string;
  };
}

const entries = (): Entry[] =>
  readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Entry);

const ENVIRONMENT = ["STAGE=", `LOG=${log}`, "PATH=/usr/bin:/bin"];
/** Each tells where it is; the one in the container's namespaces changes the container's root. */
const TELLS = `
state=$(cat)
net=$(readlink /proc/self/ns/net); mnt=$(readlink /proc/self/ns/mnt)
printf '{"stage":"%s","words":"%s","net":"%s","mnt":"%s","own":"%s","state":%s}\\n' \\
  "$STAGE" "$*" "$net" "$mnt" "$(env | grep -c SECRET)" "$state" >>$LOG
if [ $STAGE = createContainer ]; then
  bundle=$(echo "$state" | sed 's/.*"bundle":"\\([^"]*\\)".*/\\1/')
  grep -q '"path":"rootfs"' $bundle/config.json || exit 7
  ln -s /bin/busybox $bundle/rootfs/vendor-tool
  mkdir -p $bundle/rootfs/mnt
  mount -t tmpfs none $bundle/rootfs/mnt && echo mounted >$bundle/rootfs/mnt/by-vendor
fi`;

const STAGES = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];

test("each runs at its time, where the specification says, and knows the container's state", async () => {
  const path = program("tells", TELLS);
  const hooks = STAGES.map((stage) => ({
    hookName: stage,
    path,
    args: ["tells", `in ${stage}`, "two"],
    env: [`STAGE=${stage}`, ...ENVIRONMENT.slice(1)],
  }));
  const name = device("telling", hooks);
  const script =
    "readlink /vendor-tool; cat /mnt/by-vendor; mount | grep -c ' / '; ls /tmp; readlink /proc/self/ns/net";
  const args = ["run", "--name", "hooked", "--device", name, "busybox", "sh", "-c", script];
  const output = (await engine.ok(args)).split("\n");
  // The container's root alone is in sight: nothing of the host's tree is left.
  expect(output.slice(0, 3)).toEqual(["/bin/busybox", "mounted", "1"]);
  expect(output.length).toBe(4);
  const id = await engine.ok(["ps", "-aq", "--no-trunc", "--filter", "name=hooked"]);
  const [own, ownMounts] = ["net", "mnt"].map((kind) => readlinkSync(`/proc/self/ns/${kind}`));
  await until(() => entries().length >= STAGES.length);
  const told = entries();
  expect(told.map(({ stage }) => stage)).toEqual(STAGES);
  for (const { stage, words, net, mnt, own: secrets, state } of told) {
    const inside = stage === "createContainer";
    expect({ stage, words, secrets, id: state.id }).toEqual({
      stage,
      words: `in ${stage} two`,
      secrets: "0",
      id,
    });
    expect(net).toBe(inside ? (output[3] ?? "") : (own ?? ""));
    expect(mnt === ownMounts).toBe(!inside);
    expect(state.pid === undefined).toBe(stage === "poststop");
  }
  expect(told.map(({ state }) => state.status)).toEqual([
    "creating",
    "creating",
    "creating",
    "running",
    "stopped",
  ]);
  // The last hook tells before the folder goes; a container that is removed has none.
  await engine.ok(["rm", "hooked"]);
  expect(existsSync(told[0]?.state.bundle ?? "")).toBe(false);
});

test("one of the container itself runs confined as its program does, with a terminal as well", async () => {
  const hook = {
    hookName: "startContainer",
    path: "/bin/sh",
    args: [
      "sh",
      "-c",
      "id -u >/tmp/hook; grep CapEff /proc/self/status >>/tmp/hook; echo $$ >>/tmp/hook",
    ],
  };
  const name = device("starting", [hook]);
  const flags = ["--rm", "-u", "1234", "--tmpfs", "/tmp:mode=1777", "--cap-drop", "ALL"];
  for (const terminal of [[], ["-t"]]) {
    const words = ["run", ...flags, ...terminal, "--device", name, "busybox"];
    const seen = (await engine.ok([...words, "cat", "/tmp/hook"])).replaceAll("\r", "");
    expect(seen).toMatch(/^1234\nCapEff:\t0{16}\n[2-9]\d*$/);
  }
});

test("one that fails, is missing or hangs ends the start with a sentence, and nothing is left", async () => {
  const fails = program("fails", "echo out; echo err >&2; exit 3");
  const hangs = program("hangs", "trap '' TERM; sleep 987654 & wait; sleep 987654");
  const refused = async (hooks: readonly Hook[], ...flags: string[]) => {
    const words = ["run", "--rm", ...flags, "--device", device("bad", hooks), "busybox", "true"];
    const { code, stderr } = await engine.docker(words);
    // The docker CLI takes 127 for its exit code where a file is missing.
    expect([125, 127]).toContain(code);
    return stderr;
  };
  for (const hookName of ["createRuntime", "createContainer"]) {
    expect(await refused([{ hookName, path: fails }])).toContain(
      `error running ${hookName} hook #0: exit status 3, stdout: out, stderr: err`,
    );
    expect(await refused([{ hookName, path: hangs, timeout: 1 }])).toContain(
      `error running ${hookName} hook #0: hook ran past specified timeout of 1s`,
    );
  }
  const [first, second] = [
    { hookName: "prestart", path: "/bin/true" },
    { hookName: "prestart", path: "/no/such" },
  ];
  expect(await refused([first, second])).toContain(
    "error running prestart hook #1: fork/exec /no/such: no such file or directory",
  );
  expect(await refused([{ hookName: "startContainer", path: "/no/such" }], "-t")).toContain(
    "error running startContainer hook #0",
  );
  expect(await refused([{ hookName: "sometime", path: "/bin/true" }])).toContain(
    'invalid hook name "sometime"',
  );
  const left = new TextDecoder().decode(Bun.spawnSync(["pgrep", "-f", "sleep 987654"]).stdout);
  expect(left).toBe("");
});

test("one that fails when the container runs or is gone stops nobody; much output and no reader neither", async () => {
  const loud = program("loud", "yes loud | head -c 300000; exit 9");
  const hooks = [
    { hookName: "createRuntime", path: program("unread", "yes x | head -c 200000 >&2") },
    { hookName: "poststart", path: loud },
    { hookName: "poststop", path: loud },
  ];
  const name = device("late", hooks);
  expect(await engine.ok(["run", "--rm", "--device", name, "busybox", "echo", "ran"])).toBe("ran");
});

test("a container with hooks outlives its daemon and is restarted with them", async () => {
  rmSync(log, { force: true });
  const path = program("again", TELLS);
  const env = ["STAGE=poststop", ...ENVIRONMENT.slice(1)];
  const name = device("again", [{ hookName: "poststop", path, env }]);
  await engine.ok(["run", "-d", "--name", "kept", "--device", name, "busybox", "sleep", "1000"]);
  await engine.killDaemon();
  await engine.startDaemon();
  await engine.ok(["restart", "-t", "0", "kept"]);
  await engine.ok(["rm", "-f", "kept"]);
  await until(() => existsSync(log) && entries().length >= 2);
});
