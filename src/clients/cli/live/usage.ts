/** What a sample says of a container, as docker's stats counts it. Pure. */
import type { ContainerStats } from "#wire/docker";

export interface Usage {
  readonly name: string;
  readonly id: string;
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  readonly memoryLimitBytes: number;
  readonly memoryPercent: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly pids: number;
}

export function usageOf(stats: ContainerStats): Usage {
  const memory = memoryOf(stats.memory_stats);
  const limit = stats.memory_stats.limit ?? 0;
  const networks = Object.values(stats.networks ?? {});
  return {
    name: stats.name,
    id: stats.id,
    cpuPercent: cpuPercentOf(stats),
    memoryBytes: memory,
    memoryLimitBytes: limit,
    memoryPercent: limit === 0 ? 0 : (memory / limit) * 100,
    rxBytes: networks.reduce((sum, { rx_bytes: bytes }) => sum + bytes, 0),
    txBytes: networks.reduce((sum, { tx_bytes: bytes }) => sum + bytes, 0),
    readBytes: blockBytes(stats, "r"),
    writeBytes: blockBytes(stats, "w"),
    pids: stats.pids_stats.current ?? 0,
  };
}

function cpuPercentOf({ cpu_stats: now, precpu_stats: before }: ContainerStats): number {
  const used = now.cpu_usage.total_usage - before.cpu_usage.total_usage;
  const passed = (now.system_cpu_usage ?? 0) - (before.system_cpu_usage ?? 0);
  const cpus = now.online_cpus ?? now.cpu_usage.percpu_usage?.length ?? 0;
  return used > 0 && passed > 0 ? (used / passed) * cpus * 100 : 0;
}

/** Without what the kernel keeps only as long as nobody needs the room. */
function memoryOf({ usage = 0, stats = {} }: ContainerStats["memory_stats"]): number {
  for (const name of ["total_inactive_file", "inactive_file"]) {
    const cache = stats[name];
    if (cache !== undefined && cache < usage) return usage - cache;
  }
  return usage;
}

const blockBytes = ({ blkio_stats: blkio }: ContainerStats, letter: "r" | "w"): number =>
  (blkio.io_service_bytes_recursive ?? [])
    .filter(({ op }) => op.slice(0, 1).toLowerCase() === letter)
    .reduce((sum, { value }) => sum + value, 0);
