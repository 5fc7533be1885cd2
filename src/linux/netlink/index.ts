/** Links, addresses and routes through rtnetlink; stale connections through the conntrack table. */
export { type ConnectionSelector, deleteConnections, IPPROTO_UDP } from "./conntrack.ts";
export { RecordingNetlink } from "./fake.ts";
export type * from "./netlink.ts";
export { openNetlink } from "./rtnetlink.ts";
export { NetlinkError } from "./socket.ts";
