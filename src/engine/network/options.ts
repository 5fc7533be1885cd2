/** Driver options of networks: Docker's names, read once into values that cannot be wrong. */
import { invalid } from "#base";
import type { IpvlanFlag, IpvlanMode, MacvlanMode } from "#linux/netlink";

import { parseIpv4 } from "./addresses/ip.ts";
import { parseIpv6 } from "./addresses/ipv6.ts";
import { EGRESS, INGRESS } from "./bandwidth.ts";
import type { EndpointDevice } from "./endpoint.ts";
import type { Network } from "./network-service.ts";

export const BRIDGE_NAME = "com.docker.network.bridge.name";
export const MTU = "com.docker.network.driver.mtu";
const BRIDGE = "com.docker.network.bridge.";
const NETWORK = "com.docker.network.";
/** Our own: frames with another's hardware or IP address are dropped at the container's port. */
const ANTI_SPOOFING = "naru.network.antispoofing";

export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";
const GATEWAY_MODES: readonly GatewayMode[] = ["nat", "nat-unprotected", "routed", "isolated"];

export interface BridgeOptions {
  readonly icc: boolean;
  readonly masquerade: boolean;
  readonly gatewayMode4: GatewayMode;
  readonly gatewayMode6: GatewayMode;
  /** Where a port without a host address is published; "" is everywhere. */
  readonly bindingAddress: string;
  /** The bridge gets no IPv4 address. */
  readonly inhibitIpv4: boolean;
  /** The source address of what leaves the host; null: the outgoing link's. */
  readonly hostIpv4: string | null;
  readonly hostIpv6: string | null;
  /** Links of the host from where published ports are reached by containers' own addresses, too. */
  readonly trustedLinks: readonly string[];
  /** Beginning of links' names in containers. */
  readonly linkPrefix: string;
  readonly antiSpoofing: boolean;
}

type Options = Readonly<Record<string, string>>;

/** IPv4 works with less, but nothing else does. */
const SMALLEST_MTU = 68;
const LARGEST_MTU = 65_535;
export const DEFAULT_MTU = 1500;
/** IFNAMSIZ without its NUL. */
export const LINK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;

const KNOWN: ReadonlySet<string> = new Set([
  BRIDGE_NAME,
  MTU,
  ANTI_SPOOFING,
  EGRESS,
  INGRESS,
  ...[
    "enable_icc",
    "enable_ip_masquerade",
    "gateway_mode_ipv4",
    "gateway_mode_ipv6",
    "host_binding_ipv4",
    "inhibit_ipv4",
    "default_bridge",
    "trusted_host_interfaces",
  ].map((name) => BRIDGE + name),
  ...["host_ipv4", "host_ipv6", "container_iface_prefix", "enable_ipv4", "enable_ipv6"].map(
    (name) => NETWORK + name,
  ),
]);

/** @throws EngineError "invalid" in Docker's words */
export function bridgeOptions(options: Options): BridgeOptions {
  const unknown = Object.keys(options).find((name) => isDriversOwn(name) && !KNOWN.has(name));
  if (unknown !== undefined) throw invalid(`the network option ${unknown} is not known`);
  return {
    icc: flagOf(options, `${BRIDGE}enable_icc`, true),
    masquerade: flagOf(options, `${BRIDGE}enable_ip_masquerade`, true),
    gatewayMode4: gatewayModeOf(options[`${BRIDGE}gateway_mode_ipv4`] ?? "nat"),
    gatewayMode6: gatewayModeOf(options[`${BRIDGE}gateway_mode_ipv6`] ?? "nat"),
    bindingAddress: bindingOf(options[`${BRIDGE}host_binding_ipv4`] ?? ""),
    inhibitIpv4: flagOf(options, `${BRIDGE}inhibit_ipv4`, false),
    hostIpv4: addressOf(options, `${NETWORK}host_ipv4`, parseIpv4),
    hostIpv6: addressOf(options, `${NETWORK}host_ipv6`, parseIpv6),
    trustedLinks: trustedOf(options),
    linkPrefix: linkPrefixOf(options),
    antiSpoofing: flagOf(options, ANTI_SPOOFING, false),
  };
}

const isDriversOwn = (name: string): boolean =>
  name.startsWith(NETWORK) || name.startsWith("naru.");

/** @throws EngineError "invalid" */
export function mtuOf(options: Options, byDefault = DEFAULT_MTU): number {
  const text = options[MTU];
  if (text === undefined) return byDefault;
  const mtu = /^\d{1,6}$/.test(text) ? Number(text) : -1;
  if (mtu === 0) return byDefault;
  if (mtu < SMALLEST_MTU || mtu > LARGEST_MTU) throw invalid(`invalid MTU number: ${text}`);
  return mtu;
}

/** @throws EngineError "invalid" */
export function linkPrefixOf(options: Options): string {
  const prefix = options[`${NETWORK}container_iface_prefix`] ?? "eth";
  // Room for a number behind it.
  if (!/^[A-Za-z][A-Za-z0-9_.-]{0,10}$/.test(prefix)) {
    throw invalid(`invalid container interface prefix: ${prefix}`);
  }
  return prefix;
}

const MACVLAN_MODES: readonly MacvlanMode[] = ["bridge", "private", "vepa", "passthru"];
const IPVLAN_MODES: readonly IpvlanMode[] = ["l2", "l3", "l3s"];
const IPVLAN_FLAGS: readonly IpvlanFlag[] = ["bridge", "private", "vepa"];

/** The links of a macvlan or ipvlan network; null for bridges. @throws EngineError "invalid" in Docker's words */
export function deviceOf(driver: Network["driver"], options: Options): EndpointDevice | null {
  if (driver === "macvlan") {
    const asked = options["macvlan_mode"] ?? "";
    const mode = asked === "" ? "bridge" : MACVLAN_MODES.find((known) => known === asked);
    if (mode === undefined) {
      throw invalid(
        `requested macvlan mode '${asked}' is not valid, 'bridge' mode is the macvlan driver default`,
      );
    }
    return { kind: "macvlan", mode };
  }
  if (driver !== "ipvlan") return null;
  const askedMode = options["ipvlan_mode"] ?? "";
  const mode = askedMode === "" ? "l2" : IPVLAN_MODES.find((known) => known === askedMode);
  if (mode === undefined) {
    throw invalid(
      `requested ipvlan mode '${askedMode}' is not valid, 'l2' mode is the ipvlan driver default`,
    );
  }
  const askedFlag = options["ipvlan_flag"] ?? "";
  const flag = askedFlag === "" ? "bridge" : IPVLAN_FLAGS.find((known) => known === askedFlag);
  if (flag === undefined) {
    throw invalid(
      `requested ipvlan flag '${askedFlag}' is not valid, 'bridge' is the ipvlan driver default`,
    );
  }
  return { kind: "ipvlan", mode, flag };
}

/** Go's ParseBool. */
export function parseFlag(text: string): boolean | null {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return null;
}

function flagOf(options: Options, name: string, byDefault: boolean): boolean {
  const text = options[name];
  if (text === undefined) return byDefault;
  const flag = parseFlag(text);
  if (flag !== null) return flag;
  throw invalid(
    `failed to parse ${name} value: ${text} (strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax)`,
  );
}

/** Names with colons between them. */
function trustedOf(options: Options): string[] {
  const name = `${BRIDGE}trusted_host_interfaces`;
  const links = (options[name] ?? "").split(":").filter((link) => link !== "");
  const wrong = links.find((link) => !LINK_NAME.test(link));
  if (wrong !== undefined) throw invalid(`failed to parse ${name} value: ${wrong}`);
  return links;
}

function gatewayModeOf(text: string): GatewayMode {
  const mode = text === "" ? "nat" : GATEWAY_MODES.find((known) => known === text);
  if (mode === undefined) throw invalid(`unknown gateway mode ${text}`);
  return mode;
}

function bindingOf(text: string): string {
  if (text === "" || text === "0.0.0.0") return "";
  if (parseIpv4(text) === null && parseIpv6(text) === null) {
    throw invalid(
      `failed to parse ${BRIDGE}host_binding_ipv4 value: ${text} (invalid ip address string)`,
    );
  }
  return text;
}

function addressOf(
  options: Options,
  name: string,
  parse: (text: string) => unknown,
): string | null {
  const text = options[name];
  if (text === undefined || text === "") return null;
  if (parse(text) === null) {
    throw invalid(`failed to parse ${name} value: ${text} (invalid ip address string)`);
  }
  return text;
}
