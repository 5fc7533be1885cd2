/**
 * What a new link is, and how a bridge's port behaves, as attributes.
 * Source: include/uapi/linux/{if_link,veth}.h.
 */
import { allocate } from "#linux/ffi";

import { macBytes } from "./addresses.ts";
import type { MessageWriter } from "./message.ts";
import type { LinkChanges, NewLink, NewLinkCommon, PeerNamespace } from "./netlink.ts";

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINKINFO = 18;
const IFLA_NET_NS_PID = 19;
const IFLA_NET_NS_FD = 28;
export const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_INFO_SLAVE_KIND = 4;
const IFLA_INFO_SLAVE_DATA = 5;
const IFLA_BRPORT_MODE = 4;
const IFLA_BRPORT_ISOLATED = 33;
const VETH_INFO_PEER = 1;
const IFLA_VLAN_ID = 1;
const IFLA_MACVLAN_MODE = 1;
const IFLA_IPVLAN_MODE = 1;
const IFLA_IPVLAN_FLAGS = 2;
const IFINFOMSG_BYTES = 16;

const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
const IPVLAN_MODES = { l2: 0, l3: 1, l3s: 2 } as const;
const IPVLAN_FLAGS = { bridge: 0, private: 1, vepa: 2 } as const;

export function writeCommon(
  message: MessageWriter,
  { name, macAddress, mtu }: NewLinkCommon,
): void {
  message.text(IFLA_IFNAME, name);
  if (macAddress !== undefined) message.attribute(IFLA_ADDRESS, macBytes(macAddress));
  if (mtu !== undefined) message.u32(IFLA_MTU, mtu);
}

/** Inside IFLA_LINKINFO. */
export function writeKind(info: MessageWriter, link: NewLink): void {
  info.text(IFLA_INFO_KIND, link.kind);
  switch (link.kind) {
    case "bridge":
    case "dummy":
    case "ifb":
      return;
    case "veth":
      return writePeer(info, link.peer);
    case "vlan":
      return void info.nest(IFLA_INFO_DATA, (data) => data.u16(IFLA_VLAN_ID, link.vlanId));
    case "macvlan":
      return void info.nest(IFLA_INFO_DATA, (data) =>
        data.u32(IFLA_MACVLAN_MODE, MACVLAN_MODES[link.mode]),
      );
    case "ipvlan":
      return void info.nest(IFLA_INFO_DATA, (data) =>
        data
          .u16(IFLA_IPVLAN_MODE, IPVLAN_MODES[link.mode])
          .u16(IFLA_IPVLAN_FLAGS, IPVLAN_FLAGS[link.flag]),
      );
  }
}

function writePeer(
  info: MessageWriter,
  peer: NewLinkCommon & { readonly namespace?: PeerNamespace },
): void {
  info.nest(IFLA_INFO_DATA, (data) => {
    data.nest(VETH_INFO_PEER, (message) => {
      message.fixed(allocate(IFINFOMSG_BYTES));
      writeCommon(message, peer);
      const { namespace } = peer;
      if (!namespace) return;
      if ("fd" in namespace) message.u32(IFLA_NET_NS_FD, namespace.fd);
      else message.u32(IFLA_NET_NS_PID, namespace.pid);
    });
  });
}

/** Of a bridge's port; nothing when none is to change. */
export function writePortSettings(
  message: MessageWriter,
  { hairpin, isolated }: Pick<LinkChanges, "hairpin" | "isolated">,
): void {
  if (hairpin === undefined && isolated === undefined) return;
  message.nest(IFLA_LINKINFO, (info) => {
    info.text(IFLA_INFO_SLAVE_KIND, "bridge");
    info.nest(IFLA_INFO_SLAVE_DATA, (port) => {
      if (hairpin !== undefined) port.u8(IFLA_BRPORT_MODE, hairpin ? 1 : 0);
      if (isolated !== undefined) port.u8(IFLA_BRPORT_ISOLATED, isolated ? 1 : 0);
    });
  });
}
