/** Capabilities: names and bits, and what this process may give away. Source: linux/capability.h (Linux 6.18). */
import { readFileSync } from "node:fs";

/** In the order of their bits. */
export const capabilityNames = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
] as const;

export type CapabilityName = (typeof capabilityNames)[number];

const bits = new Map<string, number>(capabilityNames.map((name, bit) => [name, bit]));

/** "net_admin" and "CAP_NET_ADMIN" as "CAP_NET_ADMIN"; null when there is no such capability. */
export function parseCapability(text: string): CapabilityName | null {
  const name = `CAP_${text.toUpperCase().replace(/^CAP_/, "")}`;
  return bits.has(name) ? (name as CapabilityName) : null;
}

/** A set of names as the kernel's mask. Unknown names are left out. */
export const capabilityMask = (names: Iterable<string>): bigint =>
  [...names].reduce((mask, name) => {
    const bit = bits.get(name);
    return bit === undefined ? mask : mask | (1n << BigInt(bit));
  }, 0n);

/** The names in a mask, in the order of their bits. */
export const capabilitiesOf = (mask: bigint): CapabilityName[] =>
  capabilityNames.filter((_, bit) => (mask & (1n << BigInt(bit))) !== 0n);

/** The capability sets of a process, as masks. */
export interface CapabilityMasks {
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  readonly ambient: bigint;
}

/** Pure: the sets that a /proc/PID/status text tells of. */
export function parseCapabilityMasks(status: string): CapabilityMasks {
  const read = (field: string) =>
    BigInt(`0x${new RegExp(`^Cap${field}:\\s*([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0"}`);
  return {
    inheritable: read("Inh"),
    permitted: read("Prm"),
    effective: read("Eff"),
    bounding: read("Bnd"),
    ambient: read("Amb"),
  };
}

/** The sets of a process of this host, now. */
export const readCapabilityMasks = (pid: number | "self" = "self"): CapabilityMasks =>
  parseCapabilityMasks(readFileSync(`/proc/${pid}/status`, "utf8"));

/** What this engine can give to a container: nobody gets more than it has. "All" and "privileged" mean this. */
export const hostCapabilities = (): CapabilityName[] => {
  const { permitted, bounding } = readCapabilityMasks();
  return capabilitiesOf(permitted & bounding);
};

/** The highest capability that this kernel knows, as a bit. */
export const lastCapability = (): number =>
  Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8").trim());
