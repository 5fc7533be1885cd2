/**
 * The supervisor's part of a container's network: the links of a newborn's namespace. The daemon has recorded
 * every name and address before; here they become real, in as few messages to the kernel as it takes.
 *
 * Order matters: a packet sent before port, bridge and container's end have noticed their carrier is lost, and
 * retried a second later. So the host's end comes up last, and then each is made to notice at once.
 */
import { wrap } from "#base";
import { inNetworkNamespace } from "#linux/namespace";
import { NetlinkError, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint, NetworkAttachment } from "../endpoint.ts";
import { type SpareNamespace, useSpare } from "./spares.ts";
import { moveDevices } from "./devices.ts";
import { linksOf } from "./limits.ts";
import { configureLink, createLink, prepareLink, raisePort } from "./link.ts";

export interface BuildRequest {
  /** A descriptor of the newborn's network namespace; stays the caller's. */
  readonly networkNamespace: number;
  readonly attachment: NetworkAttachment;
  /** Taken for this attachment; the newborn is in its namespace. */
  readonly spare?: SpareNamespace | null;
}

/**
 * Sets loopback up, makes each endpoint's veth straight into the namespace, and addresses and routes it.
 * Synchronous. The thread's own namespace is where the bridges are.
 * @throws EngineError; the links made so far die with the namespace, or by `removeLinks`
 */
export function buildNetwork({ networkNamespace, attachment, spare = null }: BuildRequest): void {
  const { mode } = attachment;
  switch (mode) {
    case "shared":
      return;
    case "none": {
      using inside = inNetworkNamespace(networkNamespace, openNetlink);
      inside.setLink("lo", { up: true });
      break;
    }
    case "bridge":
      if (spare !== null) fitSpare(spare, attachment.endpoints);
      else buildLinks(networkNamespace, attachment.endpoints);
  }
  if (attachment.devices !== undefined) moveDevices(networkNamespace, attachment.devices);
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
  for (const name of endpoints.flatMap(linksOf)) leaving.add(name);
}

function removeLeaving(): void {
  const names = [...leaving];
  leaving.clear();
  using outside = openNetlink();
  outside.deleteLinks(names);
}

function fitSpare(spare: SpareNamespace, endpoints: readonly BridgeEndpoint[]): void {
  try {
    for (const endpoint of endpoints) useSpare(spare, endpoint);
  } catch (cause) {
    // Somebody has deleted its link, and so both of its ends: what is left is an empty namespace.
    const isEmpty = cause instanceof NetlinkError && cause.code === "ENODEV";
    if (isEmpty) return buildLinks(spare.namespace, endpoints);
    throw wrap("failed to set up container networking", cause);
  }
}

function buildLinks(networkNamespace: number, endpoints: readonly BridgeEndpoint[]): void {
  using outside = openNetlink();
  try {
    for (const endpoint of endpoints) createLink(outside, networkNamespace, endpoint);
    using inside = inNetworkNamespace(networkNamespace, () => {
      for (const endpoint of endpoints) prepareLink(endpoint);
      return openNetlink();
    });
    inside.batch(() => {
      inside.setLink("lo", { up: true });
      for (const endpoint of endpoints) configureLink(inside, endpoint);
    });
    outside.batch(() => {
      for (const endpoint of endpoints) raisePort(outside, endpoint);
    });
    inside.batch(() => {
      for (const { containerLink } of endpoints) inside.settleLink(containerLink);
    });
  } catch (cause) {
    throw wrap("failed to set up container networking", cause);
  }
}
