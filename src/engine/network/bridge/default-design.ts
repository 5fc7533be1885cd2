/** What the operator's options make of the default bridge: addresses, ranges, gateways. Pure. Sentences are Docker's. */
import { invalid } from "#base";

import {
  contains,
  formatIpv4,
  formatSubnet,
  lastOf,
  overlaps,
  parseCidr,
  parseIpv4,
} from "../addresses/ip.ts";
import { contains6, formatIpv6, formatSubnet6, parseCidr6, parseIpv6 } from "../addresses/ipv6.ts";
import type { AddressPool, Network, PredefinedBridge } from "../network-service.ts";
import { poolOf } from "../parts.ts";

export interface DefaultBridgeOptions {
  /** The default bridge's link; "naru0". Another name also names another firewall table. */
  readonly bridge?: string;
  /** There is no default bridge: whoever asks for it has a loopback link alone. Its name still names the rest. */
  readonly withoutBridge?: boolean;
  /** Address and prefix of the bridge, `172.30.0.1/24`; else a free subnet is chosen, once. */
  readonly bip?: string;
  /** The same of IPv6. */
  readonly bip6?: string;
  /** The part of the subnet that containers get addresses from; the subnet itself where no address is given. */
  readonly fixedCidr?: string;
  readonly fixedCidr6?: string;
  readonly ipv6?: boolean;
  /** Where its containers' default routes lead instead of to the bridge. */
  readonly defaultGateway?: string;
  readonly defaultGateway6?: string;
  /** Its containers reach each other; true. */
  readonly icc?: boolean;
  /** What its containers send out has the host's address; true. */
  readonly masquerade?: boolean;
  readonly mtu?: number;
}

/** The smallest subnet with a gateway and a container. */
const LONGEST_PREFIX = 30;
const LONGEST_PREFIX6 = 126;

export interface Wanted {
  readonly subnet: string;
  readonly gateway: string;
  readonly predefined: PredefinedBridge;
}

type Own = Pick<Wanted, "subnet" | "gateway">;

/**
 * @param recorded what the bridge was the last time
 * @param choose4 an address of the bridge where nothing says one
 * @throws EngineError "invalid"
 */
export function designDefaultBridge(
  options: DefaultBridgeOptions,
  recorded: Network | null,
  { choose4, choose6 }: { choose4: () => Own; choose6: () => string },
): Wanted {
  const { fixedCidr, fixedCidr6, defaultGateway = null, defaultGateway6 = null } = options;
  const own4 = ownOf4(options, recorded) ?? choose4();
  if (fixedCidr !== undefined) checkRange("--fixed-cidr", fixedCidr, own4.subnet);
  const own6 = options.ipv6 === true ? (ownOf6(options, recorded) ?? own6Of(choose6())) : null;
  if (own6 !== null && fixedCidr6 !== undefined) {
    checkRange("--fixed-cidr-v6", fixedCidr6, own6.subnet);
  }
  const pools = [
    poolFrom("ipv4", own4, { range: fixedCidr, gateway: defaultGateway }),
    ...(own6 === null
      ? []
      : [poolFrom("ipv6", own6, { range: fixedCidr6, gateway: defaultGateway6 })]),
  ];
  return {
    ...own4,
    predefined: {
      pools,
      options: {
        "com.docker.network.bridge.enable_icc": String(options.icc ?? true),
        "com.docker.network.bridge.enable_ip_masquerade": String(options.masquerade ?? true),
      },
      gateways: { ipv4: defaultGateway, ipv6: own6 === null ? null : defaultGateway6 },
    },
  };
}

/** As said, else as recorded; null: nobody knows. */
function ownOf4({ bip, fixedCidr }: DefaultBridgeOptions, recorded: Network | null): Own | null {
  if (bip !== undefined) return bridgeAddressOf(bip);
  if (recorded?.subnet && recorded.gateway) {
    const own = { subnet: recorded.subnet, gateway: recorded.gateway };
    if (fixedCidr === undefined || isWithin(fixedCidr, own.subnet)) return own;
  }
  if (fixedCidr === undefined) return null;
  const { subnet } = parseCidr(fixedCidr);
  return bridgeAddressOf(`${formatIpv4(subnet.base + 1)}/${subnet.prefixLength}`);
}

function ownOf6({ bip6, fixedCidr6 }: DefaultBridgeOptions, recorded: Network | null): Own | null {
  if (bip6 !== undefined) {
    const { address, subnet } = parseCidr6(bip6);
    if (subnet.prefixLength > LONGEST_PREFIX6 || address === subnet.base) {
      throw invalid(`invalid bridge address: ${bip6}`);
    }
    return { subnet: formatSubnet6(subnet), gateway: formatIpv6(address) };
  }
  if (fixedCidr6 !== undefined) return own6Of(fixedCidr6);
  const pool = recorded === null ? null : poolOf(recorded, "ipv6");
  return pool === null ? null : own6Of(pool.subnet);
}

/** A subnet whose first address is the bridge's. */
function own6Of(cidr: string): Own {
  const { subnet } = parseCidr6(cidr);
  if (subnet.prefixLength > LONGEST_PREFIX6) throw invalid(`invalid bridge address: ${cidr}`);
  return { subnet: formatSubnet6(subnet), gateway: formatIpv6(subnet.base + 1n) };
}

/** @throws EngineError "invalid" for an address that cannot be a gateway */
export function bridgeAddressOf(cidr: string): Own {
  const { address, subnet } = parseCidr(cidr);
  const isHost = contains(subnet, address) && address !== subnet.base && address !== lastOf(subnet);
  if (!isHost || subnet.prefixLength > LONGEST_PREFIX) {
    throw invalid(`invalid bridge address: ${cidr}`);
  }
  return { subnet: formatSubnet(subnet), gateway: formatIpv4(address) };
}

const AUXILIARY = { ipv4: "DefaultGatewayIPv4", ipv6: "DefaultGatewayIPv6" } as const;

function poolFrom(
  family: AddressPool["family"],
  { subnet, gateway: own }: Own,
  asked: { readonly range: string | undefined; readonly gateway: string | null },
): AddressPool {
  const { range, gateway } = asked;
  if (gateway !== null && !holds(family, subnet, gateway)) {
    throw invalid(
      `auxiliary address: (${AUXILIARY[family]}:${gateway}) must belong to the master pool: ${subnet}`,
    );
  }
  return {
    family,
    subnet,
    gateway: own,
    ipRange: range === undefined ? null : canonical(range),
    auxiliary: gateway === null || gateway === own ? {} : { [AUXILIARY[family]]: gateway },
  };
}

function holds(family: AddressPool["family"], subnet: string, address: string): boolean {
  return family === "ipv4"
    ? contains(parseCidr(subnet).subnet, parseIpv4(address) ?? -1)
    : contains6(parseCidr6(subnet).subnet, parseIpv6(address) ?? -1n);
}

const canonical = (cidr: string): string =>
  cidr.includes(":")
    ? formatSubnet6(parseCidr6(cidr).subnet)
    : formatSubnet(parseCidr(cidr).subnet);

function checkRange(flag: string, range: string, subnet: string): void {
  if (isWithin(range, subnet)) return;
  throw invalid(`${flag} ${range} is not in the bridge's subnet ${subnet}`);
}

function isWithin(range: string, subnet: string): boolean {
  if (range.includes(":")) {
    const [part, whole] = [parseCidr6(range).subnet, parseCidr6(subnet).subnet];
    return part.prefixLength >= whole.prefixLength && contains6(whole, part.base);
  }
  const [part, whole] = [parseCidr(range).subnet, parseCidr(subnet).subnet];
  return part.prefixLength >= whole.prefixLength && overlaps(part, whole);
}
