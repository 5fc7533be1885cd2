/**
 * The generation of the packet filter's rules: a number that every transaction on them changes, whoever made it.
 * Source: include/uapi/linux/netfilter/nf_tables.h.
 */
import { attributesIn, viewOf } from "./message.ts";
import { NetlinkError, NetlinkSocket } from "./socket.ts";

const NETLINK_NETFILTER = 12;
const NFT_MSG_GETGEN = (10 << 8) | 16;
const NFTA_GEN_ID = 1;
const NFGENMSG = Uint8Array.of(0, 0, 0, 0);
const ENODATA = 61;

/** Of the network namespace of the calling thread. @throws NetlinkError, SyscallError */
export function rulesetGeneration(): number {
  const operation = { name: "ruleset generation", subject: "nftables" };
  using socket = new NetlinkSocket(NETLINK_NETFILTER);
  const { body } = socket.get(operation, NFT_MSG_GETGEN, (message) => message.fixed(NFGENMSG));
  const id = attributesIn(body, NFGENMSG.length).get(NFTA_GEN_ID);
  if (!id) throw new NetlinkError(operation.name, operation.subject, ENODATA, null);
  return viewOf(id).getUint32(0, false);
}
