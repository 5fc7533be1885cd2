/**
 * What a new network will be: a request, checked and completed. Pure but for the pools it is handed; nothing is
 * recorded or made here. Sentences are Docker's.
 */
import { assert, conflict, forbidden, invalid, newId, notFound } from "#base";

import { overlaps, parseCidr } from "./addresses/ip.ts";
import { overlaps6, parseCidr6 } from "./addresses/ipv6.ts";
import { checkBandwidth, checkOwnOptions } from "./bandwidth.ts";
import {
  checkConfiguration,
  CONFIGURATION_DRIVER,
  isConfiguration,
  withConfiguration,
} from "./configuration.ts";
import type { AddressPool, Network, NetworkDriver, NetworkRequest } from "./network-service.ts";
import {
  BRIDGE_NAME,
  bridgeOptions,
  DEFAULT_MTU,
  deviceOf,
  LINK_NAME,
  linkPrefixOf,
  mtuOf,
} from "./options.ts";
import { checkedPools, designPools, type SubnetChooser } from "./pool-design.ts";

export interface DesignContext {
  readonly networks: readonly Network[];
  readonly chooser: SubnetChooser;
  /** Name of a bridge nobody asked one for. */
  readonly linkNameOf: (id: string) => string;
}

const PREDEFINED: ReadonlySet<string> = new Set(["bridge", "host", "none", "default"]);
/** Docker has no limit; names are kept and sent with every list. */
const NAME_LIMIT = 255;
/** Labels and options are kept and sent with every list. */
const TEXT_LIMIT_BYTES = 1024 * 1024;

/** @throws EngineError in Docker's words */
export function designNetwork(asked: NetworkRequest, context: DesignContext): Network {
  checkName(asked.name, context.networks);
  checkCommon(asked);
  if (asked.configOnly === true) return designConfiguration(asked);
  const request = withConfiguration(asked, context.networks);
  const { name, internal, labels, options, configFrom } = request;
  const driver = driverOf(request.driver);
  if (!request.ipv4 && !request.ipv6) throw invalid("IPv4 or IPv6 must be enabled");
  checkOptions(driver, request);
  const id = newId();
  const pools = designPools(request, driver, context.chooser);
  checkOverlaps(pools, { id, name, driver }, context.networks);
  const [ipv4] = pools.filter(({ family }) => family === "ipv4");
  return {
    id,
    name,
    driver,
    createdAt: new Date(),
    subnet: ipv4?.subnet ?? null,
    gateway: ipv4?.gateway ?? null,
    bridge: linkOf(driver, id, request, context),
    mtu: mtuOf(options),
    custom: {
      ipv4: request.ipv4,
      ipv6: request.ipv6,
      pools,
      internal,
      attachable: request.attachable,
      labels,
      options,
      ipam: { driver: "default", options: request.ipam.options },
      foreignLink: false,
      ...(configFrom !== undefined && { configFrom }),
    },
  };
}

/** Options are looked at when a network is made from it, and its driver is known. */
function designConfiguration(request: NetworkRequest): Network {
  checkConfiguration(request);
  if (request.driver === "overlay") driverOf(request.driver);
  const { name, ipv4, ipv6, labels, options, ipam } = request;
  const asked = checkedPools(ipam.pools).filter(({ pool }) => pool.subnet !== "");
  return {
    id: newId(),
    name,
    driver: CONFIGURATION_DRIVER,
    createdAt: new Date(),
    subnet: null,
    gateway: null,
    bridge: null,
    mtu: DEFAULT_MTU,
    custom: {
      ipv4,
      ipv6,
      pools: asked.map(({ pool, family }) => ({
        family,
        subnet: pool.subnet,
        gateway: pool.gateway === "" ? null : pool.gateway,
        ipRange: pool.ipRange === "" ? null : pool.ipRange,
        auxiliary: pool.auxiliary,
      })),
      internal: false,
      attachable: false,
      labels,
      options,
      ipam: { driver: "default", options: ipam.options },
      foreignLink: false,
      configOnly: true,
    },
  };
}

/** As Docker's: anything that is not blank. Links and files are named by ids. */
function checkName(name: string, networks: readonly Network[]): void {
  if (name.trim() === "") throw invalid("invalid name: name is empty");
  if (PREDEFINED.has(name)) {
    throw forbidden(`operation is not permitted on predefined ${name} network `);
  }
  if (name.length > NAME_LIMIT) {
    throw invalid(`invalid network name: it has more than ${NAME_LIMIT} characters`);
  }
  if (networks.some((network) => network.name === name)) {
    throw conflict(`network with name ${name} already exists`);
  }
}

function checkCommon({ labels, options, ipam }: NetworkRequest): void {
  if (ipam.driver !== "" && ipam.driver !== "default") {
    throw invalid(`invalid ipam driver: "${ipam.driver}"`);
  }
  if (JSON.stringify([labels, options, ipam]).length > TEXT_LIMIT_BYTES) {
    throw invalid("the labels and options of a network are too long");
  }
}

function driverOf(text: string): NetworkDriver {
  switch (text) {
    case "":
    case "default":
    case "bridge":
      return "bridge";
    case "macvlan":
    case "ipvlan":
      return text;
    case "host":
    case "null":
      throw forbidden(`only one instance of "${text}" network is allowed`);
    case "overlay":
      throw forbidden(
        `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`,
      );
    default:
      throw notFound(`could not find plugin ${text} in v1 plugin registry: plugin not found`);
  }
}

function checkOptions(driver: NetworkDriver, { options, internal }: NetworkRequest): void {
  checkBandwidth(driver, options);
  if (driver !== "bridge") {
    checkOwnOptions(options);
    deviceOf(driver, options);
    linkPrefixOf(options);
    if (options["parent"] === "lo") {
      throw invalid(`loopback interface is not a valid ${driver} parent link`);
    }
    return;
  }
  const { gatewayMode4, gatewayMode6 } = bridgeOptions(options);
  if (!internal && (gatewayMode4 === "isolated" || gatewayMode6 === "isolated")) {
    throw invalid("gateway mode 'isolated' can only be used for an internal network");
  }
}

/** The bridge, or the parent link; null: an internal dummy is made. */
function linkOf(
  driver: NetworkDriver,
  id: string,
  { options }: NetworkRequest,
  { linkNameOf, networks }: DesignContext,
): string {
  const asked = driver === "bridge" ? options[BRIDGE_NAME] : options["parent"];
  if (asked === undefined || asked === "") return linkNameOf(id);
  if (!LINK_NAME.test(asked)) {
    throw invalid(
      driver === "bridge"
        ? `invalid bridge name: ${asked}`
        : `the requested parent interface ${asked} was not found on the Docker host`,
    );
  }
  if (driver !== "bridge") return asked;
  const same = networks.find((network) => network.driver === "bridge" && network.bridge === asked);
  if (same) {
    throw forbidden(
      `cannot create network ${id} (${asked}): conflicts with network ${same.id} (${asked}): networks have same bridge name`,
    );
  }
  return asked;
}

/** @throws EngineError "forbidden" */
function checkOverlaps(
  pools: readonly AddressPool[],
  own: Pick<Network, "id" | "name" | "driver">,
  networks: readonly Network[],
): void {
  for (const { family, subnet } of pools) {
    for (const other of networks) {
      for (const taken of subnetsOf(other, family)) {
        const clash =
          family === "ipv4"
            ? overlaps(parseCidr(subnet).subnet, parseCidr(taken).subnet)
            : overlaps6(parseCidr6(subnet).subnet, parseCidr6(taken).subnet);
        if (!clash) continue;
        assert(own.id !== other.id, "a new network is new");
        throw forbidden("invalid pool request: Pool overlaps with other one on this address space");
      }
    }
  }
}

/** The subnets a network has of one family. */
export function subnetsOf(network: Network, family: "ipv4" | "ipv6"): string[] {
  const { custom, predefined } = network;
  if (isConfiguration(network)) return [];
  if (custom === null && family === "ipv4") return network.subnet === null ? [] : [network.subnet];
  const { pools = [] } = custom ?? predefined ?? {};
  return pools.filter((pool) => pool.family === family).map(({ subnet }) => subnet);
}
