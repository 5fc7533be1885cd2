/** Checks of single flag values that docker makes before it asks the daemon; each returns the value to keep. */
import { parseBytes, quote } from "../flags/values.ts";

const keyOf = (text: string): string => text.split("=", 1)[0] ?? "";

/** `NAME=value`, or `NAME` for the value this process has; a name without a value stays bare when it has none. */
export const checkEnv =
  (environment: Readonly<Record<string, string | undefined>>) =>
  (text: string): string => {
    if (keyOf(text) === "") throw new Error(`invalid environment variable: ${text}`);
    if (text.includes("=")) return text;
    const inherited = environment[text];
    return inherited === undefined ? text : `${text}=${inherited}`;
  };

export function checkLabel(text: string): string {
  if (keyOf(text) === "") throw new Error(`invalid label '${text}': empty name`);
  return text;
}

export function checkAttach(text: string): string {
  const stream = text.toLowerCase();
  if (!["stdin", "stdout", "stderr"].includes(stream)) {
    throw new Error("valid streams are STDIN, STDOUT and STDERR");
  }
  return stream;
}

export function checkExtraHost(text: string): string {
  const match = /^([^=]*)=(.*)$/.exec(text) ?? /^([^:]*):(.*)$/.exec(text);
  const [, host = "", address = ""] = match ?? [];
  if (host === "") throw new Error(`bad format for add-host: ${quote(text)}`);
  const bare = address.replace(/^\[(.*)\]$/, "$1");
  if (address !== "host-gateway" && !isIp(bare)) {
    throw new Error(`invalid IP address in add-host: ${quote(address)}`);
  }
  return `${host}:${bare}`;
}

export function checkIp(text: string): string {
  if (!isIp(text.trim())) throw new Error(`IP address is not correctly formatted: ${text}`);
  return text.trim();
}

export function checkDnsSearch(text: string): string {
  const domain = text.trim();
  if (domain === ".") return domain;
  const valid =
    domain.length <= 255 && /^[a-zA-Z0-9_](?:[-\w]*\w)?(?:\.\w(?:[-\w]*\w)?)*\.?$/.test(domain);
  if (!valid) throw new Error(`${text} is not a valid domain`);
  return domain;
}

export function checkLink(text: string): string {
  if (text === "") throw new Error("empty string specified for links");
  if (text.split(":").length > 2) throw new Error(`bad format for links: ${text}`);
  return text;
}

export function checkDeviceCgroupRule(text: string): string {
  if (/^[acb] (?:\d+|\*):(?:\d+|\*) [rwm]{1,3}$/.test(text)) return text;
  throw new Error(`invalid device cgroup format '${text}'`);
}

const NAMESPACED_SYSCTLS = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

export function checkSysctl(text: string): string {
  const name = keyOf(text);
  const namespaced = name.startsWith("net.") || name.startsWith("fs.mqueue.");
  if (text.includes("=") && (NAMESPACED_SYSCTLS.has(name) || namespaced)) return text;
  throw new Error(`sysctl '${text}' is not allowed`);
}

const ULIMITS = new Set(
  "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(
    " ",
  ),
);

export function checkUlimit(text: string): string {
  parseUlimit(text);
  return text;
}

/** `nofile=1024:2048`. */
export function parseUlimit(text: string): { Name: string; Soft: number; Hard: number } {
  const [name = "", limits, ...more] = text.split("=");
  if (limits === undefined || more.length > 0) throw new Error(`invalid ulimit argument: ${text}`);
  if (!ULIMITS.has(name)) throw new Error(`invalid ulimit type: ${name}`);
  const parts = limits.split(":");
  if (parts.length > 2) {
    throw new Error(
      `too many limit value arguments - ${limits}, can only have up to two, \`soft[:hard]\``,
    );
  }
  const [soft = 0, hard = soft] = parts.map((part) => {
    if (/^[+-]?\d+$/.test(part)) return Number(part);
    throw new Error(`strconv.ParseInt: parsing ${quote(part)}: invalid syntax`);
  });
  if (hard !== -1 && (soft === -1 || soft > hard)) {
    throw new Error(
      `ulimit soft limit must be less than or equal to hard limit: ${soft === -1 ? "-1" : soft} > ${hard}`,
    );
  }
  return { Name: name, Soft: soft, Hard: hard };
}

export function checkWeightDevice(text: string): string {
  const [path, value] = devicePair(text);
  if (!path.startsWith("/dev/")) throw new Error(`bad format for device path: ${text}`);
  const weight = Number(value);
  if (!/^\d+$/.test(value) || (weight !== 0 && (weight < 10 || weight > 1000))) {
    throw new Error(`invalid weight for device: ${text}`);
  }
  return text;
}

const RATE = "The correct format is <device-path>:<number>";

export function checkDeviceRate(text: string): string {
  const [path, value] = devicePair(text);
  if (!path.startsWith("/dev/")) throw new Error(`bad format for device path: ${text}`);
  const wrong = `invalid rate for device: ${text}. ${RATE}[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb`;
  try {
    parseBytes(value);
  } catch (cause) {
    throw new Error(wrong, { cause });
  }
  return text;
}

export function checkDeviceIops(text: string): string {
  const [path, value] = devicePair(text);
  if (!path.startsWith("/dev/")) throw new Error(`bad format for device path: ${text}`);
  if (/^\d+$/.test(value)) return text;
  throw new Error(`invalid rate for device: ${text}. ${RATE}. Number must be a positive integer`);
}

/** `/dev/sda:1mb` as its two parts. */
export function devicePair(text: string): [string, string] {
  const colon = text.indexOf(":");
  if (colon <= 0) throw new Error(`bad format: ${text}`);
  return [text.slice(0, colon), text.slice(colon + 1)];
}

export function checkFilter(text: string): string {
  if (text === "") return text;
  const equals = text.indexOf("=");
  if (equals < 0) throw new Error("bad format of filter (expected name=value)");
  return `${text.slice(0, equals).trim().toLowerCase()}=${text.slice(equals + 1).trim()}`;
}

/** Repeated `name=value` filters as the API takes them. */
export function filtersOf(filters: readonly string[]): Record<string, string[]> {
  const result: Record<string, string[]> = {};
  for (const filter of filters) {
    if (filter === "") continue;
    const equals = filter.indexOf("=");
    (result[filter.slice(0, equals)] ??= []).push(filter.slice(equals + 1));
  }
  return result;
}

/** True for an IPv4 or IPv6 address in text. */
export function isIp(text: string): boolean {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (v4 !== null) {
    return v4.slice(1).every((part) => Number(part) <= 255 && (part === "0" || part[0] !== "0"));
  }
  if (!text.includes(":") || /[^0-9a-fA-F:.]/.test(text)) return false;
  try {
    return new URL(`http://[${text}]/`).hostname !== "";
  } catch {
    return false;
  }
}
