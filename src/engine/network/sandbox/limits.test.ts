import { expect, test } from "bun:test";

import { RecordingNetlink } from "#linux/netlink";

import type { BridgeEndpoint } from "../endpoint.ts";
import { limitInside, limitOutside, linksOf, restoreLimits } from "./limits.ts";

const endpoint: BridgeEndpoint = {
  bridge: "b",
  hostLink: "naru0123456789",
  containerLink: "eth0",
  macAddress: "",
  address: "",
  prefixLength: 24,
  gateway: null,
  mtu: 65_535,
  bandwidth: { egressBytesPerSecond: 1000, ingressBytesPerSecond: 12_500_000 },
};
const QUEUE = "naru0123456789q";
const SENT = { bytesPerSecond: 1000, burstBytes: 65_599, queueBytes: 65_649 };
const RECEIVED = { bytesPerSecond: 12_500_000, burstBytes: 65_599, queueBytes: 690_599 };

function withLink(): RecordingNetlink {
  const netlink = new RecordingNetlink();
  netlink.addLink({ kind: "dummy", name: endpoint.hostLink });
  netlink.calls.length = 0;
  return netlink;
}

test("both directions are limited on the host, and a burst holds a whole frame", () => {
  using netlink = withLink();
  limitOutside(netlink, endpoint);
  limitInside(netlink, endpoint);
  limitOutside(netlink, { ...endpoint, bandwidth: {} });
  expect(netlink.calls).toEqual([
    ["limitLink", endpoint.hostLink, RECEIVED],
    ["addLink", { kind: "ifb", name: QUEUE }],
    ["limitLink", QUEUE, SENT],
    ["setLink", QUEUE, { alias: "b", withoutIpv6Address: true, up: true }],
    ["redirectArrivals", endpoint.hostLink, QUEUE],
  ]);
  // A queue that an earlier birth left is taken as it is.
  limitOutside(netlink, endpoint);
  expect(linksOf(endpoint)).toEqual([endpoint.hostLink, QUEUE]);
  expect(linksOf({ ...endpoint, bandwidth: {} })).toEqual([endpoint.hostLink]);
});

test("a link without an end on the host is limited inside", () => {
  const inner = { ...endpoint, device: { kind: "macvlan", mode: "bridge" } } as const;
  using netlink = new RecordingNetlink();
  netlink.addLink({ kind: "dummy", name: "eth0" });
  netlink.calls.length = 0;
  limitOutside(netlink, inner);
  limitInside(netlink, inner);
  expect(netlink.calls).toEqual([["limitLink", "eth0", SENT]]);
});

test("whichever limit is gone is put back, and nothing else is touched", () => {
  using netlink = withLink();
  expect(restoreLimits(netlink, [{ ...endpoint, bandwidth: {} }])).toEqual([]);
  limitOutside(netlink, endpoint);
  expect(restoreLimits(netlink, [endpoint])).toEqual([]);
  netlink.deleteLink(QUEUE);
  expect(restoreLimits(netlink, [endpoint])).toEqual([endpoint.hostLink]);
  netlink.limitLink(QUEUE, { ...SENT, bytesPerSecond: 9e9 });
  expect(restoreLimits(netlink, [endpoint])).toEqual([endpoint.hostLink]);
  netlink.redirectArrivals(endpoint.hostLink, endpoint.hostLink);
  expect(restoreLimits(netlink, [endpoint])).toEqual([endpoint.hostLink]);
  expect(restoreLimits(netlink, [endpoint])).toEqual([]);
  // A container that is about to start has no link yet.
  expect(restoreLimits(netlink, [{ ...endpoint, hostLink: "naru9876543210" }])).toEqual([]);
});
