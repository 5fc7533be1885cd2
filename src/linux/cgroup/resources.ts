/** What a cgroup may use. Field names are the OCI runtime specification's, so its `linux.resources` fits as it is. */

export interface CgroupDeviceRule {
  readonly allow: boolean;
  /** "a" or nothing means every kind. */
  readonly type?: "a" | "c" | "b";
  /** Missing or negative means every number. */
  readonly major?: number;
  readonly minor?: number;
  /** Letters of r (read), w (write), m (mknod); missing means all. */
  readonly access?: string;
}

export interface CgroupThrottle {
  readonly major: number;
  readonly minor: number;
  readonly rate: number;
}

export interface CgroupResources {
  /** Missing or empty: the devices of the parent. */
  readonly devices?: readonly CgroupDeviceRule[];
  readonly memory?: {
    readonly limit?: number;
    readonly reservation?: number;
    /** Memory plus swap; -1 is unlimited. */
    readonly swap?: number;
    readonly swappiness?: number;
    readonly disableOOMKiller?: boolean;
    /** Buffers of TCP sockets; v1 only. */
    readonly kernelTCP?: number;
  };
  readonly cpu?: {
    readonly shares?: number;
    readonly quota?: number;
    readonly period?: number;
    readonly realtimeRuntime?: number;
    readonly realtimePeriod?: number;
    readonly cpus?: string;
    readonly mems?: string;
  };
  readonly pids?: { readonly limit: number };
  readonly blockIO?: {
    readonly weight?: number;
    readonly weightDevice?: readonly {
      readonly major: number;
      readonly minor: number;
      readonly weight: number;
    }[];
    readonly throttleReadBpsDevice?: readonly CgroupThrottle[];
    readonly throttleWriteBpsDevice?: readonly CgroupThrottle[];
    readonly throttleReadIOPSDevice?: readonly CgroupThrottle[];
    readonly throttleWriteIOPSDevice?: readonly CgroupThrottle[];
  };
  /** v2 files by name, written last. */
  readonly unified?: Readonly<Record<string, string>>;
}

/** One value for one control file of one controller. `optional`: a host that lacks the file is not an error. */
export interface ControlWrite {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
  readonly optional?: boolean;
  /** What is written where the host lacks the file. */
  readonly otherwise?: { readonly file: string; readonly value: string };
}

const set = (
  controller: string,
  file: string,
  value: number | string | undefined,
): ControlWrite[] =>
  value === undefined || value === "" ? [] : [{ controller, file, value: `${value}` }];

const throttles = (file: string, devices: readonly CgroupThrottle[] | undefined): ControlWrite[] =>
  (devices ?? []).map(({ major, minor, rate }) => ({
    controller: "blkio",
    file,
    value: `${major}:${minor} ${rate}`,
  }));

/** A device rule in the words of v1's devices.allow and devices.deny: `c 1:3 rwm`. */
export function deviceRuleText({ type = "a", major, minor, access }: CgroupDeviceRule): string {
  const number = (value: number | undefined) =>
    value === undefined || value < 0 ? "*" : `${value}`;
  // For "a" the kernel ignores what follows and means everything.
  return type === "a" ? "a" : `${type} ${number(major)}:${number(minor)} ${access ?? "rwm"}`;
}

/** The writes that make a v1 hierarchy obey, in an order that works for a folder made just now. */
export function v1Writes(resources: CgroupResources): ControlWrite[] {
  const { memory, cpu, pids, blockIO, devices } = resources;
  const swap = memory?.swap === 0 ? undefined : memory?.swap;
  return [
    // memsw may never be below the limit: on a new folder the limit goes first.
    ...set("memory", "memory.limit_in_bytes", memory?.limit || undefined),
    ...set("memory", "memory.memsw.limit_in_bytes", swap).map((write) => ({
      ...write,
      optional: true,
    })),
    ...set("memory", "memory.soft_limit_in_bytes", memory?.reservation || undefined),
    ...set("memory", "memory.swappiness", memory?.swappiness),
    ...set("memory", "memory.oom_control", memory?.disableOOMKiller ? 1 : undefined),
    ...set("memory", "memory.kmem.tcp.limit_in_bytes", memory?.kernelTCP).map((write) => ({
      ...write,
      optional: true,
    })),
    ...set("cpu", "cpu.shares", cpu?.shares || undefined),
    ...set("cpu", "cpu.cfs_period_us", cpu?.period || undefined),
    ...set("cpu", "cpu.cfs_quota_us", cpu?.quota || undefined),
    ...set("cpu", "cpu.rt_period_us", cpu?.realtimePeriod || undefined),
    ...set("cpu", "cpu.rt_runtime_us", cpu?.realtimeRuntime || undefined),
    ...set("cpuset", "cpuset.cpus", cpu?.cpus),
    ...set("cpuset", "cpuset.mems", cpu?.mems),
    ...set("pids", "pids.max", pidsLimit(pids?.limit)),
    // The CFQ file went away with CFQ; BFQ has its own.
    ...set("blkio", "blkio.bfq.weight", blockIO?.weight || undefined),
    ...(blockIO?.weightDevice ?? []).flatMap(({ major, minor, weight }) =>
      set("blkio", "blkio.bfq.weight_device", `${major}:${minor} ${weight}`),
    ),
    ...throttles("blkio.throttle.read_bps_device", blockIO?.throttleReadBpsDevice),
    ...throttles("blkio.throttle.write_bps_device", blockIO?.throttleWriteBpsDevice),
    ...throttles("blkio.throttle.read_iops_device", blockIO?.throttleReadIOPSDevice),
    ...throttles("blkio.throttle.write_iops_device", blockIO?.throttleWriteIOPSDevice),
    ...(devices ?? []).map((rule) => ({
      controller: "devices",
      file: rule.allow ? "devices.allow" : "devices.deny",
      value: deviceRuleText(rule),
    })),
  ];
}

const pidsLimit = (limit: number | undefined): string | undefined =>
  limit === undefined || limit === 0 ? undefined : limit < 0 ? "max" : `${limit}`;

/** cpu.weight (1-10000) of cpu.shares (2-262144), as runc and crun convert. */
export const cpuWeightOf = (shares: number): number =>
  Math.trunc(1 + ((Math.min(Math.max(shares, 2), 262_144) - 2) * 9999) / 262_142);

/** io.weight (1-10000) of blkio.weight (10-1000), as runc converts. */
const ioWeightOf = (weight: number): number => Math.trunc(1 + ((weight - 10) * 9999) / 990);

const ioMax = (key: string, devices: readonly CgroupThrottle[] | undefined): ControlWrite[] =>
  (devices ?? []).map(({ major, minor, rate }) => ({
    controller: "io",
    file: "io.max",
    value: `${major}:${minor} ${key}=${rate > 0 ? rate : "max"}`,
  }));

/** The same for v2. Devices are not among them: v2 asks a BPF program (device-program.ts). */
export function v2Writes(resources: CgroupResources): ControlWrite[] {
  const { memory, cpu, pids, blockIO } = resources;
  const orMax = (value: number) => (value < 0 ? "max" : `${value}`);
  const swapOnly = swapWithoutMemory(memory);
  const quota =
    cpu?.quota || cpu?.period
      ? `${cpu.quota && cpu.quota > 0 ? cpu.quota : "max"} ${cpu.period || 100_000}`
      : undefined;
  return [
    ...set("memory", "memory.max", memory?.limit ? orMax(memory.limit) : undefined),
    ...set("memory", "memory.swap.max", swapOnly).map((write) => ({ ...write, optional: true })),
    ...set("memory", "memory.low", memory?.reservation ? orMax(memory.reservation) : undefined),
    ...set("cpu", "cpu.weight", cpu?.shares ? cpuWeightOf(cpu.shares) : undefined),
    ...set("cpu", "cpu.max", quota),
    ...set("cpuset", "cpuset.cpus", cpu?.cpus),
    ...set("cpuset", "cpuset.mems", cpu?.mems),
    ...set("pids", "pids.max", pidsLimit(pids?.limit)),
    // BFQ, a module, counts as Docker does; io.weight is for the kernel's cost model.
    ...set("io", "io.bfq.weight", blockIO?.weight || undefined).map((write) => ({
      ...write,
      otherwise: { file: "io.weight", value: `${ioWeightOf(blockIO?.weight ?? 0)}` },
    })),
    ...(blockIO?.weightDevice ?? []).flatMap(({ major, minor, weight }) =>
      set("io", "io.bfq.weight", `${major}:${minor} ${weight}`),
    ),
    ...ioMax("rbps", blockIO?.throttleReadBpsDevice),
    ...ioMax("wbps", blockIO?.throttleWriteBpsDevice),
    ...ioMax("riops", blockIO?.throttleReadIOPSDevice),
    ...ioMax("wiops", blockIO?.throttleWriteIOPSDevice),
    ...Object.entries(resources.unified ?? {}).map(([file, value]) => ({
      controller: file.split(".", 1)[0] ?? "",
      file,
      value,
    })),
  ];
}

// v1's number is memory plus swap, v2's is swap alone.
function swapWithoutMemory(memory: CgroupResources["memory"]): string | undefined {
  const { limit = 0, swap = 0 } = memory ?? {};
  if (swap === 0) return undefined;
  if (swap < 0) return "max";
  return limit > 0 ? `${Math.max(swap - limit, 0)}` : undefined;
}
