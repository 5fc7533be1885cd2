import { afterAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";

import { openCgroupHost } from "#linux/cgroup";

import { createOf, openFixture, options } from "./fixture.ts";

const cgroups = openCgroupHost();
const WAIT = { timeoutMs: 10_000 };
afterAll(() => void cgroups.at(options.cgroupParent).remove(WAIT));

/** Stands for a container's process, in the cgroup of its container. */
function processOf(id: string) {
  const cgroup = cgroups.create({ path: `${options.cgroupParent}/${id}`, resources: {} });
  const child = Bun.spawn(["sleep", "1000"]);
  for (const { folder } of cgroup.folders) writeFileSync(`${folder}/cgroup.procs`, `${child.pid}`);
  return {
    cgroup,
    /** By which signal it ends when it is asked to: one that came before wins. */
    async end(): Promise<string | number | null> {
      child.kill("SIGTERM");
      await child.exited;
      await cgroup.remove(WAIT);
      return child.signalCode;
    },
  };
}

const soon = () => new Promise<void>((resolve) => void setImmediate(resolve));

async function created(fixture: ReturnType<typeof openFixture>, change = {}): Promise<string> {
  const { id } = await fixture.room.create(createOf(change));
  await soon();
  return id;
}

test("what a start needs is made ready behind the create, and the birth uses it", async () => {
  await using fixture = openFixture();
  const { room, supervisor, snapshots } = fixture;
  const id = await created(fixture);
  const announced = supervisor.announced.get(id);
  expect(announced?.spec.linux.cgroupsPath).toEndWith(id);
  expect(snapshots.has(id)).toBe(true);
  expect(room.resolve(id).state).toEqual({ status: "created" });
  await room.start(id);
  expect(supervisor.births).toHaveLength(1);
  expect(supervisor.births[0]?.spec).toBe(announced?.spec);
  expect(supervisor.forgotten).toEqual([]);
});

test("one container at a time: many creates cost one", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const first = await created(fixture);
  const second = await created(fixture);
  expect([...supervisor.announced.keys()]).toEqual([first]);
  await room.start(second);
  await room.start(first);
  const third = await created(fixture);
  expect(supervisor.announced.has(third)).toBe(true);
  expect(supervisor.births).toHaveLength(2);
});

test("what changed since is composed anew", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await created(fixture);
  await room.update(id, { resources: { pidsLimit: 7 }, restartPolicy: null });
  await room.start(id);
  expect(supervisor.births[0]?.spec.linux.resources.pids?.limit).toBe(7);
});

test("a supervisor that was born again has heard of nothing: it is told the whole", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await created(fixture);
  supervisor.announced.clear();
  await room.start(id);
  expect(supervisor.births).toHaveLength(1);
  expect(room.resolve(id).state.status).toBe("running");
});

test("what was made for nothing is given back with the container, and with the engine", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await created(fixture);
  await room.remove(id, { force: false, volumes: false });
  expect(supervisor.forgotten).toEqual([{ id }]);
  const other = await created(fixture);
  room.close();
  expect(supervisor.forgotten).toEqual([{ id }, { id: other }]);
});

test("what the host may change until the start is looked up at the start", async () => {
  await using fixture = openFixture();
  const { supervisor } = fixture;
  await created(fixture, { host: { privileged: true } });
  const hostPath = "/dev/null";
  const device = { hostPath, containerPath: hostPath, permissions: "rwm" };
  await created(fixture, { host: { devices: [device] } });
  const target = await created(fixture);
  await created(fixture, { host: { pidMode: { mode: "container", container: target } } });
  expect([...supervisor.announced.keys()]).toEqual([target]);
});

test("a client that attached and left before the start keeps nobody waiting", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const { id } = await room.create(createOf());
  const streams = { stdin: false, stdout: true, stderr: true, stream: true, logs: false };
  const staying = await room.attach(id, { ...streams, detachKeys: "" });
  const started = room.start(id);
  staying.detach();
  await started;
  expect(room.resolve(id).state.status).toBe("running");
});

test("a supervisor born again has what waits for its start, and the daemon leaves it alone", async () => {
  await using fixture = openFixture();
  const id = await created(fixture);
  const waiting = processOf(id);
  await fixture.room.reconcile({ startUp: false });
  expect(await waiting.end()).toBe("SIGTERM");
});

test("what a dead engine left in a container's cgroup is gone before its start goes there", async () => {
  await using fixture = openFixture();
  const id = await created(fixture);
  const left = processOf(id);
  await fixture.reopen();
  let isThere = true;
  fixture.supervisor.onBirth = () => {
    isThere = left.cgroup.exists();
  };
  await fixture.room.start(id);
  expect(isThere).toBe(false);
  expect(await left.end()).toBe("SIGKILL");
});
