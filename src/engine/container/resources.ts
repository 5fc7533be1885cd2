/** Limits as asked, checked and cut down to what the host can give, in Docker's words. Pure. */
import { invalid } from "#base";

import { checkDeviceLimits } from "./block-devices.ts";
import type { HostConfig } from "./config.ts";
import { parseNumberList, type HostFacts } from "./host-facts.ts";

type Resources = HostConfig["resources"];
type Draft = { -readonly [Key in keyof Resources]: Resources[Key] };

/** What Docker calls 6MB. */
const MEMORY_MINIMUM_BYTES = 6 * 1024 * 1024;
const NANO = 1e9;

/**
 * The limits a start will set. What the host cannot do is taken out with a warning; what makes no sense is refused.
 * @throws EngineError "invalid"
 */
export function checkResources(
  asked: Resources,
  facts: HostFacts,
  purpose: "create" | "update" = "create",
): { resources: Resources; warnings: string[] } {
  const draft: Draft = { ...asked };
  const warnings: string[] = [];
  checkMemory(draft, facts, warnings);
  if (purpose === "create" && draft.memoryBytes === 0 && draft.memorySwapBytes > 0) {
    throw invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
  }
  checkSwappiness(draft, facts, warnings);
  checkReservation(draft, facts, warnings);
  checkOom(draft, facts, warnings);
  checkCpu(draft, facts, warnings);
  checkRealtime(draft, facts);
  checkCpuset(draft, facts, warnings);
  checkBlockIo(draft, facts, warnings);
  // As much swap as memory, where a limit was asked and nothing was said of swap.
  if (purpose === "create" && draft.memoryBytes > 0 && draft.memorySwapBytes === 0) {
    draft.memorySwapBytes = draft.memoryBytes * 2;
  }
  return { resources: draft, warnings };
}

function checkMemory(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if (draft.memoryBytes !== 0 && draft.memoryBytes < MEMORY_MINIMUM_BYTES) {
    throw invalid("Minimum memory limit allowed is 6MB");
  }
  if (draft.memoryBytes > 0 && !facts.memoryLimit) {
    warnings.push(
      "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    draft.memoryBytes = 0;
    draft.memorySwapBytes = -1;
  }
  if (draft.memoryBytes > 0 && draft.memorySwapBytes !== -1 && !facts.swapLimit) {
    warnings.push(
      "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.",
    );
    draft.memorySwapBytes = -1;
  }
  if (draft.memoryBytes > 0 && draft.memorySwapBytes > 0) {
    if (draft.memorySwapBytes < draft.memoryBytes) {
      throw invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
    }
  }
}

function checkSwappiness(draft: Draft, facts: HostFacts, warnings: string[]): void {
  // Old clients send -1 for "not asked".
  if (draft.memorySwappiness === -1) draft.memorySwappiness = null;
  if (draft.memorySwappiness === null) return;
  if (!facts.memorySwappiness) {
    warnings.push(
      "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.",
    );
    draft.memorySwappiness = null;
  } else if (draft.memorySwappiness < 0 || draft.memorySwappiness > 100) {
    throw invalid(
      `Invalid value: ${draft.memorySwappiness}, valid memory swappiness range is 0-100`,
    );
  }
}

function checkReservation(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if (draft.memoryReservationBytes > 0 && !facts.memoryReservation) {
    warnings.push(
      "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.",
    );
    draft.memoryReservationBytes = 0;
  }
  if (draft.memoryReservationBytes <= 0) return;
  if (draft.memoryReservationBytes < MEMORY_MINIMUM_BYTES) {
    throw invalid("Minimum memory reservation allowed is 6MB");
  }
  if (draft.memoryBytes > 0 && draft.memoryBytes < draft.memoryReservationBytes) {
    throw invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
  }
}

function checkOom(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if (draft.oomKillDisable && !facts.oomKillDisable) {
    warnings.push("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
    draft.oomKillDisable = false;
  }
  if (draft.oomKillDisable && draft.memoryBytes === 0) {
    warnings.push(
      "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.",
    );
  }
  if (draft.pidsLimit !== null && draft.pidsLimit > 0 && !facts.pidsLimit) {
    warnings.push(
      "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
    );
    draft.pidsLimit = null;
  }
}

function checkCpu(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if (draft.nanoCpus > 0) {
    if (draft.cpuPeriodUsec > 0) {
      throw invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if (draft.cpuQuotaUsec > 0) {
      throw invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    }
    if (!facts.cpuCfs) {
      throw invalid(
        "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
      );
    }
  }
  if (draft.nanoCpus < 0 || draft.nanoCpus > facts.cpus * NANO) {
    throw invalid(
      `range of CPUs is from 0.01 to ${facts.cpus}.00, as there are only ${facts.cpus} CPUs available`,
    );
  }
  if (draft.cpuShares > 0 && !facts.cpuShares) {
    warnings.push(
      "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
    );
    draft.cpuShares = 0;
  }
  if ((draft.cpuPeriodUsec !== 0 || draft.cpuQuotaUsec !== 0) && !facts.cpuCfs) {
    warnings.push("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
    draft.cpuPeriodUsec = 0;
    draft.cpuQuotaUsec = 0;
  }
  if (draft.cpuPeriodUsec !== 0 && (draft.cpuPeriodUsec < 1000 || draft.cpuPeriodUsec > 1e6)) {
    throw invalid(
      "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    );
  }
  if (draft.cpuQuotaUsec > 0 && draft.cpuQuotaUsec < 1000) {
    throw invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
  }
}

function checkRealtime({ cpuRealtime, cpuShares }: Draft, facts: HostFacts): void {
  if (cpuShares < 0) {
    throw invalid(`invalid CPU shares (${cpuShares}): value must be a positive integer`);
  }
  if (cpuRealtime === undefined) return;
  if (!facts.cpuRealtime) throw invalid("kernel does not support CPU real-time scheduler");
  const { periodUsec, runtimeUsec } = cpuRealtime;
  if (periodUsec !== 0 && runtimeUsec > periodUsec) {
    throw invalid("cpu real-time runtime cannot be higher than cpu real-time period");
  }
}

function checkCpuset(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if ((draft.cpusetCpus !== "" || draft.cpusetMems !== "") && !facts.cpuset) {
    warnings.push(
      "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
    );
    draft.cpusetCpus = "";
    draft.cpusetMems = "";
  }
  const cpus = isAvailable(draft.cpusetCpus, facts.cpusetCpus);
  if (cpus === null)
    throw invalid(
      `Invalid value ${draft.cpusetCpus} for cpuset cpus: invalid format: ${draft.cpusetCpus}`,
    );
  if (!cpus) {
    throw invalid(
      `Requested CPUs are not available - requested ${draft.cpusetCpus}, available: ${facts.cpusetCpus}`,
    );
  }
  const mems = isAvailable(draft.cpusetMems, facts.cpusetMems);
  if (mems === null)
    throw invalid(
      `Invalid value ${draft.cpusetMems} for cpuset mems: invalid format: ${draft.cpusetMems}`,
    );
  if (!mems) {
    throw invalid(
      `Requested memory nodes are not available - requested ${draft.cpusetMems}, available: ${facts.cpusetMems}`,
    );
  }
}

/** null: the wanted list cannot be read. */
function isAvailable(wanted: string, available: string): boolean | null {
  const numbers = parseNumberList(wanted);
  if (numbers === null) return null;
  const present = parseNumberList(available) ?? new Set<number>();
  return numbers.isSubsetOf(present);
}

function checkBlockIo(draft: Draft, facts: HostFacts, warnings: string[]): void {
  if (draft.blkioWeight > 0 && !facts.blkioWeight) {
    warnings.push(
      "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
    );
    draft.blkioWeight = 0;
  }
  if (draft.blkioWeight > 0 && (draft.blkioWeight < 10 || draft.blkioWeight > 1000)) {
    throw invalid("Range of blkio weight is from 10 to 1000");
  }
  if (draft.blockDevices === undefined) return;
  const kept = checkDeviceLimits(draft.blockDevices, facts, warnings);
  if (kept === undefined) delete draft.blockDevices;
  else draft.blockDevices = kept;
}
