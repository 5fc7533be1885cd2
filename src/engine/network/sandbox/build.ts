/**
 * The supervisor's part of a container's network: the links of a newborn's namespace. The daemon has recorded
 * every name and address before; here they become real, in as few messages to the kernel as it takes.
 *
 * Order matters: a packet sent before port, bridge and container's end have noticed their carrier is lost, and
 * retried a second later. So the host's end comes up last, and then each is made to notice at once.
 */
import { closeSync, openSync, writeSync } from "node:fs";

import { wrap } from "#base";
import { inNetworkNamespace } from "#linux/namespace";
import { type Netlink, NetlinkError, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint, NetworkAttachment } from "../endpoint.ts";

export interface BuildRequest {
  /** A descriptor of the newborn's network namespace; stays the caller's. */
  readonly networkNamespace: number;
  readonly attachment: NetworkAttachment;
}

/**
 * Sets loopback up, makes each endpoint's veth straight into the namespace, and addresses and routes it.
 * Synchronous. The thread's own namespace is where the bridges are.
 * @throws EngineError; the links made so far die with the namespace, or by `removeLinks`
 */
export function buildNetwork({ networkNamespace, attachment }: BuildRequest): void {
  const { mode } = attachment;
  switch (mode) {
    case "shared":
      return;
    case "none": {
      using inside = inNetworkNamespace(networkNamespace, openNetlink);
      return inside.setLink("lo", { up: true });
    }
    case "bridge":
      return buildLinks(networkNamespace, attachment.endpoints);
  }
}

/** How long the kernel has to remove a link with its namespace before we do it. */
const LINK_GRACE_MS = 2000;
const leaving = new Set<string>();

/**
 * Sees to it that the host's ends of these links go. They die with the container's namespace, by the kernel's
 * own thread; deleting one here would block this process for 13 ms or more. What is left after a while (a
 * namespace that another container has joined lives on) is deleted then, all of it at once.
 */
export function removeLinks(endpoints: readonly BridgeEndpoint[]): void {
  if (endpoints.length === 0) return;
  if (leaving.size === 0) setTimeout(removeLeaving, LINK_GRACE_MS).unref();
  for (const { hostLink } of endpoints) leaving.add(hostLink);
}

function removeLeaving(): void {
  const names = [...leaving];
  leaving.clear();
  using outside = openNetlink();
  outside.deleteLinks(names);
}

function buildLinks(networkNamespace: number, endpoints: readonly BridgeEndpoint[]): void {
  using outside = openNetlink();
  try {
    for (const endpoint of endpoints) createVeth(outside, networkNamespace, endpoint);
    using inside = inNetworkNamespace(networkNamespace, () => {
      for (const { containerLink } of endpoints) disableIpv6(containerLink);
      return openNetlink();
    });
    inside.batch(() => {
      inside.setLink("lo", { up: true });
      for (const endpoint of endpoints) configure(inside, endpoint);
    });
    outside.batch(() => {
      for (const { hostLink, bridge } of endpoints) {
        outside.setLink(hostLink, { up: true, hairpin: true, withoutIpv6Address: true });
        outside.settleLink(hostLink);
        // A bridge whose first port this is has had no carrier either.
        outside.settleLink(bridge);
      }
    });
    inside.batch(() => {
      for (const { containerLink } of endpoints) inside.settleLink(containerLink);
    });
  } catch (cause) {
    throw wrap("failed to set up container networking", cause);
  }
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
}

function configure(inside: Netlink, endpoint: BridgeEndpoint): void {
  const { containerLink: link, address, prefixLength, gateway } = endpoint;
  inside.setLink(link, { up: true });
  inside.addAddress({ link, address, prefixLength });
  if (gateway !== null) inside.addRoute({ destination: null, gateway, link });
}

/** Before the link is up: afterwards it would have joined multicast groups and begun to look for routers. */
function disableIpv6(link: string): void {
  let file: number;
  try {
    file = openSync(`/proc/sys/net/ipv6/conf/${link}/disable_ipv6`, "w");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return; // A kernel without IPv6.
    throw thrown;
  }
  try {
    writeSync(file, "1");
  } finally {
    closeSync(file);
  }
}
