/** `--network` and the flags that belong to a network: what goes into NetworkMode and NetworkingConfig. */
import { invalid } from "#base";
import type { ContainerCreateRequest, EndpointSettings } from "#wire/docker";

import type { Flags } from "../flags/spec.ts";
import { csvFields, keyValue } from "./csv.ts";

interface Attachment {
  target: string;
  aliases: string[];
  links: string[];
  linkLocalIps: string[];
  driverOptions: Record<string, string>;
  ipv4?: string;
  ipv6?: string;
  mac?: string;
  priority?: number;
}

export function checkNetwork(text: string): string {
  parseNetwork(text);
  return text;
}

/** A value of `--network`: a name, or `name=…,alias=…,ip=…`. @throws Error in docker's words */
export function parseNetwork(text: string): Attachment {
  const attachment: Attachment = {
    target: text,
    aliases: [],
    links: [],
    linkLocalIps: [],
    driverOptions: {},
  };
  // A name may hold "=" only in the long form: `a=b` alone is a field.
  if (!text.includes("=")) return attachment;
  attachment.target = "";
  for (const field of csvFields(text)) setField(attachment, field);
  if (attachment.target === "") throw new Error("network name/id is not specified");
  return attachment;
}

function setField(attachment: Attachment, field: string): void {
  const [rawKey, rawValue] = keyValue(field.trim());
  if (rawValue === undefined || rawValue === "") throw new Error(`invalid field ${field}`);
  const key = rawKey.trim().toLowerCase();
  const value = rawValue.trim().toLowerCase();
  switch (key) {
    case "name":
      attachment.target = value;
      return;
    case "alias":
      attachment.aliases.push(value);
      return;
    case "ip":
      attachment.ipv4 = value;
      return;
    case "ip6":
      attachment.ipv6 = value;
      return;
    case "mac-address":
      attachment.mac = checkMac(value);
      return;
    case "link-local-ip":
      attachment.linkLocalIps.push(value);
      return;
    case "driver-opt": {
      const [name, option] = keyValue(rawValue.trim());
      if (option === undefined) throw new Error("invalid key value pair format in driver options");
      attachment.driverOptions[name] = option;
      return;
    }
    case "gw-priority":
      if (!/^-?\d+$/.test(value)) {
        throw new Error(`invalid gw-priority (${value}): invalid syntax`);
      }
      attachment.priority = Number(value);
      return;
    default:
      throw new Error(`invalid field key ${key}`);
  }
}

/** @throws EngineError "invalid" in docker's words */
export function checkMac(text: string): string {
  const mac = text.trim();
  if (/^[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}$/.test(mac)) return mac;
  throw invalid(`${text} is not a valid mac address`);
}

export interface NetworkOptions {
  readonly mode: string;
  readonly networking: NonNullable<ContainerCreateRequest["NetworkingConfig"]>;
}

/** All flags about networks, together. */
export function parseNetworks(flags: Flags): NetworkOptions {
  const attachments = flags.list("network").map(parseNetwork);
  const [first = parseNetwork("default"), ...others] = attachments;
  addContainerFlags(first, flags);
  const endpoints: Record<string, Partial<EndpointSettings>> = {};
  for (const attachment of [first, ...others]) {
    const { target } = attachment;
    if (target === "") throw invalid("no name set for network");
    if (target in endpoints)
      throw invalid(`network ${JSON.stringify(target)} is specified multiple times`);
    if (others.length > 0 && !isUserDefined(target)) {
      throw invalid(
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
      );
    }
    endpoints[target] = endpointOf(attachment);
  }
  return { mode: first.target, networking: { EndpointsConfig: endpoints } };
}

const isUserDefined = (target: string): boolean =>
  !["default", "bridge", "host", "none"].includes(target) && !target.startsWith("container:");

function addContainerFlags(attachment: Attachment, flags: Flags): void {
  const both = (flag: string, what: string) =>
    invalid(`conflicting options: cannot specify both --${flag} and per-network ${what}`);
  const aliases = flags.list("network-alias");
  if (attachment.aliases.length > 0 && aliases.length > 0) throw both("network-alias", "alias");
  if (attachment.links.length > 0 && flags.list("link").length > 0) throw both("link", "links");
  if (attachment.ipv4 && flags.string("ip") !== "") throw both("ip", "IPv4 address");
  if (attachment.ipv6 && flags.string("ip6") !== "") throw both("ip6", "IPv6 address");
  if (attachment.mac && flags.string("mac-address") !== "") {
    throw both("mac-address", "MAC address");
  }
  if (attachment.linkLocalIps.length > 0 && flags.list("link-local-ip").length > 0) {
    throw both("link-local-ip", "link-local IP addresses");
  }
  attachment.aliases.push(...aliases);
  attachment.links.push(...flags.list("link"));
  attachment.linkLocalIps.push(...flags.list("link-local-ip"));
  attachment.ipv4 ??= flags.string("ip");
  attachment.ipv6 ??= flags.string("ip6");
  attachment.mac ??= flags.string("mac-address");
}

function endpointOf(attachment: Attachment): Partial<EndpointSettings> {
  const { aliases, links, linkLocalIps, driverOptions, ipv4, ipv6, mac, priority } = attachment;
  const hasAddress = Boolean(ipv4) || Boolean(ipv6) || linkLocalIps.length > 0;
  return {
    ...(aliases.length > 0 ? { Aliases: aliases } : {}),
    ...(links.length > 0 && isUserDefined(attachment.target) ? { Links: links } : {}),
    ...(Object.keys(driverOptions).length > 0 ? { DriverOpts: driverOptions } : {}),
    ...(mac ? { MacAddress: mac } : {}),
    ...(priority === undefined ? {} : { GwPriority: priority }),
    ...(hasAddress
      ? {
          IPAMConfig: {
            ...(ipv4 ? { IPv4Address: ipv4 } : {}),
            ...(ipv6 ? { IPv6Address: ipv6 } : {}),
            ...(linkLocalIps.length > 0 ? { LinkLocalIPs: linkLocalIps } : {}),
          },
        }
      : {}),
  };
}
