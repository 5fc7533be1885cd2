/**
 * The kernel's own Netlink, over NETLINK_ROUTE.
 * Source: include/uapi/linux/{rtnetlink,if_link,if_addr,if_bridge,veth}.h.
 */
import { allocate, attempt, cstring } from "#linux/ffi";

import {
  attributesIn,
  type MessageWriter,
  NLA_F_NESTED,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  readText,
  readU32,
  type ReceivedMessage,
  viewOf,
} from "./message.ts";
import { addressBytes, broadcastOf, formatAddress, macBytes } from "./addresses.ts";
import {
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  IFLA_MTU,
  writeCommon,
  writeKind,
  writePortSettings,
} from "./link-attributes.ts";
import type {
  Family,
  Link,
  LinkAddress,
  LinkChanges,
  LinkRate,
  Netlink,
  NewLink,
  Route,
} from "./netlink.ts";
import * as queues from "./queue-attributes.ts";
import { NetlinkError, NetlinkSocket } from "./socket.ts";

const NETLINK_ROUTE = 0;
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const RTEXT_FILTER_SKIP_STATS = 8;
const IFF_UP = 1;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
/** Usable at once: nobody else can have an address of ours, and a newborn does not wait for proof of it. */
const IFA_F_NODAD = 2;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RT_TABLE_MAIN = 254;
const RTPROT_STATIC = 4;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;

const AF_INET = 2;
const AF_INET6 = 10;
const IFINFOMSG_BYTES = 16;
const IFADDRMSG_BYTES = 8;
const RTMSG_BYTES = 12;

const SIOCGIFINDEX = 0x8933;
const IFNAMSIZ = 16;
const ESRCH = 3;
const ENODEV = 19;
const ENOENT = 2;
const EEXIST = 17;
const EINVAL = 22;
const UNKNOWN: ReadonlySet<number> = new Set([ENOENT, ENODEV, EINVAL]);

/** Opens a socket in the network namespace of the calling thread, for good. */
export function openNetlink(): Netlink {
  return new Rtnetlink();
}

class Rtnetlink implements Netlink {
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE);
  #batching = false;

  batch(work: () => void): void {
    this.#batching = true;
    try {
      work();
    } finally {
      this.#batching = false;
      this.#socket.flush();
    }
  }

  addLink(link: NewLink): void {
    const master = link.kind === "veth" && link.master ? this.#indexOf(link.master) : null;
    const parent = "parent" in link ? this.#indexOf(link.parent) : null;
    const header = { type: RTM_NEWLINK, flags: NLM_F_CREATE | NLM_F_EXCL };
    this.#change("link add", link.name, header, (message) => {
      message.fixed(allocate(IFINFOMSG_BYTES));
      writeCommon(message, link);
      if (master !== null) message.u32(IFLA_MASTER, master);
      if (parent !== null) message.u32(IFLA_LINK, parent);
      if ("namespace" in link && link.namespace) message.u32(IFLA_NET_NS_FD, link.namespace.fd);
      message.nest(IFLA_LINKINFO, (info) => writeKind(info, link));
    });
  }

  setLink(name: string, changes: LinkChanges): void {
    const { up, mtu, macAddress } = changes;
    const master = typeof changes.master === "string" ? this.#indexOf(changes.master) : 0;
    const info = allocate(IFINFOMSG_BYTES);
    const view = viewOf(info);
    // The kernel finds a link by its name only while that attribute is not needed for a new name.
    if (changes.name !== undefined) view.setInt32(4, this.#indexOf(name), true);
    if (up !== undefined) {
      view.setUint32(8, up ? IFF_UP : 0, true);
      view.setUint32(12, IFF_UP, true);
    }
    this.#change("link set", name, { type: RTM_NEWLINK, flags: 0 }, (message) => {
      message.fixed(info).text(IFLA_IFNAME, changes.name ?? name);
      if (changes.namespace !== undefined) message.u32(IFLA_NET_NS_FD, changes.namespace.fd);
      if (mtu !== undefined) message.u32(IFLA_MTU, mtu);
      if (changes.alias !== undefined) message.text(IFLA_IFALIAS, changes.alias);
      if (macAddress !== undefined) message.attribute(IFLA_ADDRESS, macBytes(macAddress));
      if (changes.master !== undefined) message.u32(IFLA_MASTER, master);
      writePortSettings(message, changes);
      if (changes.withoutIpv6Address) writeNoIpv6Address(message);
    });
  }

  deleteLink(name: string): boolean {
    try {
      this.#change("link delete", name, { type: RTM_DELLINK, flags: 0 }, (message) => {
        message.fixed(allocate(IFINFOMSG_BYTES)).text(IFLA_IFNAME, name);
      });
      return true;
    } catch (thrown) {
      if (thrown instanceof NetlinkError && thrown.errno === ENODEV) return false;
      throw thrown;
    }
  }

  deleteLinks(names: readonly string[]): void {
    if (names.length === 1) return void this.deleteLink(names.join());
    const group = this.#group(names);
    if (group === null) return;
    const operation = { name: "link delete", subject: names.join(", ") };
    this.#socket.queue(operation, { type: RTM_DELLINK, flags: 0 }, (message) => {
      message.fixed(allocate(IFINFOMSG_BYTES)).u32(IFLA_GROUP, group);
    });
    try {
      this.#socket.flush();
    } catch (thrown) {
      // The last of them went meanwhile: the kernel deletes those of a namespace that ended when it likes.
      if (!(thrown instanceof NetlinkError) || thrown.errno !== ENODEV) throw thrown;
    }
  }

  getLink(name: string): Link | null {
    try {
      const operation = { name: "link get", subject: name };
      return linkOf(
        this.#socket.get(operation, RTM_GETLINK, (message) => {
          message.fixed(allocate(IFINFOMSG_BYTES)).text(IFLA_IFNAME, name);
          message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        }),
      );
    } catch (thrown) {
      if (thrown instanceof NetlinkError && thrown.errno === ENODEV) return null;
      throw thrown;
    }
  }

  settleLink(name: string): void {
    this.#change("link get", name, { type: RTM_GETLINK, flags: 0 }, (message) => {
      message.fixed(allocate(IFINFOMSG_BYTES)).text(IFLA_IFNAME, name);
      message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    });
  }

  limitLink(name: string, rate: LinkRate): void {
    const index = this.#indexOf(name);
    const header = { type: queues.RTM_NEWQDISC, flags: NLM_F_CREATE | NLM_F_REPLACE };
    this.#change("link limit", name, header, (message) =>
      queues.writeTokenBucket(message, index, rate),
    );
  }

  listLimits(): Map<string, number> {
    const names = this.#linkNames();
    const operation = { name: "limit list", subject: "all" };
    const limits = new Map<string, number>();
    for (const { body } of this.#socket.dump(
      operation,
      queues.RTM_GETQDISC,
      queues.writeAllQueues,
    )) {
      const bucket = queues.readTokenBucket(body);
      const name = names.get(bucket?.index ?? 0);
      if (bucket !== null && name !== undefined) limits.set(name, bucket.bytesPerSecond);
    }
    return limits;
  }

  redirectArrivals(name: string, target: string): void {
    const [index, to] = [this.#indexOf(name), this.#indexOf(target)];
    const change = (type: number, flags: number, write: (message: MessageWriter) => void) => {
      try {
        this.#change("link redirect", name, { type, flags }, write);
      } catch (thrown) {
        // Nothing was redirected before, or someone else has done the same at the same time.
        const { errno } = thrown as NetlinkError;
        const isThere = flags !== 0 && errno === EEXIST;
        const isGone = flags === 0 && (errno === ENOENT || errno === EINVAL);
        if (!isThere && !isGone) throw thrown;
      }
    };
    const added = NLM_F_CREATE | NLM_F_EXCL;
    change(queues.RTM_DELQDISC, 0, (message) => queues.writeArrivals(message, index));
    change(queues.RTM_NEWQDISC, added, (message) => queues.writeArrivals(message, index));
    change(queues.RTM_NEWTFILTER, added, (message) => queues.writeRedirect(message, index, to));
  }

  isRedirected(name: string, target: string): boolean {
    try {
      const [index, to] = [this.#indexOf(name), this.#indexOf(target)];
      const operation = { name: "redirect list", subject: name };
      return this.#socket
        .dump(operation, queues.RTM_GETTFILTER, (message) =>
          queues.writeArrivalFilters(message, index),
        )
        .some(({ body }) => queues.readRedirect(body) === to);
    } catch (thrown) {
      // Neither link nor queue: nothing is redirected.
      if (thrown instanceof NetlinkError && UNKNOWN.has(thrown.errno)) return false;
      throw thrown;
    }
  }

  listLinks(): Link[] {
    const operation = { name: "link list", subject: "all" };
    return this.#socket
      .dump(operation, RTM_GETLINK, (message) => {
        message.fixed(allocate(IFINFOMSG_BYTES)).u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
      })
      .map(linkOf);
  }

  addAddress(address: LinkAddress): void {
    const header = { type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL };
    this.#changeAddress("address add", header, address);
  }

  deleteAddress(address: LinkAddress): void {
    this.#changeAddress("address delete", { type: RTM_DELADDR, flags: 0 }, address);
  }

  listAddresses(family: Family = "ipv4"): LinkAddress[] {
    const names = this.#linkNames();
    const operation = { name: "address list", subject: "all" };
    const request = allocate(IFADDRMSG_BYTES);
    request[0] = numberOf(family);
    const found: LinkAddress[] = [];
    for (const { body } of this.#socket.dump(
      operation,
      RTM_GETADDR,
      (m) => void m.fixed(request),
    )) {
      const attributes = attributesIn(body, IFADDRMSG_BYTES);
      const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
      const link = names.get(viewOf(body).getUint32(4, true));
      if (body[0] !== numberOf(family) || !bytes || link === undefined) continue;
      found.push({ link, address: formatAddress(bytes), prefixLength: body[1] ?? 0 });
    }
    return found;
  }

  addRoute(route: Route & { readonly link: string; readonly family?: Family }): void {
    this.#changeRoute("route add", { type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL }, route);
  }

  deleteRoute(route: Route & { readonly link: string; readonly family?: Family }): boolean {
    try {
      this.#changeRoute("route delete", { type: RTM_DELROUTE, flags: 0 }, route);
      return true;
    } catch (thrown) {
      if (thrown instanceof NetlinkError && thrown.errno === ESRCH) return false;
      throw thrown;
    }
  }

  listRoutes(family: Family = "ipv4"): Route[] {
    const names = this.#linkNames();
    const operation = { name: "route list", subject: "all" };
    const request = allocate(RTMSG_BYTES);
    request[0] = numberOf(family);
    const found: Route[] = [];
    for (const { body } of this.#socket.dump(
      operation,
      RTM_GETROUTE,
      (m) => void m.fixed(request),
    )) {
      if (body[0] !== numberOf(family) || body[7] !== RTN_UNICAST) continue;
      const attributes = attributesIn(body, RTMSG_BYTES);
      const prefixLength = body[1] ?? 0;
      const destination = attributes.get(RTA_DST);
      const gateway = attributes.get(RTA_GATEWAY);
      const address = destination ? formatAddress(destination) : "0.0.0.0";
      found.push({
        destination: prefixLength === 0 ? null : { address, prefixLength },
        gateway: gateway ? formatAddress(gateway) : null,
        link: names.get(readU32(attributes.get(RTA_OIF)) ?? 0) ?? null,
      });
    }
    return found;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** Puts links into a group that nobody else has; null when none of them is there. */
  #group(names: readonly string[]): number | null {
    const group =
      crypto.getRandomValues(new Uint32Array(1)).map((bits) => (bits >>> 1) | 1)[0] ?? 1;
    let found = false;
    for (const name of names) {
      try {
        const header = { type: RTM_NEWLINK, flags: 0 };
        this.#socket.queue({ name: "link set", subject: name }, header, (message) => {
          message.fixed(allocate(IFINFOMSG_BYTES)).text(IFLA_IFNAME, name);
          message.u32(IFLA_GROUP, group);
        });
        this.#socket.flush();
        found = true;
      } catch (thrown) {
        if (!(thrown instanceof NetlinkError) || thrown.errno !== ENODEV) throw thrown;
      }
    }
    return found ? group : null;
  }

  #change(
    name: string,
    subject: string,
    header: { type: number; flags: number },
    write: (message: MessageWriter) => void,
  ): void {
    this.#socket.queue({ name, subject }, header, write);
    if (!this.#batching) this.#socket.flush();
  }

  #changeAddress(
    name: string,
    header: { type: number; flags: number },
    { link, address, prefixLength }: LinkAddress,
  ): void {
    const request = allocate(IFADDRMSG_BYTES);
    const bytes = addressBytes(address);
    const ipv4 = bytes.length === 4;
    request.set([ipv4 ? AF_INET : AF_INET6, prefixLength, ipv4 ? 0 : IFA_F_NODAD]);
    viewOf(request).setUint32(4, this.#indexOf(link), true);
    this.#change(name, `${address}/${prefixLength} ${link}`, header, (message) => {
      message.fixed(request).attribute(IFA_LOCAL, bytes).attribute(IFA_ADDRESS, bytes);
      if (ipv4 && prefixLength < 31) {
        message.attribute(IFA_BROADCAST, broadcastOf(bytes, prefixLength));
      }
    });
  }

  #changeRoute(
    name: string,
    header: { type: number; flags: number },
    { destination, gateway, link, family }: Route & { link: string; family?: Family },
  ): void {
    const index = this.#indexOf(link);
    const subject = destination ? `${destination.address}/${destination.prefixLength}` : "default";
    const told = destination?.address ?? gateway;
    const number = told ? familyOf(told) : numberOf(family ?? "ipv4");
    const scope = gateway === null && number === AF_INET ? RT_SCOPE_LINK : 0;
    const route = allocate(RTMSG_BYTES);
    route.set([number, destination?.prefixLength ?? 0, 0, 0]);
    route.set([RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST], 4);
    this.#change(name, `${subject} ${link}`, header, (message) => {
      message.fixed(route);
      if (destination) message.attribute(RTA_DST, addressBytes(destination.address));
      if (gateway !== null) message.attribute(RTA_GATEWAY, addressBytes(gateway));
      message.u32(RTA_OIF, index);
    });
  }

  /** By ioctl on the netlink socket: it looks in the socket's namespace, and costs a microsecond. */
  #indexOf(name: string): number {
    const request = allocate(40);
    const bytes = cstring(name);
    if (bytes.length > IFNAMSIZ) throw new NetlinkError("link get", name, ENODEV, null);
    request.set(bytes);
    const result = attempt("ioctl", this.#socket.fd, SIOCGIFINDEX, request);
    if (result < 0) throw new NetlinkError("link get", name, -result, null);
    return viewOf(request).getInt32(IFNAMSIZ, true);
  }

  #linkNames(): Map<number, string> {
    return new Map(this.listLinks().map(({ index, name }) => [index, name]));
  }
}

function writeNoIpv6Address(message: MessageWriter): void {
  message.nest(IFLA_AF_SPEC, (families) => {
    families.nest(AF_INET6 | NLA_F_NESTED, (inet6) => {
      inet6.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    });
  });
}

function linkOf({ body }: ReceivedMessage): Link {
  const view = viewOf(body);
  const attributes = attributesIn(body, IFINFOMSG_BYTES);
  const info = attributes.get(IFLA_LINKINFO);
  const mac = attributes.get(IFLA_ADDRESS);
  return {
    index: view.getInt32(4, true),
    name: readText(attributes.get(IFLA_IFNAME)) ?? "",
    kind: info ? readText(attributesIn(info, 0).get(IFLA_INFO_KIND)) : null,
    macAddress: mac
      ? Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":")
      : null,
    mtu: readU32(attributes.get(IFLA_MTU)) ?? 0,
    up: (view.getUint32(8, true) & IFF_UP) !== 0,
    master: readU32(attributes.get(IFLA_MASTER)),
    alias: readText(attributes.get(IFLA_IFALIAS)),
  };
}

const numberOf = (family: Family): number => (family === "ipv4" ? AF_INET : AF_INET6);

const familyOf = (address: string): number => (address.includes(":") ? AF_INET6 : AF_INET);
