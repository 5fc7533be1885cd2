/** Networks in requests: those of a new container, one to connect to, and one to make. */
import { invalid, joinErrors } from "#base";
import type { HostConfig } from "#engine/container";
import type { EndpointRequest, NetworkRequest } from "#engine/network";
import type { ContainerCreateRequest, EndpointSettings } from "#wire/docker";
import type * as wire from "#wire/docker";

import type { HostDefaults } from "../encode/host-config.ts";
import { decodeNetworkMode } from "./modes.ts";
import { networkCreateShape } from "./network-shapes.ts";
import { decodeShape } from "./shape.ts";

export interface Networking {
  readonly mode: HostConfig["networkMode"];
  readonly macAddress: string | null;
  /** null: the network of the mode alone, with nothing special. */
  readonly networks: readonly EndpointRequest[] | null;
}

/** The network of HostConfig, and what NetworkingConfig adds to it. @throws EngineError "invalid" */
export function decodeNetworking(
  asked: Partial<ContainerCreateRequest>,
  host: Partial<wire.HostConfig>,
): Networking {
  const mode = decodeNetworkMode(host.NetworkMode ?? "");
  const given = Object.entries(asked.NetworkingConfig?.EndpointsConfig ?? {});
  const endpoints = given.map(([name, endpoint]) => decodeEndpoint(nameOf(name), endpoint ?? {}));
  const own = mode.mode === "network" ? mode.name : (host.NetworkMode ?? "");
  const ofMode = endpoints.find(({ network }) => network === own) ?? { network: own };
  const others = endpoints.filter(({ network }) => network !== own);
  for (const endpoint of endpoints) checkPredefined(endpoint);
  const common = asked.MacAddress ?? "";
  if (common !== "" && ofMode.macAddress !== undefined && ofMode.macAddress !== common) {
    throw invalid(
      "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
    );
  }
  const macAddress = ofMode.macAddress ?? (common === "" ? null : common);
  if (mode.mode !== "network") {
    checkAlone(mode, { others, macAddress });
    return { mode, macAddress: null, networks: null };
  }
  const isPlain = Object.keys(ofMode).every((key) => key === "network" || key === "macAddress");
  if (isPlain && others.length === 0) return { mode, macAddress, networks: null };
  const first = macAddress === null ? ofMode : { ...ofMode, macAddress };
  return { mode, macAddress, networks: [first, ...others] };
}

const nameOf = (name: string): string => (name === "default" ? "bridge" : name);

/** What shares a namespace, or has none, is in no other network. */
function checkAlone(
  mode: HostConfig["networkMode"],
  { others, macAddress }: { others: readonly EndpointRequest[]; macAddress: string | null },
): void {
  if (macAddress !== null) throw invalid("conflicting options: mac-address and the network mode");
  if (others.length > 0) {
    throw invalid(
      mode.mode === "none"
        ? "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        : "container sharing network namespace with another container or host cannot be connected to any other network",
    );
  }
}

/** @throws EngineError "invalid" for what only users' networks have */
function checkPredefined({ network, ipv4, ipv6, aliases = [] }: EndpointRequest): void {
  if (!["bridge", "host", "none"].includes(network) && !network.startsWith("container:")) return;
  const errors: string[] = [];
  if (ipv4 !== undefined || ipv6 !== undefined) {
    errors.push(
      "user specified IP address is supported on user defined networks only",
      "user specified IP address is supported only when connecting to networks with user configured subnets",
    );
  }
  if (aliases.length > 0) {
    errors.push("network-scoped aliases are only supported for user-defined networks");
  }
  if (errors.length > 0) {
    throw invalid(
      `invalid config for network ${network}: invalid endpoint settings:\n${joinErrors(errors)}`,
    );
  }
}

/** One endpoint's settings; what is empty asks for nothing, but inspect shows a list that was given as one. */
export function decodeEndpoint(
  network: string,
  settings: Partial<EndpointSettings>,
): EndpointRequest {
  const { IPAMConfig: ipam, Aliases: aliases, Links: links, DriverOpts: options } = settings;
  const { MacAddress: macAddress = "", GwPriority: gatewayPriority = 0 } = settings;
  const { IPv4Address: ipv4 = "", IPv6Address: ipv6 = "", LinkLocalIPs: linkLocal } = ipam ?? {};
  return {
    network,
    ...(aliases ? { aliases } : {}),
    ...(links ? { links } : {}),
    ...(ipv4 === "" ? {} : { ipv4 }),
    ...(ipv6 === "" ? {} : { ipv6 }),
    ...(ipam && (linkLocal?.length || ipv4 + ipv6 === "") ? { linkLocal: linkLocal ?? [] } : {}),
    ...(macAddress === "" ? {} : { macAddress }),
    ...(options ? { driverOptions: options } : {}),
    ...(gatewayPriority === 0 ? {} : { gatewayPriority }),
  };
}

/**
 * `POST /networks/create`.
 * @param more.saysIpv4 false for clients that cannot ask for a network without IPv4
 * @throws EngineError "invalid"
 */
export function decodeNetworkCreate(
  body: unknown,
  { defaults = {}, saysIpv4 }: { defaults?: HostDefaults["networkOptions"]; saysIpv4: boolean },
): NetworkRequest {
  const asked = decodeShape<wire.NetworkCreateRequest>(body, networkCreateShape);
  const refuse = (what: string): never => {
    throw invalid(what);
  };
  if (asked.Ingress === true) refuse("ingress network can be created only on swarm managers");
  if ((asked.Scope ?? "") !== "" && asked.Scope !== "local") {
    refuse("cannot create a swarm scoped network when swarm is not active");
  }
  const { IPAM: ipam } = asked;
  const pools = (ipam?.Config ?? []).map((pool) => ({
    subnet: pool.Subnet ?? "",
    gateway: pool.Gateway ?? "",
    ipRange: pool.IPRange ?? "",
    auxiliary: pool.AuxiliaryAddresses ?? {},
  }));
  const driver = asked.Driver ?? "";
  const configFrom = asked.ConfigFrom?.Network ?? "";
  const options: Record<string, string> = {
    // A configuration says all of them.
    ...(asked.ConfigFrom ? {} : defaults[driver === "" ? "bridge" : driver]),
    ...asked.Options,
  };
  return {
    name: asked.Name ?? "",
    driver,
    ipv4: familyOf("ipv4", saysIpv4 ? (asked.EnableIPv4 ?? null) : null, options) ?? true,
    ipv6: familyOf("ipv6", asked.EnableIPv6 ?? null, options) ?? false,
    internal: asked.Internal ?? false,
    attachable: asked.Attachable ?? false,
    ...(asked.Scope === "local" && { scope: asked.Scope }),
    ...(asked.ConfigOnly === true && { configOnly: true as const }),
    ...(configFrom !== "" && { configFrom }),
    labels: asked.Labels ?? {},
    options,
    ipam: { driver: ipam?.Driver ?? "", options: ipam?.Options ?? {}, pools },
  };
}

/** As the request says; else as its options do, or the operator's defaults among them. */
function familyOf(
  family: "ipv4" | "ipv6",
  asked: boolean | null,
  options: Record<string, string>,
): boolean | null {
  const name = `com.docker.network.enable_${family}`;
  const text = options[name];
  if (asked !== null) {
    // It would not be true in inspect's answer.
    delete options[name];
    return asked;
  }
  if (text === undefined) return null;
  if (/^(1|t|true)$/i.test(text)) return true;
  if (/^(0|f|false)$/i.test(text)) return false;
  throw invalid(`driver-opt "${name}" is not a valid bool`);
}
