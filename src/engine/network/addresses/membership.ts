/** Whether whoever asks from an address is a container. Pure. */
import type { Network } from "../network-service.ts";
import { poolOf } from "../parts.ts";
import { contains, parseCidr, parseIpv4 } from "./ip.ts";
import { contains6, parseCidr6, parseIpv6 } from "./ipv6.ts";

/**
 * By the subnets of bridges and not by who has which address: a container can give itself another one. The bridges'
 * own addresses are the host's.
 * @param text as of a socket: IPv4 maybe inside IPv6 (`::ffff:10.0.0.2`), a link-local address with its link
 *   (`fe80::1%naru0`)
 */
export function isContainersAddress(networks: readonly Network[], text: string): boolean {
  const [address = "", link] = text.replace(/^::ffff:(?=\d+\.)/i, "").split("%", 2);
  return networks.some((network) => {
    if (network.driver !== "bridge") return false;
    const { bridge, subnet, gateway } = network;
    if (link !== undefined) return link === bridge;
    const ipv4 = parseIpv4(address);
    if (ipv4 !== null) {
      return subnet !== null && address !== gateway && contains(parseCidr(subnet).subnet, ipv4);
    }
    const [ipv6, pool6] = [parseIpv6(address), poolOf(network, "ipv6")];
    if (ipv6 === null || pool6 === null || ipv6 === parseIpv6(pool6.gateway ?? "")) {
      return false;
    }
    return contains6(parseCidr6(pool6.subnet).subnet, ipv6);
  });
}
