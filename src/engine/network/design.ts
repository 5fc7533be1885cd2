/**
 * What a new network will be: a request, checked and completed. Pure but for the pools it is handed; nothing is
 * recorded or made here. Sentences are Docker's.
 */
import { assert, conflict, forbidden, invalid, newId, notFound } from "#base";

import {
  contains,
  lastOf,
  overlaps,
  parseCidr,
  parseIpv4,
  formatIpv4,
  formatSubnet,
} from "./addresses/ip.ts";
import {
  contains6,
  formatIpv6,
  formatSubnet6,
  overlaps6,
  parseCidr6,
  parseIpv6,
} from "./addresses/ipv6.ts";
import { checkBandwidth, checkOwnOptions } from "./bandwidth.ts";
import type { AddressPool, Network, NetworkDriver, NetworkRequest } from "./network-service.ts";
import { BRIDGE_NAME, bridgeOptions, deviceOf, LINK_NAME, linkPrefixOf, mtuOf } from "./options.ts";

type AskedPool = NetworkRequest["ipam"]["pools"][number];

/** Subnets where none was asked for. @throws EngineError when all are in use */
export interface SubnetChooser {
  choose4(): string;
  choose6(): string;
}

export interface DesignContext {
  readonly networks: readonly Network[];
  readonly chooser: SubnetChooser;
  /** Name of a bridge nobody asked one for. */
  readonly linkNameOf: (id: string) => string;
}

const PREDEFINED: ReadonlySet<string> = new Set(["bridge", "host", "none", "default"]);
/** As Docker's own check of names. */
const NETWORK_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const NAME_LIMIT = 255;
/** Labels and options are kept and sent with every list. */
const TEXT_LIMIT_BYTES = 1024 * 1024;

/** @throws EngineError in Docker's words */
export function designNetwork(request: NetworkRequest, context: DesignContext): Network {
  const { name, internal, labels, options } = request;
  checkName(name, context.networks);
  const driver = driverOf(request.driver);
  if (!request.ipv4 && !request.ipv6) throw invalid("IPv4 or IPv6 must be enabled");
  if (request.ipam.driver !== "" && request.ipam.driver !== "default") {
    throw invalid(`invalid ipam driver: "${request.ipam.driver}"`);
  }
  if (JSON.stringify([labels, options, request.ipam]).length > TEXT_LIMIT_BYTES) {
    throw invalid("the labels and options of a network are too long");
  }
  checkOptions(driver, request);
  const id = newId();
  const pools = designPools(request, driver, context);
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
    },
  };
}

function checkName(name: string, networks: readonly Network[]): void {
  if (name.trim() === "") throw invalid("invalid name: name is empty");
  if (PREDEFINED.has(name)) {
    throw forbidden(`operation is not permitted on predefined ${name} network `);
  }
  if (!NETWORK_NAME.test(name) || name.length > NAME_LIMIT) {
    throw invalid(
      `invalid network name: ${name.slice(0, NAME_LIMIT)}: only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed`,
    );
  }
  if (networks.some((network) => network.name === name)) {
    throw conflict(`network with name ${name} already exists`);
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

function designPools(
  { ipam, ipv4, ipv6 }: NetworkRequest,
  driver: NetworkDriver,
  { chooser }: DesignContext,
): AddressPool[] {
  const errors: string[] = [];
  const asked = ipam.pools.map((pool) => ({ pool, family: familyOf(pool) }));
  for (const { pool } of asked) errors.push(...poolErrors(pool));
  if (errors.length > 0) throw invalid(`invalid network config:\n${errors.join("\n")}`);
  const pools: AddressPool[] = [];
  for (const [family, enabled] of [
    ["ipv4", ipv4],
    ["ipv6", ipv6],
  ] as const) {
    const wanted = asked.filter((one) => one.family === family).map(({ pool }) => pool);
    if (wanted.length > 1) throw forbidden(`${driver} driver doesn't support multiple subnets`);
    if (!enabled) continue;
    const [pool = EMPTY] = wanted;
    const choose = () => (family === "ipv4" ? chooser.choose4() : chooser.choose6());
    const subnet = pool.subnet === "" ? choose() : pool.subnet;
    pools.push({
      family,
      subnet,
      gateway: pool.gateway === "" ? firstOf(subnet, pool) : pool.gateway,
      ipRange: pool.ipRange === "" ? null : pool.ipRange,
      auxiliary: pool.auxiliary,
      ...chosenOf(pool),
    });
  }
  return pools;
}

function chosenOf({ subnet, gateway }: AskedPool): Pick<AddressPool, "chosen"> {
  if (subnet === "") return { chosen: "subnet" };
  return gateway === "" ? { chosen: "gateway" } : {};
}

const EMPTY: AskedPool = { subnet: "", gateway: "", ipRange: "", auxiliary: {} };

const familyOf = ({ subnet, gateway }: AskedPool): "ipv4" | "ipv6" =>
  subnet.includes(":") || (subnet === "" && gateway.includes(":")) ? "ipv6" : "ipv4";

/** Every mistake, as Docker lists them. */
function poolErrors(pool: AskedPool): string[] {
  const { subnet, gateway, ipRange, auxiliary } = pool;
  if (subnet === "") {
    if (gateway === "" && ipRange === "" && Object.keys(auxiliary).length === 0) return [];
    return [
      "invalid network config: a gateway, an ip-range or an auxiliary address needs a subnet",
    ];
  }
  const parsed = parseSubnet(subnet);
  if (parsed === null) return [`invalid subnet ${subnet}: invalid CIDR block notation`];
  const errors: string[] = [];
  if (parsed.canonical !== canonicalText(subnet)) {
    errors.push(`invalid subnet ${subnet}: it should be ${parsed.canonical}`);
  }
  if (ipRange !== "") errors.push(...rangeErrors(ipRange, parsed));
  if (gateway !== "") {
    const error = addressError(gateway, parsed);
    if (error !== null) errors.push(`invalid gateway ${gateway}: ${error}`);
  }
  for (const [name, address] of Object.entries(auxiliary)) {
    const error = addressError(address, parsed);
    if (error !== null) errors.push(`invalid auxiliary address ${name}: ${error}`);
  }
  return errors;
}

interface ParsedSubnet {
  readonly family: 4 | 6;
  readonly canonical: string;
  readonly prefixLength: number;
  readonly contains: (address: string) => boolean;
  readonly text: string;
}

function parseSubnet(text: string): ParsedSubnet | null {
  try {
    if (text.includes(":")) {
      const { subnet } = parseCidr6(text);
      return {
        family: 6,
        canonical: formatSubnet6(subnet),
        prefixLength: subnet.prefixLength,
        contains: (address) => contains6(subnet, parseIpv6(address) ?? -1n),
        text,
      };
    }
    const { subnet } = parseCidr(text);
    return {
      family: 4,
      canonical: formatSubnet(subnet),
      prefixLength: subnet.prefixLength,
      contains: (address) => contains(subnet, parseIpv4(address) ?? -1),
      text,
    };
  } catch {
    return null;
  }
}

/** `FD00::/64` and `fd00:0::/64` are one: as the platform writes it. */
function canonicalText(text: string): string {
  if (!text.includes(":")) return text;
  const { address, subnet } = parseCidr6(text);
  return `${formatIpv6(address)}/${subnet.prefixLength}`;
}

function rangeErrors(ipRange: string, subnet: ParsedSubnet): string[] {
  const range = parseSubnet(ipRange);
  if (range === null) return [`invalid ip-range ${ipRange}: invalid CIDR block notation`];
  if (range.family !== subnet.family) {
    return [`invalid ip-range ${ipRange}: parent subnet is an IPv${subnet.family} block`];
  }
  const errors: string[] = [];
  if (range.prefixLength < subnet.prefixLength) {
    errors.push(
      `invalid ip-range ${ipRange}: CIDR block is bigger than its parent subnet ${subnet.text}`,
    );
  }
  if (range.canonical !== canonicalText(ipRange)) {
    errors.push(`invalid ip-range ${ipRange}: it should be ${range.canonical}`);
  }
  if (!subnet.contains(ipRange.split("/", 1)[0] ?? "")) {
    errors.push(
      `invalid ip-range ${ipRange}: parent subnet ${subnet.text} doesn't contain ip-range`,
    );
  }
  return errors;
}

function addressError(text: string, subnet: ParsedSubnet): string | null {
  const known = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
  if (known === null) return "invalid address";
  if (text.includes(":") !== (subnet.family === 6)) {
    return `parent subnet is an IPv${subnet.family} block`;
  }
  return subnet.contains(text) ? null : `parent subnet ${subnet.text} doesn't contain this address`;
}

/** The gateway nobody chose: the first address that is free, of the range if there is one. */
function firstOf(subnet: string, { ipRange, auxiliary }: AskedPool): string | null {
  const taken = new Set(Object.values(auxiliary));
  if (subnet.includes(":")) {
    const whole = parseCidr6(subnet).subnet;
    if (whole.prefixLength > 126) return null;
    const { base } = parseCidr6(ipRange === "" ? subnet : ipRange).subnet;
    for (let address = base === whole.base ? base + 1n : base; ; address += 1n) {
      if (!contains6(whole, address)) return null;
      if (!taken.has(formatIpv6(address))) return formatIpv6(address);
    }
  }
  const whole = parseCidr(subnet).subnet;
  if (whole.prefixLength > 31) return null;
  const { base } = parseCidr(ipRange === "" ? subnet : ipRange).subnet;
  for (let address = base === whole.base ? base + 1 : base; address < lastOf(whole); address += 1) {
    if (!taken.has(formatIpv4(address))) return formatIpv4(address);
  }
  return null;
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
  if (custom === null && family === "ipv4") return network.subnet === null ? [] : [network.subnet];
  const { pools = [] } = custom ?? predefined ?? {};
  return pools.filter((pool) => pool.family === family).map(({ subnet }) => subnet);
}
