import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";

import { checked } from "#linux/ffi";

import {
  type Netlink,
  NetlinkError,
  openNetlink,
  RecordingNetlink,
  rulesetGeneration,
} from "./index.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs: the host's links are never touched. */
let home = -1;
let netlink: Netlink;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  netlink = openNetlink();
});
afterAll(() => {
  netlink[Symbol.dispose]();
  checked("setns", "net", home, CLONE_NEWNET);
  closeSync(home);
});

const caught = (work: () => void): NetlinkError => {
  try {
    work();
  } catch (thrown) {
    if (thrown instanceof NetlinkError) return thrown;
    throw thrown;
  }
  throw new Error("nothing was refused");
};

test("a bridge is made with its name, hardware address and mtu, and deleted by name once", () => {
  const macAddress = "02:42:0a:01:02:03";
  netlink.addLink({ kind: "bridge", name: "narut0", macAddress, mtu: 1400 });
  expect(netlink.getLink("narut0")).toMatchObject({
    name: "narut0",
    kind: "bridge",
    macAddress,
    mtu: 1400,
    up: false,
    master: null,
  });
  netlink.setLink("narut0", { up: true, mtu: 1300 });
  expect(netlink.getLink("narut0")).toMatchObject({ up: true, mtu: 1300 });
  expect(netlink.deleteLink("narut0")).toBe(true);
  expect(netlink.deleteLink("narut0")).toBe(false);
  expect(netlink.getLink("narut0")).toBeNull();
});

test("a veth is born as a port of its bridge, its peer inside another namespace", () => {
  netlink.addLink({ kind: "bridge", name: "narut0" });
  const outside = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  const inside = openSync("/proc/thread-self/ns/net", "r");
  const inner = openNetlink();
  checked("setns", "net", outside, CLONE_NEWNET);
  const mac = "02:42:0a:01:02:04";
  netlink.batch(() => {
    netlink.addLink({
      kind: "veth",
      name: "narut1",
      mtu: 1400,
      master: "narut0",
      peer: { name: "eth0", macAddress: mac, mtu: 1400, namespace: { fd: inside } },
    });
    netlink.setLink("narut1", { up: true, hairpin: true, withoutIpv6Address: true });
  });
  expect(netlink.getLink("narut1")).toMatchObject({
    kind: "veth",
    up: true,
    mtu: 1400,
    master: netlink.getLink("narut0")?.index ?? -1,
  });
  expect(inner.getLink("eth0")).toMatchObject({ kind: "veth", macAddress: mac, up: false });
  const shown = Bun.spawnSync(["bridge", "-d", "link", "show", "dev", "narut1"]).stdout.toString();
  expect(shown).toContain("hairpin on");
  netlink.setLink("narut1", { master: null });
  expect(netlink.getLink("narut1")?.master).toBeNull();
  inner[Symbol.dispose]();
  netlink.deleteLink("narut1");
  netlink.deleteLink("narut0");
  for (const fd of [inside, outside]) closeSync(fd);
});

test("addresses and routes are listed as they were added", () => {
  netlink.addLink({ kind: "bridge", name: "narut2" });
  netlink.setLink("narut2", { up: true });
  netlink.addAddress({ link: "narut2", address: "10.99.0.1", prefixLength: 24 });
  netlink.addRoute({
    destination: { address: "10.98.0.0", prefixLength: 16 },
    gateway: "10.99.0.7",
    link: "narut2",
  });
  netlink.addRoute({ destination: null, gateway: "10.99.0.9", link: "narut2" });
  expect(netlink.listAddresses()).toContainEqual({
    link: "narut2",
    address: "10.99.0.1",
    prefixLength: 24,
  });
  const link = "narut2";
  expect(netlink.listRoutes()).toEqual([
    { destination: null, gateway: "10.99.0.9", link },
    { destination: { address: "10.98.0.0", prefixLength: 16 }, gateway: "10.99.0.7", link },
    { destination: { address: "10.99.0.0", prefixLength: 24 }, gateway: null, link },
  ]);
  const shown = Bun.spawnSync(["ip", "-4", "addr", "show", "narut2"]).stdout.toString();
  expect(shown).toContain("inet 10.99.0.1/24 brd 10.99.0.255 scope global narut2");
  netlink.deleteAddress({ link: "narut2", address: "10.99.0.1", prefixLength: 24 });
  expect(netlink.listAddresses()).toEqual([]);
  netlink.deleteLink("narut2");
});

test("a link can be renamed", () => {
  netlink.addLink({ kind: "bridge", name: "narut3" });
  netlink.setLink("narut3", { name: "narut4" });
  expect(netlink.getLink("narut3")).toBeNull();
  expect(netlink.deleteLink("narut4")).toBe(true);
});

test("a refused change names the operation, the link and the reason", () => {
  netlink.addLink({ kind: "bridge", name: "narut5" });
  const again = caught(() => netlink.addLink({ kind: "bridge", name: "narut5" }));
  expect(again.code).toBe("EEXIST");
  expect(again.message).toContain("link add narut5: file exists");
  const missing = caught(() => netlink.setLink("narut6", { up: true }));
  expect(missing.code).toBe("ENODEV");
  const gateway = caught(() =>
    netlink.addRoute({ destination: null, gateway: "10.1.2.3", link: "narut5" }),
  );
  expect(gateway.message).toContain("route add default narut5");
  expect(gateway.explanation).not.toBeNull();
  netlink.deleteLink("narut5");
});

test("in a batch the first refusal is told, and the rest is carried out", () => {
  const refused = caught(() =>
    netlink.batch(() => {
      netlink.setLink("narut7", { up: true });
      netlink.addLink({ kind: "bridge", name: "narut8" });
      netlink.setLink("narut9", { up: true });
    }),
  );
  expect(refused.subject).toBe("narut7");
  expect(netlink.deleteLink("narut8")).toBe(true);
});

test("a dump of several datagrams is complete", () => {
  const names = Array.from({ length: 80 }, (_, index) => `narut1${index}`);
  netlink.batch(() => {
    for (const name of names) netlink.addLink({ kind: "bridge", name });
  });
  const listed = new Set(netlink.listLinks().map(({ name }) => name));
  expect(names.filter((name) => !listed.has(name))).toEqual([]);
  netlink.deleteLinks([...names, "narut-none"]);
  expect(netlink.listLinks().map(({ name }) => name)).toEqual(["lo"]);
});

test("links that go by themselves while they are deleted are no error", () => {
  for (const name of ["narut0", "narut1"]) netlink.addLink({ kind: "bridge", name });
  class Going extends Array<string> {
    override *[Symbol.iterator](): ArrayIterator<string> {
      yield* ["narut0", "narut1"];
      // They have been found, and are not deleted yet.
      for (const name of ["narut0", "narut1"]) netlink.deleteLink(name);
    }
  }
  netlink.deleteLinks(Going.of("narut0", "narut1"));
  expect(netlink.listLinks().map(({ name }) => name)).toEqual(["lo"]);
});

test("the recording fake refuses what the kernel refuses and keeps the calls", () => {
  using fake = new RecordingNetlink();
  fake.addLink({ kind: "bridge", name: "narut0" });
  expect(caught(() => fake.addLink({ kind: "bridge", name: "narut0" })).code).toBe("EEXIST");
  fake.setLink("narut0", { up: true });
  expect(fake.getLink("narut0")?.up).toBe(true);
  expect(fake.calls.map(([name]) => name)).toEqual(["addLink", "addLink", "setLink"]);
});

test("a link's limit is taken more than once, at small and at large rates", () => {
  netlink.addLink({ kind: "bridge", name: "narut0" });
  const rate = { burstBytes: 16_384, queueBytes: 100_000 };
  netlink.limitLink("narut0", { ...rate, bytesPerSecond: 1000 });
  netlink.limitLink("narut0", { ...rate, bytesPerSecond: 12_500_000_000 });
  expect(caught(() => netlink.limitLink("narut9", { ...rate, bytesPerSecond: 1 })).code).toBe(
    "ENODEV",
  );
  netlink.deleteLink("narut0");
});

test("what arrives at a link passes another one's queue, until somebody takes that off", () => {
  const tc = (...words: string[]) => Bun.spawnSync(["tc", ...words]);
  netlink.addLink({ kind: "bridge", name: "narut0" });
  netlink.addLink({ kind: "ifb", name: "narut1" });
  netlink.setLink("narut1", { up: true, alias: "of narut0" });
  expect(netlink.getLink("narut1")).toMatchObject({ kind: "ifb", alias: "of narut0" });
  expect(netlink.isRedirected("narut0", "narut1")).toBe(false);
  expect(netlink.isRedirected("narut0", "narut9")).toBe(false);
  // The second time takes the place of the first.
  for (const _ of [1, 2]) netlink.redirectArrivals("narut0", "narut1");
  expect(netlink.isRedirected("narut0", "narut1")).toBe(true);
  expect(netlink.isRedirected("narut0", "lo")).toBe(false);
  const shown = tc("filter", "show", "dev", "narut0", "ingress").stdout.toString();
  expect(shown.match(/Redirect to device narut1/g)).toHaveLength(1);
  tc("filter", "del", "dev", "narut0", "ingress");
  expect(netlink.isRedirected("narut0", "narut1")).toBe(false);
  netlink.redirectArrivals("narut0", "narut1");
  netlink.deleteLink("narut1");
  netlink.addLink({ kind: "ifb", name: "narut1" });
  expect(netlink.isRedirected("narut0", "narut1")).toBe(false);
  netlink.deleteLinks(["narut0", "narut1"]);
});

test("limits are listed by link, with small and with large rates", () => {
  netlink.addLink({ kind: "bridge", name: "narut0" });
  const rate = { burstBytes: 16_384, queueBytes: 100_000 };
  expect(netlink.listLimits()).toEqual(new Map());
  for (const bytesPerSecond of [1000, 12_500_000_000]) {
    netlink.limitLink("narut0", { ...rate, bytesPerSecond });
    expect(netlink.listLimits()).toEqual(new Map([["narut0", bytesPerSecond]]));
  }
  Bun.spawnSync(["tc", "qdisc", "del", "dev", "narut0", "root"]);
  expect(netlink.listLimits()).toEqual(new Map());
  netlink.deleteLink("narut0");
});

test("the ruleset's generation stays until somebody changes a rule", () => {
  const first = rulesetGeneration();
  expect(rulesetGeneration()).toBe(first);
  expect(Bun.spawnSync(["nft", "add table inet narut"]).exitCode).toBe(0);
  const second = rulesetGeneration();
  expect(second).not.toBe(first);
  expect(Bun.spawnSync(["nft", "list ruleset"]).exitCode).toBe(0);
  expect(rulesetGeneration()).toBe(second);
});
