/** Events through the real docker CLI: what is told, to whom, in which order, and for how long it is known. */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { type Engine, startEngine } from "./engine.ts";
import { until } from "./until.ts";

interface Event {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Record<string, string> };
  readonly scope: string;
  readonly timeNano: number;
}

let engine: Engine;
/** Seconds; everything this file did is later. */
let since = "0";
beforeAll(async () => {
  engine = await startEngine();
  since = String(Date.now() / 1000);
});
afterAll(async () => {
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

const now = () => (Date.now() / 1000 + 0.001).toFixed(3);

/** What is known of the past, with these filters. */
async function past(...filters: string[]): Promise<Event[]> {
  const words = filters.flatMap((filter) => ["--filter", filter]);
  const output = await engine.ok([
    "events",
    "--since",
    since,
    "--until",
    now(),
    "--format",
    "{{json .}}",
    ...words,
  ]);
  return output === "" ? [] : output.split("\n").map((line) => JSON.parse(line) as Event);
}

const actions = (events: readonly Event[]) => events.map(({ Action }) => Action);

test("a life is told with Docker's actions and attributes", async () => {
  const args = "run -d --name told --label tier=front --stop-timeout 60 busybox sh -c".split(" ");
  const script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
  // Before that a signal is nothing to it: a first process has no default actions.
  const ready = (times: number) =>
    until(async () => (await engine.ok(["logs", id])).split("ready").length > times);
  const id = await engine.ok([...args, script]);
  await ready(1);
  await engine.ok(["exec", "told", "true"]);
  await engine.ok(["top", "told"]);
  await engine.ok(["pause", "told"]);
  await engine.ok(["unpause", "told"]);
  await engine.ok(["rename", "told", "retold"]);
  await engine.ok(["update", "--restart", "no", "retold"]);
  await engine.ok(["kill", "-s", "TERM", "retold"]);
  await engine.ok(["wait", "retold"]);
  await engine.ok(["start", "retold"]);
  await ready(2);
  await engine.ok(["stop", "retold"]);
  await engine.ok(["rm", "retold"]);
  const events = await past("type=container", `container=${id}`);
  const told = actions(events);
  const wanted =
    "create,start,exec_create: true ,exec_start: true ,exec_die,top,pause,unpause,rename,update," +
    "kill,die,start,kill,die,stop,destroy";
  expect(told).toEqual(wanted.split(","));
  for (const { Actor, scope, Type } of events) {
    expect({ id: Actor.ID, scope, Type }).toEqual({ id, scope: "local", Type: "container" });
    expect(Actor.Attributes).toMatchObject({ image: "busybox", tier: "front" });
  }
  const of = (action: string) =>
    events.findLast(({ Action }) => Action === action)?.Actor.Attributes;
  expect(of("rename")).toMatchObject({ oldName: "/told", name: "retold" });
  expect(of("kill")).toMatchObject({ signal: "15" });
  expect(of("die")).toMatchObject({ exitCode: "7", execDuration: expect.stringMatching(/^\d+$/) });
  expect(of("exec_die")?.["exitCode"]).toBe("0");
  expect(of("exec_die")?.["execID"]).toMatch(/^[0-9a-f]{64}$/);
  const times = events.map(({ timeNano }) => timeNano);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  const network = await past("type=network", "event=connect");
  expect(network[0]?.Actor.Attributes).toMatchObject({
    container: id,
    name: "bridge",
    type: "bridge",
  });
});

test("images, volumes and networks tell what happens to them", async () => {
  await engine.ok(["tag", "busybox", "box:2"]);
  await engine.ok(["rmi", "box:2"]);
  await engine.ok(["volume", "create", "vol"]);
  await engine.ok(["volume", "rm", "vol"]);
  await engine.ok(["network", "create", "net"]);
  await engine.ok(["network", "rm", "net"]);
  expect(actions(await past("type=image"))).toEqual(["tag", "untag"]);
  expect((await past("image=box")).map(({ Actor }) => Actor.Attributes["name"])).toContain("box:2");
  expect(actions(await past("volume=vol"))).toEqual(["create", "destroy"]);
  expect(actions(await past("network=net"))).toEqual(["create", "destroy"]);
});

test("every filter chooses as Docker's does", async () => {
  const id = await engine.ok([
    "create",
    "--name",
    "chosen",
    "--label",
    "a=1",
    "--label",
    "b",
    "busybox",
    "sh",
  ]);
  await engine.ok(["rm", "chosen"]);
  const both = ["create", "destroy"];
  for (const filters of [
    ["container=chosen"],
    ["container=chos"],
    [`container=${id.slice(0, 12)}`],
    ["container=nobody", "container=chosen"],
    ["label=a=1", "label=b"],
    ["label=a", "scope=local"],
    ["container=chosen", "image=busybox"],
    ["container=chosen", "image=busybox:latest", "image=busybox"],
    ["container=chosen", "type=container", "type=image"],
    ["container=chosen", "event=create", "event=destroy"],
  ]) {
    expect({ filters, told: actions(await past(...filters)) }).toEqual({ filters, told: both });
  }
  for (const filters of [
    ["container=chosen", "type=image"],
    ["label=a=2"],
    ["label=a=1", "label=c"],
    ["container=chosen", "scope=swarm"],
    ["container=chosen", "event=start"],
    ["daemon=nobody"],
    ["node=x"],
    ["plugin=x"],
    ["service=x"],
    ["secret=x"],
    ["config=x"],
  ]) {
    expect({ filters, told: actions(await past(...filters)) }).toEqual({ filters, told: [] });
  }
  expect(actions(await past("event=exec_create"))).toEqual(["exec_create: true "]);
  const wrong = await engine.docker(["events", "--filter", "colour=red"]);
  expect(wrong.stderr).toContain("invalid filter 'colour'");
});

test("both clients print the past alike, and it outlives a kill of the daemon", async () => {
  // What is in the database: written with the next transaction, or a moment later.
  const before = await past();
  await engine.ok(["volume", "create", "last"]);
  const until = now();
  const args = ["events", "--since", since, "--until", until];
  const docker = await engine.docker(args);
  expect(docker.code).toBe(0);
  expect(await engine.naru(args)).toMatchObject({ code: 0, stdout: docker.stdout });
  await engine.restartDaemon();
  expect((await engine.docker(args)).stdout).toBe(docker.stdout);
  expect((await past()).slice(0, before.length)).toEqual(before);
});

/** Watches until `lives` containers have gone; every event as it came. */
async function watch(lives: number, label: string): Promise<Event[]> {
  const filters = encodeURIComponent(JSON.stringify({ type: ["container"], label: [label] }));
  const response = await engine.fetch(`/v1.51/events?filters=${filters}`);
  const seen: Event[] = [];
  let gone = 0;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    rest += decoder.decode(chunk, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = JSON.parse(line) as Event;
      seen.push(event);
      if (event.Action === "destroy") gone += 1;
    }
    if (gone === lives) return seen;
  }
  return seen;
}

test("twenty watchers hear every life, whole and in one order", async () => {
  const lives = 40;
  const watchers = Array.from({ length: 20 }, () => watch(lives, "watched"));
  const listening = async () =>
    ((await (await engine.fetch("/info")).json()) as { NEventsListener: number }).NEventsListener;
  await until(async () => (await listening()) >= 20);
  const waiting = Array.from({ length: lives }, (_, index) => index);
  const live = async () => {
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      await engine.ok(["run", "--rm", "--label", "watched", "busybox", "true"]);
    }
  };
  await Promise.all([live(), live(), live(), live()]);
  const [first = [], ...others] = await Promise.all(watchers);
  for (const other of others) expect(other).toEqual(first);
  const byLife = Map.groupBy(first, ({ Actor }) => Actor.ID);
  expect(byLife.size).toBe(lives);
  for (const events of byLife.values()) {
    const told = actions(events).filter((action) => action !== "attach");
    expect(told).toEqual(["create", "start", "die", "destroy"]);
  }
});

test("a watcher that does not read is cut off, and costs the engine little", async () => {
  const label = "x".repeat(900_000);
  const create = await engine.fetch("/v1.51/containers/create?name=heavy", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ Image: "busybox", Cmd: ["sh"], Labels: { label } }),
  });
  expect(create.status).toBe(201);
  const ended = Promise.withResolvers<number>();
  let bytes = 0;
  const socket = await Bun.connect({
    unix: engine.daemonSocket,
    socket: {
      open: (it) => {
        it.write("GET /v1.51/events HTTP/1.1\r\nHost: x\r\n\r\n");
        it.pause();
      },
      data: (_, chunk) => {
        bytes += chunk.length;
      },
      close: () => ended.resolve(bytes),
    },
  });
  let name = "heavy";
  for (let index = 0; index < 60; index += 1) {
    const next = `heavy${index}`;
    const answer = await engine.fetch(`/v1.51/containers/${name}/rename?name=${next}`, {
      method: "POST",
    });
    expect(answer.status).toBe(204);
    name = next;
  }
  socket.resume();
  expect(await ended.promise).toBeLessThan(40_000_000);
  await engine.ok(["rm", name]);
});

test("since 0 is the beginning, and an end before its beginning is refused", async () => {
  await engine.ok(["create", "--name", "first", "busybox", "true"]);
  await engine.ok(["rm", "first"]);
  const read = async (query: string) => (await engine.fetch(`/events?${query}`)).text();
  const names = (text: string) =>
    text
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as Event).Actor.Attributes["name"]);
  expect(names(await read(`since=0&until=${now()}`))).toContain("first");
  expect(names(await read("until=0"))).toContain("first");
  const live = await engine.fetch("/events?since=0");
  // It comes last of 56 MB: looking through all of them at each chunk took a minute and a half.
  let tail = "";
  for await (const chunk of live.body ?? []) {
    tail = tail.slice(-16) + new TextDecoder().decode(chunk);
    if (tail.includes('"first"')) break;
  }
  const backwards = await engine.fetch("/events?since=20&until=10");
  expect(backwards.status).toBe(400);
  expect(await backwards.json()).toEqual({
    message: "`since` time (20) cannot be after `until` time (10)",
  });
});

/** A connection of its own: asks, and waits for an answer to hold a text. */
async function open(): Promise<(request: string, awaited: string) => Promise<string>> {
  let heard = "";
  let check = (): void => {};
  const socket = await Bun.connect({
    unix: engine.daemonSocket,
    socket: {
      data: (_, chunk) => {
        heard += chunk.toString();
        check();
      },
    },
  });
  return async (request, awaited) => {
    heard = "";
    const { promise, resolve } = Promise.withResolvers<string>();
    check = () => (heard.includes(awaited) ? resolve(heard) : undefined);
    socket.write(`${request} HTTP/1.1\r\nHost: x\r\n\r\n`);
    return promise;
  };
}

test("who said hello and then asks for events hears what happened since; who asked for more, from then on", async () => {
  const [fresh, busy] = [await open(), await open()];
  await fresh("HEAD /_ping", "OK");
  await busy("HEAD /_ping", "OK");
  await busy("GET /info", "ServerVersion");
  await engine.ok(["volume", "create", "early"]);
  expect(await fresh("GET /v1.51/events", "early")).toContain('"Action":"create"');
  const later = busy("GET /v1.51/events", "late");
  const watched = until(async () => {
    const info = await engine.ok(["info", "--format", "{{.NEventsListener}}"]);
    return Number(info) >= 2;
  });
  await watched;
  await engine.ok(["volume", "create", "late"]);
  expect(await later).not.toContain("early");
  await engine.ok(["volume", "rm", "early", "late"]);
});
