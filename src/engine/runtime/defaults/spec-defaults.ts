/** What a container gets when nobody asks for anything else: Docker's own choices, as far as the host has them. */
import { existsSync, readdirSync } from "node:fs";

import { capabilityNames, hostCapabilities } from "#linux/security";
import type { DeviceRule, MountSpec, SeccompSpec } from "#oci";

import { defaultSeccomp, parseSeccomp } from "./seccomp.ts";

export interface RuntimeDefaults {
  /** Docker's fourteen, as far as the host has them. */
  readonly capabilities: readonly string[];
  /** All the host has: what `--privileged` and `--cap-add ALL` mean. */
  readonly allCapabilities: readonly string[];
  /** /proc, /dev, /dev/pts, /sys, /sys/fs/cgroup, /dev/mqueue, /dev/shm, in that order. */
  readonly mounts: readonly MountSpec[];
  readonly deviceRules: readonly DeviceRule[];
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  /** The engine's filter for a container with these capabilities; the same object for the same ones. */
  readonly seccomp: (capabilities: readonly string[]) => SeccompSpec;
  /** The same, whatever profile the operator put in its place. */
  readonly builtinSeccomp: (capabilities: readonly string[]) => SeccompSpec;
  /** A person's profile, in Docker's form. @throws EngineError "invalid" */
  readonly parseSeccomp: (profile: string, capabilities: readonly string[]) => SeccompSpec;
}

const granted = new Set(
  "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE"
    .split(" ")
    .map((name) => `CAP_${name}`),
);

const mount = (destination: string, type: string, options: string): MountSpec => ({
  destination,
  type,
  source: destination === "/dev/shm" ? "shm" : type,
  options: options.split(" "),
});

const mounts: readonly MountSpec[] = [
  mount("/proc", "proc", "nosuid noexec nodev"),
  mount("/dev", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
  mount("/dev/pts", "devpts", "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5"),
  mount("/sys", "sysfs", "nosuid noexec nodev ro"),
  mount("/sys/fs/cgroup", "cgroup", "ro nosuid noexec nodev"),
  mount("/dev/mqueue", "mqueue", "nosuid noexec nodev"),
  mount("/dev/shm", "tmpfs", "nosuid noexec nodev mode=1777 size=65536k"),
];

const allow = (major: number, minor?: number): DeviceRule => ({
  allow: true,
  type: "c",
  major,
  ...(minor === undefined ? {} : { minor }),
  access: "rwm",
});

// null, zero, full, random, urandom, tty, console, ptmx, every pty, and tun, which runc adds to Docker's own: clients of
// private networks make its node themselves, and get no further without NET_ADMIN. Other nodes may be made, not used.
const deviceRules: readonly DeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  ...[3, 5, 7, 8, 9].map((minor) => allow(1, minor)),
  ...[0, 1, 2].map((minor) => allow(5, minor)),
  allow(136),
  allow(10, 200),
];

const maskedPaths: readonly string[] = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/interrupts",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];

const readonlyPaths: readonly string[] = [
  "/proc/bus",
  "/proc/fs",
  "/proc/irq",
  "/proc/sys",
  "/proc/sysrq-trigger",
];

/**
 * Counters of processors that were too hot tell what else the machine is doing (moby GHSA-6fw5-f8r9-fgfm).
 * @param root where /sys/devices/system/cpu is
 */
export function thermalPaths(root = "/sys/devices/system/cpu"): string[] {
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => /^cpu\d+$/.test(name))
    .toSorted()
    .map((name) => `${root}/${name}/thermal_throttle`)
    .filter((path) => existsSync(path));
}

/** The defaults on this host. */
export function runtimeDefaults(): RuntimeDefaults {
  const all = hostCapabilities();
  const had = new Set<string>(all);
  return {
    capabilities: capabilityNames.filter((name) => granted.has(name) && had.has(name)),
    allCapabilities: all,
    mounts,
    deviceRules,
    maskedPaths: [...maskedPaths, ...thermalPaths()],
    readonlyPaths,
    seccomp: (capabilities) => defaultSeccomp({ capabilities }),
    builtinSeccomp: (capabilities) => defaultSeccomp({ capabilities }),
    parseSeccomp: (profile, capabilities) => parseSeccomp(profile, { capabilities }),
  };
}
