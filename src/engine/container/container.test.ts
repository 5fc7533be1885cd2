import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { EngineError } from "#base";
import { RuntimeError } from "#engine/runtime";

import { openCgroupHost } from "#linux/cgroup";

import { createOf, openFixture, options } from "./fixture.ts";

const forever = () => new AbortController().signal;

async function running(fixture: ReturnType<typeof openFixture>, change = {}): Promise<string> {
  const { id } = await fixture.room.create(createOf(change));
  await fixture.room.start(id);
  return id;
}

test("create only writes a record, and start makes the container run", async () => {
  await using fixture = openFixture();
  const { room, supervisor, network } = fixture;
  const { id } = await room.create(createOf({ name: "web" }));
  expect(room.resolve("web").state).toEqual({ status: "created" });
  expect(supervisor.births).toEqual([]);
  expect(existsSync(join(fixture.folder, "containers", id))).toBe(false);
  await room.start("web");
  expect(room.resolve(id).state.status).toBe("running");
  expect(network.attached.has(id)).toBe(true);
  expect(readFileSync(room.resolve(id).hostnamePath, "utf8")).toBe(`${id.slice(0, 12)}\n`);
  expect(fixture.events.map(({ action }) => action)).toEqual(["create", "start"]);
});

test("a name in use, a bad name and an unknown image are refused in Docker's words", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const { id } = await room.create(createOf({ name: "web" }));
  expect(room.create(createOf({ name: "web" }))).rejects.toThrow(
    `Conflict. The container name "/web" is already in use by container "${id}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
  expect(room.create(createOf({ name: "a b" }))).rejects.toThrow(
    "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
  );
  expect(room.create(createOf({ config: { image: "nope" } }))).rejects.toThrow(
    "No such image: nope:latest",
  );
  expect(room.start("other")).rejects.toThrow("No such container: other");
});

test("an image without a program and a request without one is refused", async () => {
  await using fixture = openFixture({});
  expect(fixture.room.create(createOf())).rejects.toThrow("no command specified");
});

test("a container is found by name, id and unique prefix", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const { id } = await room.create(createOf({ name: "web" }));
  for (const name of [id, "web", "/web", id.slice(0, 12)]) expect(room.resolve(name).id).toBe(id);
  expect(() => room.resolve("")).toThrow('invalid name or ID supplied: ""');
});

test("two starts at once make one process, and the second is told", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const { id } = await room.create(createOf());
  const [first, second] = await Promise.allSettled([room.start(id), room.start(id)]);
  expect(first.status).toBe("fulfilled");
  expect(second.status === "rejected" && (second.reason as EngineError).kind).toBe("notModified");
  expect(supervisor.births.length).toBe(1);
});

test("an end that overtakes the record of its start is not lost", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  supervisor.onBirth = (id) => supervisor.end(id, 3);
  const { id } = await room.create(createOf());
  const { result } = room.wait(id, { condition: "next-exit", signal: forever() });
  await room.start(id);
  expect(await result).toEqual({ exitCode: 3, error: null });
  expect(room.resolve(id).state).toMatchObject({ status: "exited", exitCode: 3 });
});

test("--rm removes the container when it ends, and who waits for that is told its exit code", async () => {
  await using fixture = openFixture();
  const { room, supervisor, network } = fixture;
  const id = await running(fixture, { name: "once", host: { autoRemove: true } });
  const { result } = room.wait(id, { condition: "removed", signal: forever() });
  supervisor.end(id, 7);
  expect(await result).toEqual({ exitCode: 7, error: null });
  expect(() => room.resolve(id)).toThrow("No such container");
  await room.create(createOf({ name: "once" }));
  // What nobody misses is given back when whoever waited has gone on.
  while (supervisor.forgotten.length === 0) await Bun.sleep(1);
  await room.swept();
  expect(fixture.snapshots.has(id)).toBe(false);
  expect(existsSync(join(fixture.folder, "containers", id))).toBe(false);
  expect(network.attached.has(id)).toBe(false);
  expect(supervisor.forgotten).toContainEqual({ id });
  expect(fixture.events.map(({ action }) => action)).toEqual([
    "create",
    "start",
    "die",
    "destroy",
    "create",
  ]);
});

test("a start that fails gives everything back and says why on the record", async () => {
  await using fixture = openFixture();
  const { room, supervisor, network } = fixture;
  const { id } = await room.create(createOf());
  const { result } = room.wait(id, { condition: "next-exit", signal: forever() });
  supervisor.birthFailure = new RuntimeError("notFound", 'exec: "x": executable file not found');
  const failure: unknown = await room.start(id).catch((thrown: unknown) => thrown);
  expect(failure).toMatchObject({ kind: "invalid" });
  expect(room.resolve(id).state).toEqual({
    status: "created",
    exitCode: 127,
    error: 'exec: "x": executable file not found',
  });
  expect(network.attached.size).toBe(0);
  expect(await result).toMatchObject({ exitCode: 127 });
  await room.start(id);
  expect(room.resolve(id).state.status).toBe("running");
});

test("a port that is taken fails before anything is born", async () => {
  await using fixture = openFixture();
  fixture.network.attachFailure = new EngineError("internal", "port is already allocated");
  const { id } = await fixture.room.create(createOf());
  expect(fixture.room.start(id)).rejects.toThrow("port is already allocated");
  expect(fixture.supervisor.births).toEqual([]);
});

test("stop sends the image's signal, waits, and then kills", async () => {
  await using fixture = openFixture({ Cmd: ["sh"], StopSignal: "SIGUSR1" });
  const { room, supervisor } = fixture;
  const id = await running(fixture);
  supervisor.onSignal = (container, signal) => {
    if (signal === 9) supervisor.end(container, 137);
  };
  await room.stop(id, { timeoutSeconds: 0, signal: null });
  expect(supervisor.signals).toEqual([
    [id, 10],
    [id, 9],
  ]);
  expect(room.resolve(id).state).toMatchObject({ status: "exited", exitCode: 137 });
  expect(room.stop(id, { timeoutSeconds: null, signal: null })).rejects.toMatchObject({
    kind: "notModified",
  });
});

test("a kill that dies with the supervisor is sent to the next one; another signal is not repeated", async () => {
  await using fixture = openFixture({ Cmd: ["sh"] });
  const { room, supervisor } = fixture;
  const id = await running(fixture);
  let lost = 2;
  supervisor.onSignal = (container, signal) => {
    if ((lost -= 1) >= 0) throw new EngineError("unavailable", "the supervisor is gone");
    supervisor.end(container, 128 + signal);
  };
  expect(room.stop(id, { timeoutSeconds: null, signal: null })).rejects.toThrow(
    "the supervisor is gone",
  );
  await room.stop(id, { timeoutSeconds: 0, signal: "SIGKILL" });
  expect(supervisor.signals.map(([, signal]) => signal)).toEqual([15, 9, 9]);
  expect(room.resolve(id).state).toMatchObject({ status: "exited", exitCode: 137 });
});

test("patience that is over before the signal is on its way is no unhandled failure", async () => {
  await using fixture = openFixture({ Cmd: ["sh"] });
  const { room, supervisor } = fixture;
  const id = await running(fixture);
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  supervisor.onSignal = async (container, signal) => {
    // Timers that were set before go off first.
    await new Promise((next) => setTimeout(next, 1));
    if (signal === 9) supervisor.end(container, 137);
  };
  await room.stop(id, { timeoutSeconds: 0, signal: null });
  process.off("unhandledRejection", note);
  expect(unhandled).toEqual([]);
  expect(room.resolve(id).state).toMatchObject({ status: "exited", exitCode: 137 });
});

test("a signal is told of before the end it brings, however soon that comes", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  // The fake's process ends before its signal is answered.
  await fixture.room.kill(id, "TERM");
  const told = fixture.events.map(({ action }) => action);
  expect(told.slice(0, 4)).toEqual(["create", "start", "kill", "die"]);
});

test("kill of a container that does not run is a conflict in Docker's words", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const { id } = await room.create(createOf({ name: "web" }));
  expect(room.kill("web", "")).rejects.toThrow(
    `cannot kill container: web: container ${id} is not running`,
  );
  expect(room.kill("web", "SIGNOPE")).rejects.toThrow("invalid signal: SIGNOPE");
});

test("a running container is only removed by force", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const id = await running(fixture, { name: "web" });
  expect(room.remove("web", { force: false, volumes: false })).rejects.toThrow(
    'cannot remove container "web": container is running: stop the container before removing or force remove',
  );
  await room.remove("web", { force: true, volumes: true });
  expect(() => room.resolve(id)).toThrow("No such container");
});

test("removing during a start waits for the start, then removes by force", async () => {
  await using fixture = openFixture();
  const { room, supervisor, network } = fixture;
  const { id } = await room.create(createOf());
  const removals: Promise<void>[] = [];
  supervisor.onBirth = () => {
    removals.push(room.remove(id, { force: true, volumes: false }));
  };
  await room.start(id);
  await Promise.all(removals);
  expect(() => room.resolve(id)).toThrow("No such container");
  expect(network.attached.size).toBe(0);
});

test("restart ends one run and begins another, also of a --rm container", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await running(fixture, { host: { autoRemove: true } });
  await room.restart(id, { timeoutSeconds: null, signal: null });
  expect(supervisor.births.length).toBe(2);
  expect(room.resolve(id).state.status).toBe("running");
});

test("a --rm container that ends as soon as it is restarted was restarted all the same", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await running(fixture, { host: { autoRemove: true } });
  supervisor.onBirth = () => supervisor.end(id, 0);
  await room.restart(id, { timeoutSeconds: null, signal: null });
  expect(fixture.events.map(({ action }) => action)).toContain("restart");
});

test("restart policies start again after a failure, until a person stops it", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const id = await running(fixture, { host: { restartPolicy: { name: "always" } } });
  const again = Promise.withResolvers<void>();
  supervisor.onBirth = () => again.resolve();
  supervisor.end(id, 1);
  expect(room.resolve(id).state.status).toBe("restarting");
  await again.promise;
  while (room.resolve(id).state.status !== "running") await Bun.sleep(1);
  expect(room.resolve(id)).toMatchObject({ restartCount: 1, state: { status: "running" } });
  await room.stop(id, { timeoutSeconds: null, signal: null });
  expect(room.resolve(id).state.status).toBe("exited");
});

test("list shows newest first, and everyone only when asked", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  await room.create(createOf({ name: "old", config: { labels: { a: "1" } } }));
  await running(fixture, { name: "new" });
  const names = async (all: boolean, filters = {}, limit = 0) =>
    (await room.list({ all, limit, size: false, filters })).map(({ container }) => container.name);
  expect(await names(false)).toEqual(["new"]);
  expect(await names(true)).toEqual(["new", "old"]);
  expect(await names(false, {}, 1)).toEqual(["new"]);
  expect(await names(true, { label: ["a=1"] })).toEqual(["old"]);
  expect(await names(false, { status: ["created"] })).toEqual(["old"]);
  expect(await names(false, { before: ["new"] })).toEqual([]);
  expect(await names(true, { before: ["new"] })).toEqual(["old"]);
  expect(await names(true, { name: ["^/ne"] })).toEqual(["new"]);
  expect(await names(true, { ancestor: ["busybox"] })).toEqual(["new", "old"]);
  expect(room.list({ all: true, limit: 0, size: false, filters: { x: ["1"] } })).rejects.toThrow(
    "invalid filter 'x'",
  );
  expect(
    room.list({ all: true, limit: 0, size: false, filters: { status: ["zzz"] } }),
  ).rejects.toThrow("invalid filter 'status=zzz'");
});

test("rename moves the name, and tells of conflicts", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  await room.create(createOf({ name: "a1" }));
  await room.create(createOf({ name: "b1" }));
  expect(room.rename("a1", "b1")).rejects.toThrow("Error when allocating new name: Conflict.");
  await room.rename("a1", "c1");
  expect(room.resolve("c1").name).toBe("c1");
  await room.create(createOf({ name: "a1" }));
});

test("after SIGKILL of the daemon a running container runs on", async () => {
  await using fixture = openFixture();
  const id = await running(fixture, { name: "web" });
  await fixture.reopen();
  expect(fixture.room.resolve("web").state.status).toBe("running");
  expect(fixture.network.alive).toEqual(new Set([id]));
  fixture.supervisor.end(id, 4);
  expect(fixture.room.resolve("web").state).toMatchObject({ status: "exited", exitCode: 4 });
});

test("ends that came while the daemon was away are known after it is back", async () => {
  await using fixture = openFixture();
  const kept = await running(fixture, { name: "kept" });
  const once = await running(fixture, { name: "once", host: { autoRemove: true } });
  fixture.supervisor.deliver = () => undefined;
  fixture.supervisor.end(kept, 5);
  fixture.supervisor.end(once, 0);
  await fixture.reopen();
  expect(fixture.room.resolve("kept").state).toMatchObject({ status: "exited", exitCode: 5 });
  expect(() => fixture.room.resolve("once")).toThrow("No such container");
  expect(fixture.network.attached.size).toBe(0);
});

test("a daemon killed between a birth and its record finishes the start", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const port = { containerPort: 80, hostPort: 8080, hostAddress: "", protocol: "tcp" } as const;
  const { id } = await room.create(createOf({ name: "web", host: { ports: [port] } }));
  // The answer never reaches this daemon: it dies while it waits.
  const born = Promise.withResolvers<void>();
  supervisor.onBirth = () => {
    born.resolve();
    return new Promise(() => undefined);
  };
  void room.start(id).catch(() => undefined);
  await born.promise;
  await fixture.reopen();
  expect(fixture.room.resolve("web").state.status).toBe("running");
  expect(fixture.room.resolve("web").ports).toMatchObject([{ containerPort: 80, hostPort: 8080 }]);
});

test("what a daemon had frozen without a record when it died runs on", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  const path = `${options.cgroupParent}/${id}`;
  const cgroup = openCgroupHost().create({ path, resources: {} });
  await cgroup.freeze({ timeoutMs: 10_000 });
  await fixture.reopen();
  expect(cgroup.isFrozen()).toBe(false);
  await cgroup.remove({ timeoutMs: 10_000 });
  openCgroupHost().at(options.cgroupParent).tryRemove();
});

test("a process that nobody can account for is recorded as 137 with a sentence", async () => {
  await using fixture = openFixture();
  const id = await running(fixture);
  fixture.supervisor.processes.clear();
  await fixture.reopen();
  expect(fixture.room.resolve(id).state).toMatchObject({
    status: "exited",
    exitCode: 137,
    error: "exit code unknown",
  });
});

test("a container that starts while a supervisor born again answers is left alone", async () => {
  await using fixture = openFixture();
  const { room, supervisor, network } = fixture;
  const lost = await running(fixture, { name: "lost" });
  const { id: quick } = await room.create(createOf({ name: "quick" }));
  const { id: late } = await room.create(createOf({ name: "late" }));
  supervisor.processes.clear();
  supervisor.onListed = () => room.start(quick);
  network.beforeReconcile = () => room.start(late);
  await room.reconcile({ startUp: false });
  expect(room.resolve("quick").state.status).toBe("running");
  expect(room.resolve("late").state.status).toBe("running");
  expect(room.resolve("lost").state).toMatchObject({ status: "exited", exitCode: 137 });
  expect(network.alive).toEqual(new Set([quick, late]));
  expect(network.attached).toEqual(new Set([quick, late]));
  expect(network.released.filter((id) => id !== lost)).toEqual([]);
});

test("what a removal left on disk is swept at the next start", async () => {
  await using fixture = openFixture();
  const lost = "a".repeat(64);
  fixture.snapshots.add(lost);
  await fixture.reopen();
  await Bun.sleep(0);
  await fixture.room.swept();
  expect(fixture.snapshots.has(lost)).toBe(false);
});

test("unless-stopped stays stopped when a person stopped it, always does not", async () => {
  await using fixture = openFixture();
  const policies = ["always", "unless-stopped"] as const;
  for (const name of policies) {
    const id = await running(fixture, { name, host: { restartPolicy: { name } } });
    await fixture.room.stop(id, { timeoutSeconds: null, signal: null });
  }
  await fixture.reopen();
  await fixture.room.startByPolicy();
  expect(fixture.room.resolve("always").state.status).toBe("running");
  expect(fixture.room.resolve("unless-stopped").state.status).toBe("exited");
});

test("those whose namespaces others join start with the engine before them", async () => {
  await using fixture = openFixture();
  const host = { restartPolicy: { name: "always" } } as const;
  const db = await running(fixture, { name: "db", host });
  const pidMode = { mode: "container", container: db } as const;
  await running(fixture, { name: "web", host: { ...host, pidMode } });
  for (const name of ["web", "db"]) {
    await fixture.room.stop(name, { timeoutSeconds: null, signal: null });
  }
  await fixture.reopen();
  await fixture.room.startByPolicy();
  expect(fixture.room.resolve("web").state.status).toBe("running");
});

test("a link on the default bridge is a name of the container it leads to", async () => {
  await using fixture = openFixture();
  const { room } = fixture;
  const { id } = await room.create(createOf({ name: "db" }));
  const links = [{ container: "db", alias: "store" }];
  await room.create(createOf({ name: "web", host: { links } }));
  expect(room.resolve("db").names).toEqual(["db", "web/store"]);
  expect(room.resolve("/web/store").id).toBe(id);
  await room.rename("web", "shop");
  expect(room.resolve("db").names).toEqual(["db", "shop/store"]);
  await room.removeLink("shop/store");
  expect(room.resolve("db").names).toEqual(["db"]);
  expect(() => room.resolve("shop/store")).toThrow("No such container: shop/store");
});

test("volumes of an image and named ones are made, filled once, and go with rm -v if anonymous", async () => {
  await using fixture = openFixture({ Cmd: ["sh"], Volumes: { "/data": {} } });
  const { room, folder } = fixture;
  await Bun.write(join(folder, "lower/data/hello"), "from the image");
  const id = await running(fixture, {
    host: {
      mounts: [{ type: "volume", name: "cache", target: "/cache", readOnly: false, noCopy: false }],
    },
  });
  const { mounts } = room.resolve(id);
  const data = mounts.find(({ destination }) => destination === "/data");
  expect(readFileSync(join(data?.source ?? "", "hello"), "utf8")).toBe("from the image");
  const cache = join(folder, "volumes/cache/_data");
  expect(existsSync(cache)).toBe(true);
  await room.remove(id, { force: true, volumes: true });
  await Bun.sleep(0);
  await Promise.all([room.swept(), fixture.volumes.swept()]);
  expect(existsSync(data?.source ?? "")).toBe(false);
  expect(existsSync(cache)).toBe(true);
});

test("execs run only in running containers, once, and their end is known", async () => {
  await using fixture = openFixture();
  const { room, supervisor } = fixture;
  const request = {
    command: ["ls"],
    attachStdin: false,
    attachStdout: false,
    attachStderr: false,
    terminal: false,
    detachKeys: "",
    environment: ["A=b"],
    workingDirectory: "",
    user: "",
    privileged: false,
    consoleSize: null,
  };
  const { id } = await room.create(createOf({ config: { user: "nobody" } }));
  expect(room.createExec(id, request)).rejects.toThrow(`container ${id} is not running`);
  await room.start(id);
  const execId = await room.createExec(id, request);
  const accepted: number[] = [];
  const onAccepted = () => void accepted.push(supervisor.execs.length);
  const start = { detach: true, terminal: false, consoleSize: null, onAccepted };
  expect(await room.startExec(execId, start)).toBeNull();
  // Before the process: clients are to have the answer's head before anything is printed.
  expect(accepted).toEqual([0]);
  const plain = await room.createExec(id, request);
  expect(room.resolve(id).execIds).toEqual([execId, plain]);
  expect(room.resolveExec(execId).state.status).toBe("running");
  expect(supervisor.execs[0]?.process.env).toContain("A=b");
  expect(supervisor.execs[0]?.identity.user).toBe("nobody");
  expect(room.startExec(execId, start)).rejects.toThrow("is already running");
  expect(accepted).toEqual([0]);
  const key = { id, execId };
  const exit = { key, pid: 1, exitCode: 2, oomKilled: false, finishedAt: "", error: null };
  room.onSupervisorEvent({ type: "exit", exit });
  expect(room.resolveExec(execId).state).toMatchObject({ status: "exited", exitCode: 2 });
  // As in Docker, one that ended is no longer among those of its container.
  expect(room.resolve(id).execIds).toEqual([plain]);
  expect(() => room.resolveExec("nope")).toThrow("No such exec instance: nope");
});
