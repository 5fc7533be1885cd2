/** What this host can do, as far as a container's options depend on it. Read once; plain data, so tests invent hosts. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

import type { CgroupAbilities } from "#linux/cgroup";

export interface HostFacts {
  readonly cpus: number;
  /** `0-3`: CPUs and memory nodes a cpuset may name. */
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly memoryLimit: boolean;
  readonly swapLimit: boolean;
  readonly memoryReservation: boolean;
  readonly memorySwappiness: boolean;
  readonly oomKillDisable: boolean;
  readonly cpuCfs: boolean;
  readonly cpuShares: boolean;
  readonly cpuset: boolean;
  readonly pidsLimit: boolean;
  readonly blkioWeight: boolean;
  readonly blkioWeightDevice: boolean;
  readonly blkioThrottle: boolean;
  readonly cpuRealtime: boolean;
  readonly kernelMemoryTcp: boolean;
  /** One hierarchy, v2: what a container's cgroup namespace is by default depends on it. */
  readonly cgroupUnified: boolean;
  readonly ipv4Forwarding: boolean;
  readonly hostname: string;
  /** Every capability the kernel knows: `CAP_CHOWN`, … */
  readonly capabilities: readonly string[];
  readonly apparmor: boolean;
}

/**
 * The numbers of a list such as `0-2,5`; null when it is none.
 * @param limit numbers above it make the list wrong, so nobody can ask for a billion of them
 */
export function parseNumberList(text: string, limit = 8192): Set<number> | null {
  const numbers = new Set<number>();
  if (text === "") return numbers;
  for (const part of text.split(",")) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (match === null) return null;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (last < first || last > limit) return null;
    for (let number = first; number <= last; number += 1) numbers.add(number);
  }
  return numbers;
}

/** Reads the facts of this machine. */
export function readHostFacts(host: {
  readonly abilities: CgroupAbilities;
  readonly capabilities: readonly string[];
  readonly apparmor: boolean;
  readonly cgroupUnified: boolean;
}): HostFacts {
  const { abilities, capabilities, apparmor, cgroupUnified } = host;
  const cpusetCpus = readLine("/sys/devices/system/cpu/online", "0");
  let isForwarding = false;
  return {
    cpus: parseNumberList(cpusetCpus)?.size ?? 1,
    cpusetCpus,
    cpusetMems: readLine("/sys/devices/system/node/online", "0"),
    memoryLimit: abilities.memory,
    swapLimit: abilities.swap,
    memoryReservation: abilities.memory,
    // Like the OOM switch, only the first version of the controller has it.
    memorySwappiness: abilities.oomKillDisable,
    oomKillDisable: abilities.oomKillDisable,
    cpuCfs: abilities.cpuQuota,
    cpuShares: abilities.cpuShares,
    cpuset: abilities.cpuset,
    pidsLimit: abilities.pids,
    blkioWeight: abilities.blkioWeight,
    blkioWeightDevice: abilities.blkioWeightDevice,
    blkioThrottle: abilities.blkioThrottle,
    cpuRealtime: abilities.cpuRealtime,
    kernelMemoryTcp: abilities.kernelMemoryTcp,
    cgroupUnified,
    get ipv4Forwarding() {
      // Off on most machines until the engine's own networks turn it on, which is after this.
      isForwarding ||= readLine("/proc/sys/net/ipv4/ip_forward", "1") === "1";
      return isForwarding;
    },
    hostname: hostname(),
    capabilities,
    apparmor,
  };
}

function readLine(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    // A kernel without NUMA or CPU hotplug has no such file.
    return otherwise;
  }
}
