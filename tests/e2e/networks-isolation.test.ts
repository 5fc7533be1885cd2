/**
 * Who reaches what by lies: datagrams with forged sources and impossible destinations, from a machine beside the host,
 * from another network's container and from a neighbour's. Then the rules are taken away by hand, and the same lies
 * arrive: so these tests can fail.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";

import { inNetworkNamespace } from "../../src/linux/namespace/index.ts";
import { type Engine, run, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";

let engine: Engine;
let link: string;
let machine: string;
/** What a container that publishes on 127.0.0.1 alone has heard, and a service on the host's 127.0.0.1. */
let victim: Ear;
let loopback: Ear;
const PUBLISHED = freePorts(1);
const SLEEP = ["busybox", "sleep", "1000"];
const FORGE = join(import.meta.dir, "forge.py");
const HOST = "203.0.113.1";
const [VICTIM, MATE, GATE] = ["10.86.0.5", "10.86.0.6", "10.86.0.1"];
const [ROGUE, ROGUE_GATE] = ["10.87.0.5", "10.87.0.1"];

beforeAll(async () => {
  engine = await startEngine();
  [link, machine] = [`narut${engine.tag}n`, `naru-test-${engine.tag}`];
  for (const command of [
    `ip netns add ${machine}`,
    `ip link add ${link} type veth peer name lan0 netns ${machine}`,
    `ip link set ${link} up`,
    `ip addr add ${HOST}/24 dev ${link}`,
    `ip -n ${machine} link set lo up`,
    `ip -n ${machine} link set lan0 up`,
    `ip -n ${machine} addr add 203.0.113.9/24 dev lan0`,
    `ip -n ${machine} route add default via ${HOST}`,
  ]) {
    expect((await run(command.split(" "))).stderr).toBe("");
  }
  await engine.ok(["network", "create", "--subnet", "10.86.0.0/24", "home"]);
  await engine.ok(["network", "create", "--subnet", "10.87.0.0/24", "away"]);
  const publish = ["-p", `127.0.0.1:${PUBLISHED}:90/udp`];
  for (const [name, network, ip, ...more] of [
    ["victim", "home", VICTIM, ...publish],
    ["mate", "home", MATE],
    ["rogue", "away", ROGUE],
  ] as const) {
    const flags = ["--name", name, "--network", network, "--ip", ip, ...more];
    await engine.ok(["run", "-d", ...flags, ...SLEEP]);
  }
  victim = await inside("victim", () => listen("0.0.0.0", 90));
  loopback = await listen("127.0.0.1", 0);
  // Nobody's own loopback is in the way of 127.0.0.1 any more.
  for (const [who, out, by] of [
    ["machine", "lan0", HOST],
    ["rogue", "eth0", ROGUE_GATE],
    ["mate", "eth0", GATE],
  ] as const) {
    await within(who, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo");
    await within(who, "ip", "route", "add", "127.0.0.1/32", "via", by);
    await within(who, "sysctl", "-q", "-w", `net.ipv4.conf.${out}.route_localnet=1`);
  }
});
afterAll(async () => {
  for (const ear of [victim, loopback]) ear.close();
  await run(["ip", "link", "delete", link]);
  await run(["ip", "netns", "delete", machine]);
  expect(engine.violations()).toEqual([]);
  await engine[Symbol.asyncDispose]();
});

interface Ear {
  readonly port: number;
  readonly heard: string[];
  close(): void;
}

async function listen(hostname: string, port: number): Promise<Ear> {
  const heard: string[] = [];
  const data = (_: unknown, bytes: Uint8Array) => void heard.push(new TextDecoder().decode(bytes));
  const socket = await Bun.udpSocket({ hostname, port, socket: { data, error: () => undefined } });
  return { port: socket.port, heard, close: () => socket.close() };
}

const pids = new Map<string, string>();
async function pidOf(name: string): Promise<string> {
  const pid = pids.get(name) ?? (await engine.ok(["inspect", "-f", "{{.State.Pid}}", name]));
  pids.set(name, pid);
  return pid;
}

async function inside(name: string, work: () => Promise<Ear>): Promise<Ear> {
  const fd = openSync(`/proc/${await pidOf(name)}/ns/net`, "r");
  try {
    // Bun opens the socket before the call returns.
    return await inNetworkNamespace(fd, () => ({ opening: work() })).opening;
  } finally {
    closeSync(fd);
  }
}

type Who = "machine" | "rogue" | "mate" | "host";

async function within(who: Who, ...words: string[]) {
  if (who === "host") return await run(words);
  if (who === "machine") return await run(["ip", "netns", "exec", machine, ...words]);
  return await run(["nsenter", "-t", await pidOf(who), "-n", ...words]);
}

const forge = (who: Who, source: string, destination: string, port: number, text: string) =>
  within(who, "/usr/bin/python3", FORGE, source, destination, String(port), text);

/** Everything that must not arrive; each says what it is. */
async function lie(): Promise<void> {
  const [own, other] = [PUBLISHED, loopback.port];
  const lies: readonly [Who, source: string, destination: string, port: number][] = [
    // To the host's 127.0.0.1, as itself.
    ...[own, other].flatMap((port): typeof lies => [
      ["machine", "203.0.113.9", "127.0.0.1", port],
      ["rogue", ROGUE, "127.0.0.1", port],
      ["mate", MATE, "127.0.0.1", port],
    ]),
    // As the host's 127.0.0.1.
    ["machine", "127.0.0.1", HOST, own],
    ["machine", "127.0.0.1", VICTIM, 90],
    ["rogue", "127.0.0.1", VICTIM, 90],
    ["rogue", "127.0.0.1", ROGUE_GATE, other],
    ["mate", "127.0.0.1", GATE, own],
    ["mate", "127.0.0.1", GATE, other],
    // Straight to the container: as oneself, as its gateway, as its neighbour.
    ["machine", "203.0.113.9", VICTIM, 90],
    ["machine", GATE, VICTIM, 90],
    ["machine", MATE, VICTIM, 90],
    ["machine", MATE, HOST, own],
    ["rogue", ROGUE, VICTIM, 90],
    ["rogue", GATE, VICTIM, 90],
    ["rogue", MATE, VICTIM, 90],
  ];
  for (const [who, source, destination, port] of lies) {
    const text = `${who} as ${source} to ${destination}:${port === other ? "other" : port}`;
    expect(await forge(who, source, destination, port, text)).toMatchObject({ stderr: "" });
  }
}

/** What was heard up to now: an honest datagram comes after all the others. */
async function heard(): Promise<string[]> {
  for (const port of [PUBLISHED, loopback.port]) {
    const sent = await within("host", "sh", "-c", `printf honest | socat - UDP:127.0.0.1:${port}`);
    expect(sent.stderr).toBe("");
  }
  for (const ear of [victim, loopback]) while (!ear.heard.includes("honest")) await Bun.sleep(5);
  return [victim, loopback]
    .flatMap((ear) => ear.heard.splice(0))
    .filter((text) => text !== "honest");
}

const nft = async (...words: string[]) =>
  expect(await run(["nft", ...words])).toMatchObject({ code: 0 });

test("no lie reaches the host's loopback, nor what is published there, nor a container", async () => {
  await lie();
  expect(await heard()).toEqual([]);
  // Neighbours do talk.
  await forge("mate", MATE, VICTIM, 90, "neighbour");
  expect(await heard()).toEqual(["neighbour"]);
});

test("without the rules they do, and a daemon that starts puts the rules back", async () => {
  // Else it would put them back at once.
  await engine.killDaemon();
  const table = ["inet", `naru_${engine.bridge}`];
  await nft("flush", "chain", ...table, "before_all");
  await lie();
  const without = await heard();
  // Another engine on this machine drops them for us as well.
  const tables = (await run(["nft", "list", "tables", "inet"])).stdout;
  const isAlone = (tables.match(/inet naru/g) ?? []).length === 1;
  if (isAlone) {
    expect(without).toContain(`machine as 203.0.113.9 to 127.0.0.1:${PUBLISHED}`);
    expect(without).toContain(`mate as ${MATE} to 127.0.0.1:other`);
  }
  await nft("flush", "chain", ...table, "forwarded");
  await lie();
  const unforwarded = await heard();
  if (isAlone) expect(unforwarded).toContain(`rogue as ${ROGUE} to ${VICTIM}:90`);
  await engine.startDaemon();
  await lie();
  expect(await heard()).toEqual([]);
});
