import { afterAll, beforeAll, expect, jest, test } from "bun:test";
import { closeSync, openSync } from "node:fs";

import { checked } from "#linux/ffi";
import { inNetworkNamespace } from "#linux/namespace";
import { type Netlink, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint, NetworkAttachment } from "../endpoint.ts";
import { buildNetwork } from "./build.ts";
import { SpareNamespaces } from "./spares.ts";

const CLONE_NEWNET = 0x40000000;

/** This thread lives in a namespace of its own while the file runs. */
let home = -1;
let outside: Netlink;
beforeAll(() => {
  home = openSync("/proc/thread-self/ns/net", "r");
  checked("unshare", "net", CLONE_NEWNET);
  outside = openNetlink();
  outside.addLink({ kind: "bridge", name: "narut0" });
  outside.setLink("narut0", { up: true });
  jest.useFakeTimers();
});
afterAll(() => {
  jest.useRealTimers();
  outside[Symbol.dispose]();
  checked("setns", "net", home, CLONE_NEWNET);
  closeSync(home);
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
const one: NetworkAttachment = { mode: "bridge", endpoints: [endpoint] };
const spareLinks = () => outside.listLinks().filter(({ name }) => name.startsWith("narusp"));
const fail = (thrown: unknown) => {
  throw thrown;
};
const untilRefilled = () => {
  jest.advanceTimersByTime(60);
  jest.advanceTimersByTime(60);
};

test("a spare becomes the link that was decided, and others are made when things are quiet", () => {
  using spares = new SpareNamespaces(fail);
  expect(spares.take(one)).toBeNull();
  expect(spareLinks()).toEqual([]);
  untilRefilled();
  expect(spareLinks()).toHaveLength(2);
  using spare = spares.take(one);
  if (spare === null) throw new Error("no spare was made");
  buildNetwork({ networkNamespace: spare.namespace, attachment: one, spare });
  using inside = inNetworkNamespace(spare.namespace, openNetlink);
  const { macAddress, mtu } = endpoint;
  expect(inside.getLink("eth0")).toMatchObject({ macAddress, mtu, up: true });
  expect(inside.getLink("lo")?.up).toBe(true);
  const { address, prefixLength } = endpoint;
  expect(inside.listAddresses()).toContainEqual({ link: "eth0", address, prefixLength });
  expect(inside.listAddresses("ipv6").filter(({ link }) => link === "eth0")).toEqual([]);
  expect(inside.listRoutes()).toContainEqual(expect.objectContaining({ gateway: "10.9.0.1" }));
  expect(outside.getLink(endpoint.hostLink)).toMatchObject({ up: true, mtu });
  expect(spareLinks()).toHaveLength(1);
  untilRefilled();
  expect(spareLinks()).toHaveLength(2);
});

test("a link that a failed birth left under the recorded name is replaced", () => {
  using spares = new SpareNamespaces(fail);
  spares.take(one);
  untilRefilled();
  const { hostLink } = endpoint;
  if (outside.getLink(hostLink) === null) {
    outside.addLink({ kind: "veth", name: hostLink, peer: { name: "narutpeer" } });
  }
  using spare = spares.take(one);
  if (spare === null) throw new Error("no spare was made");
  buildNetwork({ networkNamespace: spare.namespace, attachment: one, spare });
  expect(outside.getLink(hostLink)?.mtu).toBe(1400);
});

test("what is not alike gets none, and a container of another kind changes what is made", () => {
  using spares = new SpareNamespaces(fail);
  const with6 = { ...endpoint, ipv6: { address: "fd00::2", prefixLength: 64, gateway: null } };
  const special: NetworkAttachment[] = [
    { mode: "none" },
    { mode: "shared" },
    { mode: "bridge", endpoints: [endpoint, endpoint] },
    { mode: "bridge", endpoints: [with6] },
    { mode: "bridge", endpoints: [{ ...endpoint, isolated: true }] },
  ];
  for (const attachment of special) expect(spares.take(attachment)).toBeNull();
  untilRefilled();
  spares.take(one)?.[Symbol.dispose]();
  untilRefilled();
  expect(spares.take({ mode: "bridge", endpoints: [{ ...endpoint, mtu: 1300 }] })).toBeNull();
});

test("a bridge that is gone is no accident", () => {
  const warned: unknown[] = [];
  using spares = new SpareNamespaces((thrown) => warned.push(thrown));
  const gone: NetworkAttachment = {
    mode: "bridge",
    endpoints: [{ ...endpoint, bridge: "narut9" }],
  };
  spares.take(gone);
  untilRefilled();
  expect(warned).toHaveLength(1);
  expect(spares.take(gone)).toBeNull();
});
