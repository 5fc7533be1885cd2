/** The default bridge and new networks as flags and configuration file want them, checked as far as nobody else does. */
import { isIP } from "node:net";

import { invalid, sentenceOf } from "#base";
import { checkCidr, type NetworkOptions } from "#engine/network";

import type { FlagValues } from "./daemon-flag-parser.ts";
import { isObject } from "./daemon-json.ts";
import { hostAddressOf, markOf } from "./daemon-option-checks.ts";

/** Options of networks that do not say them, by driver. */
export type DefaultNetworkOptions = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** dockerd's word for "no default bridge". */
const NO_BRIDGE = "none";

/**
 * @param more.pools of the flag and of the file, as the flag says them
 * @param more.dataRoot null: the system's engine
 * @throws EngineError "invalid"
 */
export function networkOptionsOf(
  values: FlagValues,
  more: { readonly pools: readonly string[]; readonly dataRoot: string | null },
): NetworkOptions {
  const text = (name: string): string | null => {
    const value = values.get(name);
    return typeof value === "string" && value !== "" ? value : null;
  };
  const cidr = (name: string, family: 4 | 6) => cidrOf(name, text(name), family);
  const ipv6 = values.get("ipv6") === true;
  for (const name of ["bip6", "fixed-cidr-v6", "default-gateway-v6"]) {
    if (text(name) === null || ipv6) continue;
    throw invalid(`${name} needs ipv6: the default bridge has no IPv6 without it`);
  }
  const unruled = [
    ...(values.get("iptables") === false ? (["ipv4"] as const) : []),
    ...(values.get("ip6tables") === false ? (["ipv6"] as const) : []),
  ];
  const mtu = mtuOf(values.get("mtu"));
  const mode = text("bridge");
  const [bip, bip6] = [cidr("bip", 4), cidr("bip6", 6)];
  const [fixedCidr, fixedCidr6] = [cidr("fixed-cidr", 4), cidr("fixed-cidr-v6", 6)];
  const defaultGateway = addressOf("default-gateway", text("default-gateway"), 4);
  const defaultGateway6 = addressOf("default-gateway-v6", text("default-gateway-v6"), 6);
  const defaultAddress = hostAddressOf(text("ip"));
  const mark = markOf(text("bridge-accept-fwmark"));
  return {
    ipv6,
    icc: values.get("icc") !== false,
    masquerade: values.get("ip-masq") !== false,
    relay: values.get("userland-proxy") !== false,
    defaultAddressPools: more.pools,
    forward: values.get("ip-forward") !== false,
    guardForwarding: values.get("ip-forward-no-drop") !== true,
    directRouting: values.get("allow-direct-routing") === true,
    ...(mark && { acceptedMark: mark }),
    ...(unruled.length > 0 && { unruled }),
    ...(mode && bridgeOf(mode, more.dataRoot)),
    ...(mtu && { mtu }),
    ...(bip && { bip }),
    ...(bip6 && { bip6 }),
    ...(fixedCidr && { fixedCidr }),
    ...(fixedCidr6 && { fixedCidr6 }),
    ...(defaultGateway && { defaultGateway }),
    ...(defaultGateway6 && { defaultGateway6 }),
    ...(defaultAddress && { defaultAddress }),
  };
}

/** Without a default bridge the other links and the table still have names: one for each engine of a host. */
function bridgeOf(
  name: string,
  dataRoot: string | null,
): Pick<NetworkOptions, "bridge" | "withoutBridge"> {
  if (name !== NO_BRIDGE) return { bridge: name };
  if (dataRoot === null) return { withoutBridge: true };
  const tag = new Bun.CryptoHasher("sha256").update(dataRoot).digest("hex").slice(0, 5);
  return { bridge: `naru${tag}`, withoutBridge: true };
}

function cidrOf(name: string, text: string | null, family: 4 | 6): string | null {
  if (text === null) return null;
  try {
    if (text.includes(":") !== (family === 6)) throw invalid(`invalid CIDR address: ${text}`);
    checkCidr(text);
  } catch (cause) {
    throw invalid(`parse ${name} failed: ${sentenceOf(cause)}`);
  }
  return text;
}

function addressOf(name: string, text: string | null, family: 4 | 6): string | null {
  if (text === null || isIP(text) === family) return text;
  throw invalid(
    `invalid argument "${text}" for "--${name}" flag: ${text} is not an IPv${family} address`,
  );
}

/** Docker takes 0 for "not said". */
function mtuOf(value: unknown): number | null {
  if (typeof value !== "number" || value === 0) return null;
  if (value < 0) throw invalid(`invalid default MTU: ${value}`);
  return value;
}

/** `bridge=com.docker.network.driver.mtu=1400` of the flag, over `{"bridge": {…}}` of the file. */
export function defaultNetworkOptionsOf(
  flags: readonly string[],
  file: unknown,
): DefaultNetworkOptions {
  const options: Record<string, Record<string, string>> = {};
  if (file !== undefined && !isObject(file)) throw invalid('"default-network-opts" is no object');
  for (const [driver, given] of Object.entries(file ?? {})) {
    if (!isObject(given)) throw invalid(`default-network-opts: ${driver} is no object`);
    for (const [name, value] of Object.entries(given)) {
      if (typeof value !== "string") {
        throw invalid(`default-network-opts: ${driver}: ${name} is no text`);
      }
      (options[driver] ??= {})[name] = value;
    }
  }
  for (const flag of flags) {
    const match = /^([^=]+)=([^=]+)=(.*)$/s.exec(flag);
    if (match === null) {
      throw invalid(
        `invalid argument "${flag}" for "--default-network-opt" flag: use driver=name=value`,
      );
    }
    const [, driver = "", name = "", value = ""] = match;
    (options[driver] ??= {})[name] = value;
  }
  return options;
}
