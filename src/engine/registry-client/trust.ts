/**
 * Which registries may be spoken to how: whose certificate is checked against what, and where plain http will do.
 * As Docker: loopback addresses and the operator's list are "insecure": https is tried first, then http.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";

import ipaddr from "ipaddr.js";

import { internal } from "#base";

const SYSTEM_BUNDLES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

type Network = [ipaddr.IPv4 | ipaddr.IPv6, number];

const LOOPBACK: readonly Network[] = [
  ipaddr.IPv4.parseCIDR("127.0.0.0/8"),
  ipaddr.IPv6.parseCIDR("::1/128"),
];

export interface TlsOptions {
  readonly rejectUnauthorized?: boolean;
  readonly ca?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

export interface Trust {
  /** Whether a host (`localhost:5000`) may be spoken to without a checked certificate, or without TLS at all. */
  isInsecure(host: string): Promise<boolean>;
  /** The operator's certificates for a host; {} where there are none. */
  tlsOf(host: string): TlsOptions;
}

export function openTrust(options: {
  insecureRegistries: readonly string[];
  certificatesDirectory: string;
}): Trust {
  const networks: Network[] = [];
  const hosts = new Set<string>();
  for (const entry of options.insecureRegistries) {
    const text = entry.replace(/^https?:\/\//, "").toLowerCase();
    if (ipaddr.isValidCIDR(text)) networks.push(ipaddr.parseCIDR(text));
    else hosts.add(text);
  }
  return {
    isInsecure: async (host) => hosts.has(host.toLowerCase()) || (await isIn(host, networks)),
    tlsOf: (host) => readCertificates(join(options.certificatesDirectory, host)),
  };
}

/** The authorities of Bun and of this system, which may know a company's own; read when they are needed. */
export function systemAuthorities(): string[] {
  const named = process.env["SSL_CERT_FILE"];
  const bundle = [...(named ? [named] : []), ...SYSTEM_BUNDLES].find((path) => existsSync(path));
  return bundle === undefined
    ? [...rootCertificates]
    : [...rootCertificates, readFileSync(bundle, "utf8")];
}

async function isIn(host: string, networks: readonly Network[]): Promise<boolean> {
  const name = hostnameOf(host);
  if (name === "localhost") return true;
  const within = (address: string, candidates: readonly Network[]): boolean => {
    const parsed = ipaddr.process(address);
    return candidates.some(
      ([base, bits]) => base.kind() === parsed.kind() && parsed.match([base, bits] as never),
    );
  };
  if (ipaddr.isValid(name)) return within(name, [...LOOPBACK, ...networks]);
  if (networks.length === 0) return false;
  try {
    const addresses = await Bun.dns.lookup(name);
    return addresses.some(({ address }) => within(address, networks));
  } catch {
    // A name that does not resolve fails by itself, with a better sentence, when it is dialled.
    return false;
  }
}

/** `[::1]:5000` is ::1, `localhost:5000` is localhost. */
function hostnameOf(host: string): string {
  const bracketed = /^\[(.*)\](?::\d+)?$/.exec(host);
  return (bracketed?.[1] ?? host.replace(/:\d+$/, "")).toLowerCase();
}

function readCertificates(directory: string): TlsOptions {
  if (directory.includes("..") || !existsSync(directory)) return {};
  const names = readdirSync(directory);
  const read = (name: string): string => readFileSync(join(directory, name), "utf8");
  const authorities = names.filter((name) => name.endsWith(".crt")).map(read);
  const certificate = names.find((name) => name.endsWith(".cert"));
  const key = names.find((name) => name.endsWith(".key"));
  if ((certificate === undefined) !== (key === undefined)) {
    throw internal(
      certificate === undefined
        ? `missing client certificate ${key?.replace(/key$/, "cert")} for key ${key}`
        : `missing key ${certificate.replace(/cert$/, "key")} for client certificate ${certificate}. CA certificates must use the extension .crt`,
    );
  }
  return {
    ...(authorities.length > 0 ? { ca: [...systemAuthorities(), ...authorities] } : {}),
    ...(certificate !== undefined && key !== undefined
      ? { cert: read(certificate), key: read(key) }
      : {}),
  };
}
