/**
 * Network devices of the host that become a container's own, as the OCI runtime specification has them (config-linux.md,
 * "Network Devices"): each moves with its addresses, under a new name if one is given, and is up in there. When the
 * namespace ends, the kernel gives hardware back to the host; what was made by software goes with the namespace.
 */
import { invalid, wrap } from "#base";
import { inNetworkNamespace } from "#linux/namespace";
import { openNetlink } from "#linux/netlink";

import type { MovedDevices } from "../endpoint.ts";

/**
 * @param networkNamespace a descriptor of the newborn's; stays the caller's
 * @throws EngineError; what moved before stays in the namespace and shares its end
 */
export function moveDevices(
  networkNamespace: number,
  devices: NonNullable<MovedDevices["devices"]>,
): void {
  using outside = openNetlink();
  using inside = inNetworkNamespace(networkNamespace, openNetlink);
  for (const [host, name] of devices) {
    const failed = `moving network device ${JSON.stringify(host)}`;
    if (outside.getLink(host) === null) throw invalid(`${failed}: no such network device`);
    // Addresses of the link alone are made anew in the other namespace.
    const addresses = [...outside.listAddresses("ipv4"), ...outside.listAddresses("ipv6")].filter(
      ({ link, address }) => link === host && !/^(?:fe80:|169\.254\.)/.test(address),
    );
    try {
      if (inside.getLink(name) !== null) throw invalid(`${name} exists already`);
      outside.setLink(host, { name, namespace: { fd: networkNamespace } });
      for (const { address, prefixLength } of addresses) {
        inside.addAddress({ link: name, address, prefixLength });
      }
      inside.setLink(name, { up: true });
    } catch (cause) {
      throw wrap(failed, cause);
    }
  }
}
