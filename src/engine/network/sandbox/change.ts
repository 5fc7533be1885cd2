/** Links of a container that runs: one more, one less, and default routes that move between them. */
import { closeSync } from "node:fs";

import { inNetworkNamespace, openNamespace } from "#linux/namespace";
import { openNetlink } from "#linux/netlink";

import type { BridgeEndpoint } from "../endpoint.ts";
import {
  addDefaultRoute,
  configureLink,
  createLink,
  prepareLink,
  raisePort,
  removeDefaultRoute,
} from "./link.ts";
import { linksOf } from "./limits.ts";

const FAMILIES = ["ipv4", "ipv6"] as const;

export interface LinkChange {
  /** A process of the container, whose network namespace it is. */
  readonly pid: number;
  readonly added?: BridgeEndpoint;
  readonly removed?: BridgeEndpoint;
  /** The links that stay, as they were and as they will be. */
  readonly stayed: readonly { readonly before: BridgeEndpoint; readonly after: BridgeEndpoint }[];
}

/**
 * Carries a change out. Synchronous.
 * @throws EngineError, SyscallError; a link that was made half-way is the caller's to remove, by its name
 */
export function changeLinks({ pid, added, removed, stayed }: LinkChange): void {
  const namespace = openNamespace(pid, "net");
  try {
    using outside = openNetlink();
    if (added) createLink(outside, namespace, added);
    using inside = inNetworkNamespace(namespace, () => {
      if (added) prepareLink(added);
      return openNetlink();
    });
    // Routes leave before others come: two default routes of one kind exclude each other.
    for (const { before, after } of stayed) {
      for (const family of FAMILIES) {
        if (leads(before, family) && !leads(after, family)) {
          removeDefaultRoute(inside, before, family);
        }
      }
    }
    if (removed) {
      if (removed.device) inside.deleteLink(removed.containerLink);
      else outside.deleteLinks(linksOf(removed));
    }
    if (added) {
      configureLink(inside, added);
      raisePort(outside, added);
      inside.settleLink(added.containerLink);
    }
    for (const { before, after } of stayed) {
      for (const family of FAMILIES) {
        if (!leads(before, family) && leads(after, family)) addDefaultRoute(inside, after, family);
      }
    }
  } finally {
    closeSync(namespace);
  }
}

const leads = ({ defaultRoute }: BridgeEndpoint, family: "ipv4" | "ipv6"): boolean =>
  !defaultRoute || defaultRoute[family];

/** Takes a link away that was made half-way, wherever it is. */
export function removeLink(pid: number, endpoint: BridgeEndpoint): void {
  if (!endpoint.device) {
    using outside = openNetlink();
    outside.deleteLinks(linksOf(endpoint));
    return;
  }
  const namespace = openNamespace(pid, "net");
  try {
    using inside = inNetworkNamespace(namespace, openNetlink);
    inside.deleteLink(endpoint.containerLink);
  } finally {
    closeSync(namespace);
  }
}

/** The names of links in a process' network namespace. */
export function linkNamesIn(pid: number): Set<string> {
  const namespace = openNamespace(pid, "net");
  try {
    using inside = inNetworkNamespace(namespace, openNetlink);
    return new Set(inside.listLinks().map(({ name }) => name));
  } finally {
    closeSync(namespace);
  }
}
