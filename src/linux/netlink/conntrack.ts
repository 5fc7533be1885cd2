/**
 * The kernel's table of connections. A UDP client that never stops sending keeps its entry, and with it the
 * address translation of the time of its first packet: when a published port changes hands the entries go.
 * Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h.
 */
import { attributesIn, type MessageWriter, NLA_F_NESTED, viewOf } from "./message.ts";
import { NetlinkError, NetlinkSocket } from "./socket.ts";

const NETLINK_NETFILTER = 12;
const NFNL_SUBSYS_CTNETLINK = 1;
const CT_GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1;
const CT_DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 2;
const NFGENMSG_BYTES = 4;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_DST_PORT = 3;
const FAMILIES = [
  ["ipv4", 2],
  ["ipv6", 10],
] as const;
const ENOENT = 2;

/** As in the IP header. */
export const IPPROTO_UDP = 17;

export interface ConnectionSelector {
  readonly protocol: number;
  /** The port the first packet was sent to, before any translation. */
  readonly destinationPorts: ReadonlySet<number>;
}

/**
 * Forgets connections of both families, in the network namespace of the calling thread.
 * @returns how many
 * @throws NetlinkError
 */
export function deleteConnections({ protocol, destinationPorts }: ConnectionSelector): number {
  using socket = new NetlinkSocket(NETLINK_NETFILTER);
  return FAMILIES.map(([subject, family]) =>
    deleteOf(socket, { protocol, destinationPorts, subject, family }),
  ).reduce((sum, count) => sum + count, 0);
}

function deleteOf(
  socket: NetlinkSocket,
  request: ConnectionSelector & { readonly subject: string; readonly family: number },
): number {
  const { protocol, destinationPorts, subject, family } = request;
  const header = Uint8Array.of(family, 0, 0, 0);
  const begin = (message: MessageWriter) => message.fixed(header);
  const entries = socket.dump({ name: "connection list", subject }, CT_GET, begin);
  let deleted = 0;
  for (const { body } of entries) {
    const tuple = attributesIn(body, NFGENMSG_BYTES).get(CTA_TUPLE_ORIG);
    const parts = tuple && attributesIn(tuple, 0).get(CTA_TUPLE_PROTO);
    if (!tuple || !parts) continue;
    const attributes = attributesIn(parts, 0);
    const port = attributes.get(CTA_PROTO_DST_PORT);
    if (attributes.get(CTA_PROTO_NUM)?.[0] !== protocol || !port) continue;
    if (!destinationPorts.has(viewOf(port).getUint16(0, false))) continue;
    socket.queue({ name: "connection delete", subject }, { type: CT_DELETE, flags: 0 }, (m) =>
      begin(m).attribute(CTA_TUPLE_ORIG | NLA_F_NESTED, tuple),
    );
    if (flushed(socket)) deleted += 1;
  }
  return deleted;
}

/** false when the entry has ended by itself meanwhile */
function flushed(socket: NetlinkSocket): boolean {
  try {
    socket.flush();
    return true;
  } catch (thrown) {
    if (thrown instanceof NetlinkError && thrown.errno === ENOENT) return false;
    throw thrown;
  }
}
