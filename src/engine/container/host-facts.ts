/** What this host can do, as far as a container's options depend on it. Read once; plain data, so tests invent hosts. */

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
