/**
 * A link's root queue as a token bucket (qdisc tbf): what leaves the link, leaves it no faster.
 * Source: include/uapi/linux/{rtnetlink,pkt_sched}.h.
 */
import { allocate } from "#linux/ffi";

import { type MessageWriter, viewOf } from "./message.ts";
import type { LinkRate } from "./netlink.ts";

export const RTM_NEWQDISC = 36;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
const TCMSG_BYTES = 20;
const TC_H_ROOT = 0xff_ff_ff_ff;
/** struct tc_tbf_qopt: two struct tc_ratespec, limit, buffer, mtu. */
const TBF_QOPT_BYTES = 36;
const RATE_OFFSET = 8;
const LIMIT_OFFSET = 24;
/** Known, so that the kernel needs no table of rates from us. */
const TC_LINKLAYER_ETHERNET = 1;
const LARGEST_U32 = 0xff_ff_ff_ff;

export function writeTokenBucket(message: MessageWriter, index: number, rate: LinkRate): void {
  const { bytesPerSecond, burstBytes, queueBytes } = rate;
  const header = allocate(TCMSG_BYTES);
  viewOf(header).setInt32(4, index, true);
  viewOf(header).setUint32(12, TC_H_ROOT, true);
  const parameters = allocate(TBF_QOPT_BYTES);
  const view = viewOf(parameters);
  parameters[1] = TC_LINKLAYER_ETHERNET;
  view.setUint32(RATE_OFFSET, Math.min(bytesPerSecond, LARGEST_U32), true);
  view.setUint32(LIMIT_OFFSET, Math.min(queueBytes, LARGEST_U32), true);
  message.fixed(header).text(TCA_KIND, "tbf");
  message.nest(TCA_OPTIONS, (options) => {
    options.attribute(TCA_TBF_PARMS, parameters).u32(TCA_TBF_BURST, burstBytes);
    if (bytesPerSecond <= LARGEST_U32) return;
    const large = allocate(8);
    viewOf(large).setBigUint64(0, BigInt(bytesPerSecond), true);
    options.attribute(TCA_TBF_RATE64, large);
  });
}
