/**
 * Limits of bandwidth in the kernel. Both are kept on the host, where no container gets at them: what it receives waits
 * in a token bucket at the host's end of its veth; what it sends passes, as it arrives there, a queue of its own, a link
 * of the kind ifb. (Measured beside nftables' `limit`: that overshoots by 30-70 %, since it drops instead of queueing.)
 * The queue does not die with the container's namespace: it is deleted with the veth, and noted with the bridge's name.
 *
 * Links without an end on the host (macvlan, ipvlan), and kernels that cannot redirect, keep what is sent inside.
 */
import { type LinkRate, type Netlink, NetlinkError } from "#linux/netlink";

import type { BridgeEndpoint } from "../endpoint.ts";

/** What may pass at once after a pause, beyond one packet: 4 ms of the rate. */
const BURST_SECONDS = 0.004;
const SMALLEST_BURST_BYTES = 16_384;
const FRAME_BYTES = 64;
/** What waits longer is dropped, and TCP slows down. */
const QUEUE_SECONDS = 0.05;
/** A kernel without ifb, ingress, u32 or mirred. */
const NOT_SUPPORTED: ReadonlySet<string> = new Set(["EOPNOTSUPP", "ENOENT"]);

let canRedirect = true;

/** The queue that belongs to a container's link: `naru0123456789q`. */
export const queueOf = (hostLink: string): string => `${hostLink}q`;

const QUEUE = /^naru[0-9a-f]{10}q$/;

/** Whether a link looks like a queue of ours. */
export const isQueue = ({ name, kind }: { name: string; kind: string | null }): boolean =>
  kind === "ifb" && QUEUE.test(name);

/** Of an endpoint: the links that go when it goes. */
export const linksOf = ({ hostLink, bandwidth }: BridgeEndpoint): string[] =>
  bandwidth?.egressBytesPerSecond === undefined ? [hostLink] : [hostLink, queueOf(hostLink)];

/** By a socket of the host's namespace, where the link's end is there already; not in a batch. May run twice. */
export function limitOutside(outside: Netlink, endpoint: BridgeEndpoint): void {
  const { hostLink, bandwidth, device } = endpoint;
  if (bandwidth === undefined || device) return;
  const { egressBytesPerSecond: sends, ingressBytesPerSecond: receives } = bandwidth;
  if (receives !== undefined) outside.limitLink(hostLink, bucketOf(receives, endpoint));
  if (sends === undefined || !canRedirect) return;
  try {
    redirect(outside, endpoint, sends);
  } catch (thrown) {
    if (!(thrown instanceof NetlinkError) || !NOT_SUPPORTED.has(thrown.code)) throw thrown;
    canRedirect = false;
  }
}

function redirect(outside: Netlink, endpoint: BridgeEndpoint, rate: number): void {
  const { hostLink, bridge } = endpoint;
  const queue = queueOf(hostLink);
  try {
    outside.addLink({ kind: "ifb", name: queue });
  } catch (thrown) {
    if (!(thrown instanceof NetlinkError) || thrown.code !== "EEXIST") throw thrown;
  }
  outside.limitLink(queue, bucketOf(rate, endpoint));
  outside.setLink(queue, { alias: bridge, withoutIpv6Address: true, up: true });
  outside.redirectArrivals(hostLink, queue);
}

/** What cannot be kept on the host; by a socket of the container's namespace. */
export function limitInside(inside: Netlink, endpoint: BridgeEndpoint): void {
  const rate = endpoint.bandwidth?.egressBytesPerSecond;
  if (rate === undefined || (canRedirect && !endpoint.device)) return;
  inside.limitLink(endpoint.containerLink, bucketOf(rate, endpoint));
}

/**
 * Restores what another program took off the host's ends of links that are there.
 * @returns the host's ends that were no longer limited
 */
export function restoreLimits(outside: Netlink, endpoints: readonly BridgeEndpoint[]): string[] {
  const limited = endpoints.filter(({ bandwidth, device }) => bandwidth && !device);
  if (limited.length === 0) return [];
  const limits = outside.listLimits();
  const restored: string[] = [];
  for (const endpoint of limited) {
    const { hostLink } = endpoint;
    if (isLimited(outside, endpoint, limits) || outside.getLink(hostLink) === null) continue;
    limitOutside(outside, endpoint);
    restored.push(hostLink);
  }
  return restored;
}

function isLimited(
  outside: Netlink,
  { hostLink, bandwidth = {} }: BridgeEndpoint,
  limits: ReadonlyMap<string, number>,
): boolean {
  const { egressBytesPerSecond: sends, ingressBytesPerSecond: receives } = bandwidth;
  const queue = queueOf(hostLink);
  if (receives !== undefined && limits.get(hostLink) !== receives) return false;
  if (sends === undefined || !canRedirect) return true;
  return limits.get(queue) === sends && outside.isRedirected(hostLink, queue);
}

function bucketOf(bytesPerSecond: number, { mtu }: BridgeEndpoint): LinkRate {
  const burstBytes = Math.max(
    Math.ceil(bytesPerSecond * BURST_SECONDS),
    SMALLEST_BURST_BYTES,
    mtu + FRAME_BYTES,
  );
  const queueBytes = burstBytes + Math.ceil(bytesPerSecond * QUEUE_SECONDS);
  return { bytesPerSecond, burstBytes, queueBytes };
}
