/** A create is mostly followed by a start: what is made ready between the two is never seen, and never stays. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

let engine: Engine;
beforeAll(async () => {
  engine = await startEngine();
  // The supervisor's helper and one whole life.
  await engine.ok(["run", "--rm", "busybox", "true"]);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const cgroup = (id: string): string => {
  const { cgroupParent } = engine;
  const hybrid = join("/sys/fs/cgroup/pids", cgroupParent, id);
  return existsSync("/sys/fs/cgroup/pids") ? hybrid : join("/sys/fs/cgroup", cgroupParent, id);
};

/** The process that waits for the container's start; null while there is none. */
function waiting(id: string): number | null {
  try {
    const [pid] = readFileSync(join(cgroup(id), "cgroup.procs"), "utf8")
      .trim()
      .split("\n");
    return pid === undefined || pid === "" ? null : Number(pid);
  } catch {
    return null;
  }
}

const state = (id: string): Promise<string> =>
  engine.ok(["inspect", "-f", "{{.State.Status}} {{.State.Pid}}", id]);

/** Creates a container whose birth has begun. It waits for some seconds only: on a busy machine it may be over. */
async function created(...args: string[]): Promise<{ id: string; pid: number }> {
  let pid: number | null = null;
  let id = "";
  await until(async () => {
    // The one before may wait still: one at a time.
    if (id !== "") await engine.ok(["rm", id]);
    id = await engine.ok(["create", ...args]);
    for (let look = 0; look < 20 && pid === null; look += 1) {
      pid = waiting(id);
      await engine.fetch("/_ping");
    }
    return pid !== null;
  });
  return { id, pid: pid ?? 0 };
}

/** What a process has open; what it closes meanwhile is left out. */
function openOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  if (!existsSync(folder)) return [];
  return readdirSync(folder).flatMap((descriptor) => {
    try {
      return [readlinkSync(join(folder, descriptor))];
    } catch {
      return [];
    }
  });
}

const gone = (id: string, pid: number): boolean =>
  !existsSync(`/proc/${pid}`) && !existsSync(cgroup(id));

test("the start finds the process that waits, and nobody has seen it before", async () => {
  await until(async () => {
    const { id, pid } = await created("busybox", "sleep", "100");
    expect(await state(id)).toBe("created 0");
    expect((await engine.docker(["exec", id, "true"])).stderr).toContain("is not running");
    await engine.ok(["start", id]);
    const isThat = (await state(id)) === `running ${pid}`;
    const hosts = await engine.ok(["exec", id, "cat", "/etc/hosts"]);
    const address = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
    expect(hosts).toContain(await engine.ok(["inspect", "-f", address, id]));
    expect(await engine.ok(["exec", id, "ls", "/proc/1/fd"])).toBe("0\n1\n2");
    await engine.ok(["rm", "-f", id]);
    return isThat;
  });
});

test("a removal takes it along, and so does time", async () => {
  const removed = await created("busybox", "true");
  await engine.ok(["rm", removed.id]);
  expect(gone(removed.id, removed.pid)).toBe(true);
  const late = await created("busybox", "echo", "late");
  await until(() => gone(late.id, late.pid));
  expect(await engine.ok(["start", "-a", late.id])).toBe("late");
  await engine.ok(["rm", late.id]);
});

test("what is copied into it, and what is changed of it, is there at the start", async () => {
  const script = "cat /put; hostname; cat /sys/fs/cgroup/pids/pids.max; ls /sys/class/net | wc -l";
  const { id } = await created("--hostname", "first", "busybox", "sh", "-c", script);
  const file = join(engine.root, "put");
  writeFileSync(file, "copied\n");
  await engine.ok(["cp", file, `${id}:/put`]);
  rmSync(file);
  await engine
    .ok(["start", "-a", id])
    .then((output) => expect(output).toStartWith("copied\nfirst"));
  const other = await created("busybox", "sh", "-c", script);
  await engine.ok(["update", "--pids-limit", "7", other.id]);
  await engine.ok(["rename", other.id, "renamed"]);
  await engine.ok(["network", "create", `${engine.tag}-net`]);
  await engine.ok(["network", "connect", `${engine.tag}-net`, "renamed"]);
  const lines = (await engine.docker(["start", "-a", "renamed"])).stdout.trim().split("\n");
  expect(lines.at(-1)).toBe("3");
  if (existsSync("/sys/fs/cgroup/pids")) expect(lines.at(-2)).toBe("7");
  await engine.ok(["rm", id, "renamed"]);
  await engine.ok(["network", "rm", `${engine.tag}-net`]);
});

test("containers of a network of one's own begin ahead as well", async () => {
  const network = `${engine.tag}-own`;
  await engine.ok(["network", "create", network]);
  for (let round = 0; round < 2; round += 1) {
    const { id, pid } = await created("--network", network, "busybox", "sh", "-c", "ip -4 addr");
    expect(await engine.ok(["start", "-a", id])).toContain("eth0");
    const { exitCode } = JSON.parse(await engine.ok(["inspect", "-f", "{{json .State}}", id]));
    expect(exitCode ?? 0).toBe(0);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    await engine.ok(["rm", id]);
  }
  await engine.ok(["network", "rm", network]);
});

test("a process that waits keeps nobody else's streams open", async () => {
  const reader = await engine.ok(["run", "-d", "-i", "busybox", "cat"]);
  const supervisor = openOf(engine.supervisorPid());
  expect(supervisor.some((name) => name.includes(reader))).toBe(true);
  await until(async () => {
    const { id, pid } = await created("busybox", "true");
    const open = openOf(pid);
    const isThere = waiting(id) === pid;
    await engine.ok(["rm", id]);
    expect(open.filter((name) => name.startsWith("socket:") || name.includes(reader))).toEqual([]);
    return isThere && open.length > 0;
  });
  expect(
    (await engine.docker(["run", "--rm", "-i", "busybox", "cat"], { stdin: "x" })).stdout,
  ).toBe("x");
  await engine.ok(["rm", "-f", reader]);
});

test("killed, daemon and supervisor alike: nothing waits on, and the start comes to pass", async () => {
  const first = await created("busybox", "echo", "first");
  await engine.killDaemon();
  await engine.startDaemon();
  await until(() => gone(first.id, first.pid));
  expect(await engine.ok(["start", "-a", first.id])).toBe("first");
  const soon = await created("busybox", "echo", "soon");
  await engine.killDaemon();
  await engine.startDaemon();
  expect(await engine.ok(["start", "-a", soon.id])).toBe("soon");
  const second = await created("busybox", "echo", "second");
  process.kill(engine.supervisorPid(), "SIGKILL");
  expect(await engine.ok(["start", "-a", second.id])).toBe("second");
  await until(() => !existsSync(`/proc/${second.pid}`));
  const third = await created("busybox", "echo", "third");
  process.kill(third.pid, "SIGKILL");
  expect(await engine.ok(["start", "-a", third.id])).toBe("third");
  await engine.ok(["rm", first.id, soon.id, second.id, third.id]);
});

test("a program that is not there is told of at the start, and the container starts again", async () => {
  const { id } = await created("busybox", "nosuch");
  const failed = await engine.docker(["start", id]);
  expect(failed.stderr).toContain('exec: "nosuch": executable file not found in $PATH');
  expect(existsSync(cgroup(id))).toBe(false);
  expect((await engine.docker(["start", id])).stderr).toContain("not found in $PATH");
  await engine.ok(["rm", id]);
});

test("with a terminal, and with an init", async () => {
  const { id } = await created("-t", "--init", "busybox", "sh", "-c", "tty; cat /proc/1/comm");
  expect((await engine.docker(["start", "-a", id])).stdout).toBe("/dev/pts/0\r\ndocker-init\r\n");
  await engine.ok(["rm", id]);
});
