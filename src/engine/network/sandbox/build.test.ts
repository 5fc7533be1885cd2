import { afterAll, beforeAll, expect, jest, test } from "bun:test";
import { closeSync, openSync } from "node:fs";

import { checked } from "#linux/ffi";
import { inNetworkNamespace } from "#linux/namespace";
import { type Netlink, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint } from "../endpoint.ts";
import { buildNetwork, removeLinks } from "./build.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs; the container's is a second one. */
let home = -1;
let container = -1;
let outside: Netlink;
let inside: Netlink;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  container = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  outside = openNetlink();
  inside = inNetworkNamespace(container, openNetlink);
  outside.addLink({ kind: "bridge", name: "narut0", mtu: 1400 });
  outside.setLink("narut0", { up: true });
});
afterAll(() => {
  for (const netlink of [inside, outside]) netlink[Symbol.dispose]();
  checked("setns", "net", home, CLONE_NEWNET);
  for (const fd of [container, home]) closeSync(fd);
});

const endpoint: BridgeEndpoint = {
  bridge: "narut0",
  hostLink: "naru0123456789",
  containerLink: "eth0",
  macAddress: "02:42:0a:09:00:02",
  address: "10.9.0.2",
  prefixLength: 24,
  gateway: "10.9.0.1",
  mtu: 1400,
};
const build = (endpoints: readonly BridgeEndpoint[]) =>
  buildNetwork({ networkNamespace: container, attachment: { mode: "bridge", endpoints } });

test("without a network there is loopback, and nothing is built in a shared namespace", () => {
  buildNetwork({ networkNamespace: container, attachment: { mode: "shared" } });
  expect(inside.getLink("lo")?.up).toBe(false);
  buildNetwork({ networkNamespace: container, attachment: { mode: "none" } });
  expect(inside.getLink("lo")?.up).toBe(true);
  expect(inside.listLinks()).toHaveLength(1);
});

test("an endpoint becomes a link as it was decided", () => {
  build([endpoint]);
  const { macAddress, mtu } = endpoint;
  expect(inside.getLink("eth0")).toMatchObject({ macAddress, mtu, up: true });
  expect(inside.listAddresses()).toContainEqual({
    link: "eth0",
    address: "10.9.0.2",
    prefixLength: 24,
  });
  expect(inside.listRoutes()).toContainEqual({
    destination: null,
    gateway: "10.9.0.1",
    link: "eth0",
  });
  expect(outside.getLink(endpoint.hostLink)).toMatchObject({ up: true, mtu });
});

test("what a birth that failed half-way left under the name is replaced", () => {
  const before = outside.getLink(endpoint.hostLink)?.index;
  build([endpoint]);
  expect(outside.getLink(endpoint.hostLink)?.index).not.toBe(before);
  outside.deleteLink(endpoint.hostLink);
});

test("a bridge that is not there is an error that names it", () => {
  expect(() => build([{ ...endpoint, bridge: "narut7" }])).toThrow(
    "failed to set up container networking: link get narut7: no such device",
  );
  expect(inside.getLink("eth0")).toBeNull();
});

test("links of a namespace that lives on are deleted when the kernel had its time", () => {
  build([endpoint]);
  jest.useFakeTimers();
  try {
    removeLinks([endpoint, { ...endpoint, hostLink: "naru9876543210" }]);
    expect(outside.getLink(endpoint.hostLink)).not.toBeNull();
    jest.advanceTimersByTime(10_000);
  } finally {
    jest.useRealTimers();
  }
  expect(outside.getLink(endpoint.hostLink)).toBeNull();
});
