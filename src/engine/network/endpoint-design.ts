/**
 * What a container gets in each of its networks: addresses, link names, routes and names, decided before anything is
 * recorded or made. Sentences are Docker's.
 */
import { forbidden, invalid, joinErrors, newId, shortId } from "#base";

import {
  type AddressRange,
  type AddressRange6,
  chooseAddress6,
  claimAddress,
  macOf,
  nextAddress,
  pendingKey,
  randomMac,
} from "./addresses/allocation.ts";
import { contains, formatIpv4, parseCidr, parseIpv4 } from "./addresses/ip.ts";
import { contains6, formatIpv6, parseCidr6, parseIpv6 } from "./addresses/ipv6.ts";
import { bandwidthOf, bandwidthOptions, checkBandwidth, checkOwnOptions } from "./bandwidth.ts";
import { isConfiguration } from "./configuration.ts";
import type { LinkSetting } from "./endpoint.ts";
import type { AddressPool, EndpointOwner, EndpointRequest, Network } from "./network-service.ts";
import { bridgeOptions, deviceOf, LINK_NAME, linkPrefixOf } from "./options.ts";
import { leadsElsewhere, optionsOf, poolOf } from "./parts.ts";
import type { AddressHolder, CustomEndpoint, NetworkRecords, NewEndpoint } from "./records.ts";

const LINK_PREFIX = "naru";
const LINK_ID_DIGITS = 10;
const LINK_NAME_OPTION = "com.docker.network.endpoint.ifname";
const SYSCTLS_OPTION = "com.docker.network.endpoint.sysctls";
/** Aliases and links of one endpoint. */
const NAMES_LIMIT = 1024;

export type Owner = EndpointOwner;

/** One network of a container, and what is asked of it. */
export interface Wish {
  readonly network: Network;
  readonly request: EndpointRequest;
}

export interface DesignTools {
  readonly records: NetworkRecords;
  /** Addresses given out and not recorded yet; what is decided here is added. */
  readonly pending: Set<string>;
  /** Frees addresses of containers that have just ended. @returns how many */
  readonly reap: () => number;
  /** Frees one of them, if its link is gone or `again` says that the same container starts again. */
  readonly vacate: (holder: AddressHolder, again: boolean) => boolean;
}

/**
 * Endpoints for all wishes, or none.
 * @param takenLinks names of links the container has already
 * @throws EngineError in Docker's words
 */
export function designEndpoints(
  wishes: readonly Wish[],
  owner: Owner,
  tools: DesignTools,
  takenLinks: ReadonlySet<string> = new Set(),
): NewEndpoint[] {
  const links = new Set(takenLinks);
  const designed: NewEndpoint[] = [];
  try {
    for (const wish of wishes) {
      const endpoint = designEndpoint(wish, owner, tools, links);
      links.add(endpoint.containerLink);
      designed.push(endpoint);
    }
    return designed;
  } catch (thrown) {
    releasePending(designed, tools.pending);
    throw thrown;
  }
}

/** They are recorded now, or given up. */
export function releasePending(endpoints: readonly NewEndpoint[], pending: Set<string>): void {
  for (const { networkId, address, address6 } of endpoints) {
    if (address !== null) pending.delete(pendingKey(networkId, formatIpv4(address)));
    if (address6 !== undefined) pending.delete(pendingKey(networkId, address6));
  }
}

function designEndpoint(
  { network, request }: Wish,
  owner: Owner,
  tools: DesignTools,
  links: ReadonlySet<string>,
): NewEndpoint {
  const mac = checkRequest(network, request);
  const address = network.subnet === null ? null : addressOf({ network, request }, owner, tools);
  if (address !== null) tools.pending.add(pendingKey(network.id, formatIpv4(address)));
  let address6: string | null;
  try {
    const pool6 = poolOf(network, "ipv6");
    address6 = pool6 === null ? null : address6Of({ network, pool: pool6 }, request, tools);
  } catch (thrown) {
    if (address !== null) tools.pending.delete(pendingKey(network.id, formatIpv4(address)));
    throw thrown;
  }
  if (address6 !== null) tools.pending.add(pendingKey(network.id, address6));
  const id = newId();
  const extra = customOf({ network, request }, owner);
  return {
    id,
    networkId: network.id,
    containerId: owner.containerId,
    address,
    ...(address6 === null ? {} : { address6 }),
    ...(extra === null ? {} : { custom: extra }),
    macAddress: mac || (address === null ? randomMac() : macOf(address)),
    hostLink: `${LINK_PREFIX}${id.slice(0, LINK_ID_DIGITS)}`,
    containerLink: linkNameOf(network, request, links),
  };
}

const NO_SUBNET =
  "user specified IP address is supported only when connecting to networks with user configured subnets";
const PREDEFINED_ERRORS = [
  "user specified IP address is supported on user defined networks only",
  NO_SUBNET,
];

/** @throws EngineError "forbidden" */
export function checkJoinable(network: Network): void {
  if (!isConfiguration(network)) return;
  throw forbidden("cannot create endpoint on configuration-only network");
}

/** @returns the hardware address in Docker's form, "" when none was asked for. @throws EngineError "invalid" */
export function checkRequest(network: Network, request: EndpointRequest): string {
  checkJoinable(network);
  const { aliases = [], links = [], macAddress = "", ipv4, ipv6, linkLocal = [] } = request;
  const errors: string[] = [];
  if (network.custom === null) {
    if (ipv4 !== undefined || ipv6 !== undefined) errors.push(...PREDEFINED_ERRORS);
    if (aliases.length > 0) {
      errors.push("network-scoped aliases are only supported for user-defined networks");
    }
  } else errors.push(...addressErrors(network, request));
  for (const address of linkLocal) {
    if (parseIpv4(address) === null && parseIpv6(address) === null) {
      errors.push(`invalid link-local IP address: ${address}`);
    }
  }
  if (aliases.length + links.length > NAMES_LIMIT) errors.push("too many aliases");
  if (errors.length > 0) throw invalid(`invalid endpoint settings:\n${joinErrors(errors)}`);
  if (macAddress !== "" && !/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(macAddress)) {
    throw invalid(`invalid MAC address: ${macAddress}`);
  }
  if (macAddress !== "" && network.driver === "ipvlan") {
    throw invalid("ipvlan interfaces do not support custom mac address assignment");
  }
  checkDriverOptions(network, request);
  return macAddress.toLowerCase().replaceAll("-", ":");
}

/** As Docker, what no driver knows is kept and shown; of our own names none is taken and ignored. */
function checkDriverOptions({ driver, custom }: Network, { driverOptions }: EndpointRequest): void {
  if (driverOptions === undefined && custom === null) return;
  checkOwnOptions(driverOptions ?? {});
  checkBandwidth(driver, { ...custom?.options, ...driverOptions });
}

function addressErrors({ custom }: Network, { ipv4, ipv6 }: EndpointRequest): string[] {
  const errors: string[] = [];
  const outside = (address: string) =>
    `no configured subnet or ip-range contain the IP address ${address}`;
  const chosen = (custom?.pools ?? []).filter((pool) => pool.chosen !== "subnet");
  const subnet4 = chosen.find(({ family }) => family === "ipv4")?.subnet;
  const subnet6 = chosen.find(({ family }) => family === "ipv6")?.subnet;
  if (ipv4 !== undefined) {
    const address = parseIpv4(ipv4);
    if (address === null || address === 0) errors.push(`invalid IPv4 address: ${ipv4}`);
    else if (subnet4 === undefined) errors.push(NO_SUBNET);
    else if (!contains(parseCidr(subnet4).subnet, address)) {
      errors.push(outside(ipv4));
    }
  }
  if (ipv6 !== undefined) {
    const address = parseIpv6(ipv6);
    if (address === null || address === 0n) errors.push(`invalid IPv6 address: ${ipv6}`);
    else if (subnet6 === undefined) errors.push(NO_SUBNET);
    else if (!contains6(parseCidr6(subnet6).subnet, address)) {
      errors.push(outside(ipv6));
    }
  }
  return errors;
}

function addressOf({ network, request }: Wish, owner: Owner, tools: DesignTools): number {
  const range = rangeOf(network, tools);
  const asked = request.ipv4 === undefined ? null : parseIpv4(request.ipv4);
  const vacate = (holder: AddressHolder) =>
    tools.vacate(holder, holder.containerId === owner.containerId);
  return orReap(tools, () =>
    asked === null
      ? nextAddress(tools.records, range, vacate)
      : claimAddress(tools.records, range, asked),
  );
}

interface NetworkPool {
  readonly network: Network;
  readonly pool: AddressPool;
}

function address6Of(of: NetworkPool, { ipv6 }: EndpointRequest, tools: DesignTools): string {
  const range = range6Of(of, tools);
  const asked = ipv6 === undefined ? null : parseIpv6(ipv6);
  const text = asked === null ? null : formatIpv6(asked);
  return orReap(tools, () => chooseAddress6(tools.records, range, text));
}

/** Full, or taken: perhaps only by containers that have ended a moment ago. */
function orReap<T>({ reap }: DesignTools, choose: () => T): T {
  try {
    return choose();
  } catch (thrown) {
    if (reap() === 0) throw thrown;
    return choose();
  }
}

const NOBODY: ReadonlySet<number> = new Set();

function rangeOf(network: Network, { pending }: DesignTools): AddressRange {
  const { subnet } = parseCidr(network.subnet ?? "");
  const pool = poolOf(network, "ipv4");
  const ipRange = pool?.ipRange ? parseCidr(pool.ipRange).subnet : null;
  return {
    networkId: network.id,
    networkName: network.name,
    subnet,
    range: ipRange ?? subnet,
    gateway: parseIpv4(network.gateway ?? "") ?? -1,
    auxiliary: pool
      ? new Set(Object.values(pool.auxiliary).map((address) => parseIpv4(address) ?? -1))
      : NOBODY,
    pending,
  };
}

function range6Of({ network, pool }: NetworkPool, { pending }: DesignTools): AddressRange6 {
  const { subnet } = parseCidr6(pool.subnet);
  const normal = (address: string) => formatIpv6(parseIpv6(address) ?? 0n);
  return {
    networkId: network.id,
    networkName: network.name,
    subnet,
    range: pool.ipRange ? parseCidr6(pool.ipRange).subnet : subnet,
    gateway: pool.gateway ? normal(pool.gateway) : null,
    auxiliary: new Set(Object.values(pool.auxiliary).map(normal)),
    pending,
  };
}

/** @throws EngineError "invalid" */
export function linkNameOf(
  { custom }: Network,
  { driverOptions = {} }: EndpointRequest,
  taken: ReadonlySet<string> = new Set(),
): string {
  const asked = driverOptions[LINK_NAME_OPTION];
  if (asked !== undefined && asked !== "") {
    if (!LINK_NAME.test(asked) || asked === "lo") {
      throw invalid(`invalid interface name: ${asked}`);
    }
    if (taken.has(asked)) throw invalid(`the interface name ${asked} is used twice`);
    return asked;
  }
  const prefix = custom ? linkPrefixOf(custom.options) : "eth";
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number += 1;
  return `${prefix}${number}`;
}

/** null for a plain endpoint of the default bridge: nothing of it needs to be kept. */
function customOf({ network, request }: Wish, owner: Owner): CustomEndpoint | null {
  const { custom } = network;
  const { network: _, ...wishes } = request;
  // On a bridge of our own the firewall does it, which knows published ports.
  const isolated =
    network.driver === "bridge" &&
    leadsElsewhere(network) &&
    !bridgeOptions(optionsOf(network)).icc;
  if (custom === null && !isolated && Object.keys(wishes).length === 0) return null;
  const limits = bandwidthOptions({ ...custom?.options, ...request.driverOptions });
  const bandwidth = bandwidthOf(limits);
  const device = deviceOf(network.driver, custom?.options ?? {});
  const sysctls = sysctlsOf(request);
  return {
    request: {
      ...request,
      network: network.name,
      ...(bandwidth && { driverOptions: { ...request.driverOptions, ...limits } }),
    },
    dnsNames: custom === null ? [] : dnsNamesOf(request, owner),
    link: {
      ...(device && { device }),
      ...(isolated ? { isolated } : {}),
      ...(sysctls.length > 0 ? { sysctls } : {}),
      ...(bandwidth && { bandwidth }),
      ...(request.linkLocal?.length ? { linkLocal: request.linkLocal } : {}),
    },
  };
}

/** In Docker's order, each once. */
export function dnsNamesOf(
  { aliases = [] }: EndpointRequest,
  { containerId, containerName, hostname }: Owner,
): string[] {
  const names = [containerName ?? "", ...aliases, shortId(containerId), hostname ?? ""];
  return [...new Set(names)].filter((name) => name !== "");
}

/** `net.ipv4.conf.IFNAME.log_martians=1,…`. @throws EngineError "invalid" in Docker's words */
function sysctlsOf({ driverOptions = {} }: EndpointRequest): LinkSetting[] {
  const text = driverOptions[SYSCTLS_OPTION];
  if (text === undefined || text === "") return [];
  return text.split(",").map((sysctl) => {
    const match = /^net\.(ipv4|ipv6|mpls)\.([a-z_]+)\.(?:IFNAME|ifname)\.([a-z0-9_]+)=(.*)$/s.exec(
      sysctl,
    );
    const [, family, section = "", name = "", value = ""] = match ?? [];
    if (family !== "ipv4" && family !== "ipv6" && family !== "mpls") {
      throw invalid(
        `invalid endpoint settings:\nunrecognised network interface sysctl '${sysctl}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'`,
      );
    }
    return { family, section, name, value };
  });
}
