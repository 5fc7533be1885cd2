/** Links, addresses and routes through rtnetlink; stale connections and the filter's generation through nfnetlink. */
export { type ConnectionSelector, deleteConnections, IPPROTO_UDP } from "./conntrack.ts";
export { RecordingNetlink } from "./fake.ts";
export type * from "./netlink.ts";
export { openNetlink } from "./rtnetlink.ts";
export { rulesetGeneration } from "./ruleset.ts";
export { NetlinkError } from "./socket.ts";
