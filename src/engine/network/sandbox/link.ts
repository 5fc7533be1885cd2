/** One link of a container, step by step: made, prepared, configured inside, raised outside. */
import { closeSync, openSync, writeSync } from "node:fs";

import { type Netlink, NetlinkError, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint } from "../endpoint.ts";
import { limitInside, limitOutside } from "./limits.ts";

const DEFAULT_MTU = 1500;
const SMALLEST_IPV6_MTU = 1280;
/** What addresses of the link itself (169.254.0.0/16, fe80::/64) are part of. */
const LINK_LOCAL_PREFIX = { ipv4: 16, ipv6: 64 } as const;

/** Makes it straight into the container's namespace `fd`. */
export function createLink(outside: Netlink, fd: number, endpoint: BridgeEndpoint): void {
  const { device, bridge, hostLink, macAddress, mtu } = endpoint;
  if (!device) return createVeth(outside, fd, endpoint);
  const size = mtu === DEFAULT_MTU ? {} : { mtu };
  // Kernels before 6.13 refuse a name that some link of the host's namespace has, such as eth0: it is renamed inside.
  const common = { name: hostLink, parent: bridge, ...size, namespace: { fd } };
  // A link of the kind ipvlan has its parent's hardware address.
  if (device.kind === "ipvlan") outside.addLink({ ...common, ...device });
  else outside.addLink({ ...common, ...device, macAddress });
}

function createVeth(outside: Netlink, fd: number, endpoint: BridgeEndpoint): void {
  const { bridge, hostLink, containerLink, macAddress, mtu } = endpoint;
  const add = () =>
    outside.addLink({
      kind: "veth",
      name: hostLink,
      mtu,
      master: bridge,
      peer: { name: containerLink, macAddress, mtu, namespace: { fd } },
    });
  try {
    add();
  } catch (thrown) {
    if (!(thrown instanceof NetlinkError) || thrown.code !== "EEXIST") throw thrown;
    // A birth that failed half-way left it; the name is recorded as ours.
    outside.deleteLink(hostLink);
    add();
  }
  // Before it is up: nothing passes unlimited.
  limitOutside(outside, endpoint);
}

/** With this thread in the container's namespace, before the link is up. */
export function prepareLink(endpoint: BridgeEndpoint): void {
  const { containerLink: link, hostLink, device, ipv6, sysctls = [] } = endpoint;
  if (device) {
    using inside = openNetlink();
    inside.setLink(hostLink, { name: link });
  }
  // Afterwards it would have joined multicast groups and begun to look for routers.
  if (ipv6 === undefined) writeSetting(`ipv6/conf/${link}/disable_ipv6`, "1");
  else {
    writeSetting(`ipv6/conf/${link}/disable_ipv6`, "0");
    // Its routes are the engine's: a neighbour's advertisement must not change them.
    writeSetting(`ipv6/conf/${link}/accept_ra`, "0");
  }
  for (const { family, section, name, value } of sysctls) {
    writeSetting(`${family}/${section}/${link}/${name}`, value);
  }
}

/** Up, with addresses and default routes, by a socket of the container's namespace; may be in a batch. */
export function configureLink(inside: Netlink, endpoint: BridgeEndpoint): void {
  inside.setLink(endpoint.containerLink, { up: true });
  addressLink(inside, endpoint);
}

/** Addresses and default routes of a link that is up, and its limit before there is anything to send. */
export function addressLink(inside: Netlink, endpoint: BridgeEndpoint): void {
  const { containerLink: link, address, prefixLength, ipv6, linkLocal = [] } = endpoint;
  limitInside(inside, endpoint);
  if (address !== "") inside.addAddress({ link, address, prefixLength });
  if (ipv6) inside.addAddress({ link, address: ipv6.address, prefixLength: ipv6.prefixLength });
  for (const extra of linkLocal) {
    const family = extra.includes(":") ? "ipv6" : "ipv4";
    inside.addAddress({ link, address: extra, prefixLength: LINK_LOCAL_PREFIX[family] });
  }
  const { defaultRoute } = endpoint;
  for (const family of ["ipv4", "ipv6"] as const) {
    if (!defaultRoute || defaultRoute[family]) addDefaultRoute(inside, endpoint, family);
  }
}

/** Nothing where the network has no gateway. */
export function addDefaultRoute(
  inside: Netlink,
  endpoint: BridgeEndpoint,
  family: "ipv4" | "ipv6",
): void {
  const route = defaultRouteOf(endpoint, family);
  if (route) inside.addRoute(route);
}

/** A link without the route is no error. */
export function removeDefaultRoute(
  inside: Netlink,
  endpoint: BridgeEndpoint,
  family: "ipv4" | "ipv6",
): void {
  const route = defaultRouteOf(endpoint, family);
  if (route) inside.deleteRoute(route);
}

function defaultRouteOf(endpoint: BridgeEndpoint, family: "ipv4" | "ipv6") {
  const { containerLink: link, device } = endpoint;
  const gateway = family === "ipv4" ? endpoint.gateway : (endpoint.ipv6?.gateway ?? null);
  if (gateway === null || (family === "ipv4" && endpoint.address === "")) return null;
  // In its layer 3 modes an ipvlan link asks nobody for hardware addresses: everything is beyond it.
  const isLayer3 = device?.kind === "ipvlan" && device.mode !== "l2";
  return { destination: null, gateway: isLayer3 ? null : gateway, link, family };
}

/** The host's end of a veth. */
export function raisePort(outside: Netlink, endpoint: BridgeEndpoint): void {
  const { hostLink, bridge, isolated, device, mtu } = endpoint;
  if (device) return;
  outside.setLink(hostLink, {
    up: true,
    hairpin: true,
    // The kernel has no IPv6 at all on a link with less, and refuses to be asked.
    withoutIpv6Address: mtu >= SMALLEST_IPV6_MTU,
    ...(isolated ? { isolated } : {}),
  });
  outside.settleLink(hostLink);
  // A bridge whose first port this is has had no carrier either.
  outside.settleLink(bridge);
}

function writeSetting(path: string, value: string): void {
  let file: number;
  try {
    file = openSync(`/proc/sys/net/${path}`, "w");
  } catch (thrown) {
    const isMissing = (thrown as NodeJS.ErrnoException).code === "ENOENT";
    if (isMissing && path.startsWith("ipv6/")) return; // A kernel without IPv6.
    throw thrown;
  }
  try {
    writeSync(file, value);
  } finally {
    closeSync(file);
  }
}
