/** One sample of a container's usage as Docker tells it. */
import type { InterfaceUsage, StatsSample } from "#engine/stats";
import {
  type BlkioStats,
  type ContainerStats,
  type CpuStats,
  type MemoryStats,
  type NetworkStats,
  ZERO_TIME,
} from "#wire/docker";

const NO_CPU: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};

const NO_BLKIO: BlkioStats = {
  // The API does not let this one be null.
  io_service_bytes_recursive: [],
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
};

interface Named {
  readonly id: string;
  readonly name: string;
}

/**
 * A line, with its end, for `sample` after `previous`; null samples are "does not run" and "none yet". Watchers of
 * one container get the same two samples: the text is made once.
 */
export function encodeStatsLine(
  container: Named,
  sample: StatsSample | null,
  previous: StatsSample | null,
): string {
  if (sample === null) return `${JSON.stringify(encodeStats(container, null, null))}\n`;
  if (made?.sample === sample && made.previous === previous && made.name === container.name) {
    return made.text;
  }
  const text = `${JSON.stringify(encodeStats(container, sample, previous))}\n`;
  made = { sample, previous, name: container.name, text };
  return text;
}

/** The sampler tells all who watch one container one after the other: the last text is all that is kept. */
let made: {
  readonly sample: StatsSample;
  readonly previous: StatsSample | null;
  readonly name: string;
  readonly text: string;
} | null = null;

export function encodeStats(
  { id, name }: Named,
  sample: StatsSample | null,
  previous: StatsSample | null,
): ContainerStats {
  const interfaces = sample?.interfaces ?? null;
  return {
    name: `/${name}`,
    id,
    read: instant(sample),
    preread: instant(previous),
    pids_stats: encodePids(sample),
    blkio_stats: encodeBlkio(sample),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: encodeCpu(sample),
    precpu_stats: encodeCpu(previous),
    memory_stats: encodeMemory(sample),
    ...(interfaces === null
      ? {}
      : {
          networks: Object.fromEntries(
            Object.entries(interfaces).map(([link, usage]) => [link, encodeNetwork(usage)]),
          ),
        }),
  };
}

const instant = (sample: StatsSample | null): string =>
  sample === null ? ZERO_TIME : new Date(sample.readAtMs).toISOString();

function encodePids(sample: StatsSample | null): ContainerStats["pids_stats"] {
  const pids = sample?.usage.pids ?? null;
  if (pids === null) return {};
  return { current: pids.current, ...(pids.limit === null ? {} : { limit: pids.limit }) };
}

function encodeBlkio(sample: StatsSample | null): BlkioStats {
  if (sample === null) return NO_BLKIO;
  const { bytes, operations } = sample.usage.io;
  const entries = (list: typeof bytes) =>
    list.map(({ major, minor, operation, value }) => ({ major, minor, op: operation, value }));
  // cgroups v1 answers empty lists where it counts nothing, v2 only ever tells of bytes.
  const others = operations === null ? NO_BLKIO : V1_BLKIO;
  return {
    ...others,
    io_service_bytes_recursive: entries(bytes),
    io_serviced_recursive: operations === null ? null : entries(operations),
  };
}

const V1_BLKIO: BlkioStats = {
  io_service_bytes_recursive: [],
  io_serviced_recursive: [],
  io_queue_recursive: [],
  io_service_time_recursive: [],
  io_wait_time_recursive: [],
  io_merged_recursive: [],
  io_time_recursive: [],
  sectors_recursive: [],
};

function encodeCpu(sample: StatsSample | null): CpuStats {
  if (sample === null) return NO_CPU;
  const { cpu } = sample.usage;
  return {
    cpu_usage: {
      total_usage: cpu.totalNano,
      ...(cpu.perCpuNano === null ? {} : { percpu_usage: [...cpu.perCpuNano] }),
      usage_in_kernelmode: cpu.systemNano,
      usage_in_usermode: cpu.userNano,
    },
    system_cpu_usage: sample.system.totalNano,
    online_cpus: sample.system.onlineCpus,
    throttling_data: {
      periods: cpu.periods,
      throttled_periods: cpu.throttledPeriods,
      throttled_time: cpu.throttledNano,
    },
  };
}

function encodeMemory(sample: StatsSample | null): MemoryStats {
  const memory = sample?.usage.memory ?? null;
  if (sample === null || memory === null) return {};
  return {
    usage: memory.usageBytes,
    ...(memory.maxUsageBytes === null ? {} : { max_usage: memory.maxUsageBytes }),
    stats: { ...memory.stat },
    ...(memory.failures === 0 ? {} : { failcnt: memory.failures }),
    // Without a limit of its own, the machine's memory is the limit.
    limit: Math.min(memory.limitBytes, sample.machineMemoryBytes),
  };
}

const encodeNetwork = (usage: InterfaceUsage): NetworkStats => ({
  rx_bytes: usage.rxBytes,
  rx_packets: usage.rxPackets,
  rx_errors: usage.rxErrors,
  rx_dropped: usage.rxDropped,
  tx_bytes: usage.txBytes,
  tx_packets: usage.txPackets,
  tx_errors: usage.txErrors,
  tx_dropped: usage.txDropped,
});
