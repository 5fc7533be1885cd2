/**
 * Queues of links: a token bucket at the root (qdisc tbf), so that what leaves the link leaves it no faster, and a
 * redirect of everything that arrives (qdisc ingress, filter u32, action mirred) through another link's queue.
 * Source: include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h, tc_act/tc_mirred.h.
 */
import { allocate } from "#linux/ffi";

import { attributesIn, type MessageWriter, readText, readU32, viewOf } from "./message.ts";
import type { LinkRate } from "./netlink.ts";

export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_GETQDISC = 38;
export const RTM_NEWTFILTER = 44;
export const RTM_GETTFILTER = 46;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
const TCMSG_BYTES = 20;
const TC_H_ROOT = 0xff_ff_ff_ff;
const TC_H_INGRESS = 0xff_ff_ff_f1;
/** Where filters of arriving packets are attached. */
const INGRESS_HANDLE = 0xff_ff_00_00;
/** struct tc_tbf_qopt: two struct tc_ratespec, limit, buffer, mtu. */
const TBF_QOPT_BYTES = 36;
const RATE_OFFSET = 8;
const LIMIT_OFFSET = 24;
/** Known, so that the kernel needs no table of rates from us. */
const TC_LINKLAYER_ETHERNET = 1;
const LARGEST_U32 = 0xff_ff_ff_ff;

const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
/** struct tc_u32_sel with one struct tc_u32_key: all zero, which every packet matches. */
const U32_SELECTOR_BYTES = 32;
const U32_FIRST_HANDLE = 0x80_00_08_00;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
/** struct tc_mirred: tc_gen (index, capab, action, two counts), eaction, ifindex. */
const MIRRED_BYTES = 28;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
const FILTER_PRIORITY = 1;
const ETH_P_ALL = 3;

interface TrafficControl {
  readonly index: number;
  readonly handle?: number;
  readonly parent: number;
  readonly info?: number;
}

/** struct tcmsg. */
function headerOf({ index, handle = 0, parent, info = 0 }: TrafficControl): Uint8Array {
  const header = allocate(TCMSG_BYTES);
  const view = viewOf(header);
  view.setInt32(4, index, true);
  view.setUint32(8, handle, true);
  view.setUint32(12, parent, true);
  view.setUint32(16, info, true);
  return header;
}

export function writeTokenBucket(message: MessageWriter, index: number, rate: LinkRate): void {
  const { bytesPerSecond, burstBytes, queueBytes } = rate;
  const parameters = allocate(TBF_QOPT_BYTES);
  const view = viewOf(parameters);
  parameters[1] = TC_LINKLAYER_ETHERNET;
  view.setUint32(RATE_OFFSET, Math.min(bytesPerSecond, LARGEST_U32), true);
  view.setUint32(LIMIT_OFFSET, Math.min(queueBytes, LARGEST_U32), true);
  message.fixed(headerOf({ index, parent: TC_H_ROOT })).text(TCA_KIND, "tbf");
  message.nest(TCA_OPTIONS, (options) => {
    options.attribute(TCA_TBF_PARMS, parameters).u32(TCA_TBF_BURST, burstBytes);
    if (bytesPerSecond <= LARGEST_U32) return;
    const large = allocate(8);
    viewOf(large).setBigUint64(0, BigInt(bytesPerSecond), true);
    options.attribute(TCA_TBF_RATE64, large);
  });
}

/** All queues of all links. */
export const writeAllQueues = (message: MessageWriter): void =>
  void message.fixed(headerOf({ index: 0, parent: 0 }));

/** @returns null for a queue that is no token bucket */
export function readTokenBucket(
  body: Uint8Array,
): { readonly index: number; readonly bytesPerSecond: number } | null {
  const attributes = attributesIn(body, TCMSG_BYTES);
  const view = viewOf(body);
  if (readText(attributes.get(TCA_KIND)) !== "tbf" || view.getUint32(12, true) !== TC_H_ROOT) {
    return null;
  }
  const options = attributesIn(attributes.get(TCA_OPTIONS) ?? new Uint8Array(0), 0);
  const parameters = options.get(TCA_TBF_PARMS);
  const large = options.get(TCA_TBF_RATE64);
  if (parameters === undefined || parameters.length < TBF_QOPT_BYTES) return null;
  const bytesPerSecond =
    large !== undefined && large.length >= 8
      ? Number(viewOf(large).getBigUint64(0, true))
      : viewOf(parameters).getUint32(RATE_OFFSET, true);
  return { index: view.getInt32(4, true), bytesPerSecond };
}

/** The place where filters of what arrives are: adding it, and taking it away with them. */
export const writeArrivals = (message: MessageWriter, index: number): void =>
  void message
    .fixed(headerOf({ index, handle: INGRESS_HANDLE, parent: TC_H_INGRESS }))
    .text(TCA_KIND, "ingress");

export function writeRedirect(message: MessageWriter, index: number, target: number): void {
  const info = ((FILTER_PRIORITY << 16) | (ETH_P_ALL << 8)) >>> 0;
  const header = { index, handle: U32_FIRST_HANDLE, parent: INGRESS_HANDLE, info };
  const selector = allocate(U32_SELECTOR_BYTES);
  selector[0] = TC_U32_TERMINAL;
  selector[2] = 1; // keys
  const parameters = allocate(MIRRED_BYTES);
  const view = viewOf(parameters);
  view.setInt32(8, TC_ACT_STOLEN, true);
  view.setInt32(20, TCA_EGRESS_REDIR, true);
  view.setUint32(24, target, true);
  message.fixed(headerOf(header)).text(TCA_KIND, "u32");
  message.nest(TCA_OPTIONS, (options) => {
    options.attribute(TCA_U32_SEL, selector);
    options.nest(TCA_U32_ACT, (actions) => {
      actions.nest(1, (action) => {
        action.text(TCA_ACT_KIND, "mirred");
        action.nest(TCA_ACT_OPTIONS, (chosen) => chosen.attribute(TCA_MIRRED_PARMS, parameters));
      });
    });
  });
}

/** All filters of what arrives at one link. */
export const writeArrivalFilters = (message: MessageWriter, index: number): void =>
  void message.fixed(headerOf({ index, parent: INGRESS_HANDLE }));

/** @returns the index of the link that a filter redirects everything to; null for any other filter */
export function readRedirect(body: Uint8Array): number | null {
  const nothing = new Uint8Array(0);
  const attributes = attributesIn(body, TCMSG_BYTES);
  const options = attributesIn(attributes.get(TCA_OPTIONS) ?? nothing, 0);
  const selector = options.get(TCA_U32_SEL);
  // What matches fewer packets than all, or is not the first to be asked, is somebody else's.
  const matchesAll = selector?.[2] === 1 && readU32(selector.subarray(16)) === 0;
  if (!matchesAll || viewOf(body).getUint32(16, true) >>> 16 !== FILTER_PRIORITY) return null;
  const actions = attributesIn(options.get(TCA_U32_ACT) ?? nothing, 0);
  const action = attributesIn(actions.get(1) ?? nothing, 0);
  const chosen = attributesIn(action.get(TCA_ACT_OPTIONS) ?? nothing, 0);
  const parameters = chosen.get(TCA_MIRRED_PARMS);
  return parameters === undefined ? null : readU32(parameters.subarray(24));
}
