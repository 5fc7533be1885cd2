/**
 * Network namespaces made ahead, each with loopback and a veth into a bridge, up and waiting for its name and
 * addresses: a birth that finds one saves the making, 1.5 ms. They are like the last container's, since the next is
 * often alike. Nothing is recorded of them: they live by this process' descriptor, and the kernel removes one with
 * its link when that is closed, whatever ends the process.
 */

import { attempt } from "#linux/ffi";
import { inNetworkNamespace, newNetworkNamespace } from "#linux/namespace";
import { type Netlink, NetlinkError, openNetlink } from "#linux/netlink";

import type { BridgeEndpoint, LinkKind, NetworkAttachment } from "../endpoint.ts";
import { limitOutside } from "./limits.ts";
import { addressLink, createLink, prepareLink, raisePort } from "./link.ts";

/** A spare belongs to whoever took it; disposing lets go of it, and without a process in it it is gone then. */
export interface SpareNamespace extends Disposable {
  readonly namespace: number;
  readonly kind: LinkKind;
  /** Its link's name on the host until it is used. */
  readonly hostLink: string;
  /** Sockets into it and into the host's namespace: a birth opens none. */
  readonly inside: Netlink;
  readonly outside: Netlink;
}

/** Links so named are no container's: they go with the process that made them. */
export const SPARE_PREFIX = "narusp";
/** A start is followed by another now and then, seldom by a third at once. */
const SPARES = 2;
/** After a start: whoever waits for it, and for its end, goes first. */
const REFILL_MS = 50;

export class SpareNamespaces implements Disposable {
  readonly #warn: (thrown: unknown) => void;
  #spares: SpareNamespace[] = [];
  #timer: Timer | null = null;
  #outside: Netlink | null = null;

  constructor(warn: (thrown: unknown) => void) {
    this.#warn = warn;
  }

  /** One that will do for these links, or null. Others like it are made when things are quiet again. */
  take(wanted: NetworkAttachment | LinkKind): SpareNamespace | null {
    const kind = "mode" in wanted ? kindOf(wanted) : wanted;
    if (kind === null) return null;
    this.#timer ??= setTimeout(() => this.#refill(kind), REFILL_MS).unref();
    if (!this.#spares.every((spare) => isAlike(spare.kind, kind))) this.#drop();
    return this.#spares.pop() ?? null;
  }

  [Symbol.dispose](): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#drop();
    this.#outside?.[Symbol.dispose]();
    this.#outside = null;
  }

  #drop(): void {
    for (const spare of this.#spares.splice(0)) spare[Symbol.dispose]();
  }

  /** One at a time: whoever starts a container meanwhile waits for one at most. */
  #refill(kind: LinkKind): void {
    this.#timer = null;
    try {
      this.#outside ??= openNetlink();
      this.#spares.push(make(kind, this.#outside));
    } catch (thrown) {
      // The bridge may be gone by now. A birth makes its own.
      return this.#warn(thrown);
    }
    if (this.#spares.length < SPARES) {
      this.#timer = setTimeout(() => this.#refill(kind), REFILL_MS).unref();
    }
  }
}

export function isSpareFor({ kind }: SpareNamespace, attachment: NetworkAttachment): boolean {
  const wanted = kindOf(attachment);
  return wanted !== null && isAlike(kind, wanted);
}

/** Null for what is too special to be made ahead. */
function kindOf(attachment: NetworkAttachment): LinkKind | null {
  if (attachment.mode !== "bridge" || attachment.endpoints.length !== 1) return null;
  const [endpoint] = attachment.endpoints;
  if (!endpoint || endpoint.device || endpoint.ipv6 || endpoint.isolated) return null;
  if ((endpoint.sysctls?.length ?? 0) > 0) return null;
  const { bridge, containerLink, mtu } = endpoint;
  return { bridge, containerLink, mtu };
}

const isAlike = (one: LinkKind, other: LinkKind): boolean =>
  one.bridge === other.bridge && one.containerLink === other.containerLink && one.mtu === other.mtu;

function make(kind: LinkKind, outside: Netlink): SpareNamespace {
  const namespace = newNetworkNamespace();
  using undo = new DisposableStack();
  undo.defer(() => void attempt("close", namespace));
  // Locally administered: the container's own address comes with its name.
  const hostLink = `${SPARE_PREFIX}${randomHex(4)}`;
  const macAddress = `02:${randomHex(5).match(/../g)?.join(":")}`;
  const endpoint = { ...kind, hostLink, macAddress, address: "", prefixLength: 0, gateway: null };
  createLink(outside, namespace, endpoint);
  const inside = inNetworkNamespace(namespace, () => {
    prepareLink(endpoint);
    return openNetlink();
  });
  undo.defer(() => inside[Symbol.dispose]());
  inside.batch(() => {
    inside.setLink("lo", { up: true });
    inside.setLink(kind.containerLink, { up: true });
  });
  outside.batch(() => raisePort(outside, endpoint));
  inside.settleLink(kind.containerLink);
  const owned = undo.move();
  return {
    namespace,
    kind,
    hostLink,
    inside,
    outside,
    [Symbol.dispose]: () => owned.dispose(),
  };
}

/** Gives a spare its container's names and addresses. @throws NetlinkError */
export function useSpare(spare: SpareNamespace, endpoint: BridgeEndpoint): void {
  const { inside, outside } = spare;
  const { hostLink, bridge, macAddress } = endpoint;
  // The bridge may be another by now, with the same name.
  const rename = () => outside.setLink(spare.hostLink, { name: hostLink, master: bridge });
  try {
    rename();
  } catch (thrown) {
    const code = thrown instanceof NetlinkError ? thrown.code : null;
    // A birth that failed half-way left it; the name is recorded as ours.
    if (code === "EEXIST") outside.deleteLink(hostLink);
    // Before Linux 6.2 a link that is up keeps its name.
    else if (code === "EBUSY") outside.setLink(spare.hostLink, { up: false });
    else throw thrown;
    rename();
    raisePort(outside, endpoint);
  }
  limitOutside(outside, endpoint);
  inside.batch(() => {
    inside.setLink(endpoint.containerLink, { macAddress });
    addressLink(inside, endpoint);
  });
}

/** The Web's source of randomness: node:crypto would cost the supervisor a megabyte. */
const randomHex = (bytes: number): string => crypto.getRandomValues(new Uint8Array(bytes)).toHex();
