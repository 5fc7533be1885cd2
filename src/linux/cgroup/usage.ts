/**
 * What a cgroup has used, read again and again: the control files stay open, so a sample costs one read each and no
 * path walk. Files of a controller this host lacks are left out of the sample.
 * Source: kernel documentation of cgroup-v1 (memory, cpuacct, blkio-controller) and cgroup-v2.
 */
import { closeSync, openSync, readSync } from "node:fs";

import type { CgroupFolder } from "./cgroup.ts";

/** Nanoseconds since the cgroup was made; they never decrease. */
export interface CpuUsage {
  readonly totalNano: number;
  readonly userNano: number;
  readonly systemNano: number;
  /** One number for each possible CPU; null on v2, which does not count so. */
  readonly perCpuNano: readonly number[] | null;
  readonly periods: number;
  readonly throttledPeriods: number;
  readonly throttledNano: number;
}

export interface MemoryUsage {
  readonly version: 1 | 2;
  readonly usageBytes: number;
  /** null on v2. */
  readonly maxUsageBytes: number | null;
  /** Infinity without a limit. */
  readonly limitBytes: number;
  /** How often the limit was hit (v1) or the kernel killed for it (v2). */
  readonly failures: number;
  /** The lines of memory.stat that Docker shows, by the kernel's names. */
  readonly stat: Readonly<Record<string, number>>;
}

export interface IoEntry {
  readonly major: number;
  readonly minor: number;
  /** v1: the kernel's word ("Read"); v2: "read" or "write". */
  readonly operation: string;
  readonly value: number;
}

export interface CgroupUsageSample {
  readonly cpu: CpuUsage;
  readonly memory: MemoryUsage | null;
  /** `limit` is null where there is none. */
  readonly pids: { readonly current: number; readonly limit: number | null } | null;
  readonly io: {
    readonly bytes: readonly IoEntry[];
    /** null on v2, where Docker does not tell them. */
    readonly operations: readonly IoEntry[] | null;
  };
}

const BUFFER_BYTES = 64 * 1024;
const buffer = Buffer.alloc(BUFFER_BYTES);

/** v1's cpuacct.stat counts in USER_HZ, which Linux fixes at 100 for user space. */
const NANO_PER_TICK = 10_000_000;
const NANO_PER_USEC = 1000;

const V1_MEMORY = (
  "cache rss rss_huge mapped_file dirty writeback pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon " +
  "inactive_file active_file unevictable"
).split(" ");
const V1_MEMORY_KEYS = new Set([
  ...V1_MEMORY,
  ...V1_MEMORY.map((name) => `total_${name}`),
  "hierarchical_memory_limit",
  "hierarchical_memsw_limit",
]);
const V2_MEMORY_KEYS = new Set(
  (
    "anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon active_anon " +
    "inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault workingset_refault " +
    "workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate pglazyfree " +
    "pglazyfreed thp_fault_alloc thp_collapse_alloc"
  ).split(" "),
);

/** The open files of one cgroup; disposing closes them. */
export class CgroupUsageReader implements Disposable {
  readonly #v1 = new Map<string, string>();
  readonly #unified: string | null;
  readonly #unifiedHas: ReadonlySet<string>;
  /** By path; null is a file that is not there. */
  readonly #open = new Map<string, number | null>();

  constructor(folders: readonly CgroupFolder[]) {
    const v2 = folders.find(({ hierarchy }) => hierarchy.version === 2);
    for (const { hierarchy, folder } of folders) {
      if (hierarchy.version !== 1) continue;
      for (const controller of hierarchy.controllers) this.#v1.set(controller, folder);
    }
    this.#unified = v2?.folder ?? null;
    this.#unifiedHas = new Set(v2?.hierarchy.controllers);
  }

  /** @returns null when the cgroup is gone */
  read(): CgroupUsageSample | null {
    const cpu = this.#readCpu();
    if (cpu === null) return null;
    return { cpu, memory: this.#readMemory(), pids: this.#readPids(), io: this.#readIo() };
  }

  [Symbol.dispose](): void {
    for (const file of this.#open.values()) if (file !== null) closeSync(file);
    this.#open.clear();
  }

  #readCpu(): CpuUsage | null {
    const account = this.#v1.get("cpuacct");
    if (account === undefined) return this.#readUnifiedCpu();
    const total = this.#text(`${account}/cpuacct.usage`);
    if (total === null) return null;
    const ticks = keysOf(this.#text(`${account}/cpuacct.stat`));
    const perCpu = this.#text(`${account}/cpuacct.usage_percpu`);
    const cpu = this.#v1.get("cpu");
    const throttled = keysOf(cpu === undefined ? null : this.#text(`${cpu}/cpu.stat`));
    return {
      totalNano: Number(total),
      userNano: (ticks["user"] ?? 0) * NANO_PER_TICK,
      systemNano: (ticks["system"] ?? 0) * NANO_PER_TICK,
      perCpuNano: perCpu === null ? null : perCpu.trim().split(" ").map(Number),
      periods: throttled["nr_periods"] ?? 0,
      throttledPeriods: throttled["nr_throttled"] ?? 0,
      throttledNano: throttled["throttled_time"] ?? 0,
    };
  }

  #readUnifiedCpu(): CpuUsage | null {
    const text = this.#unified === null ? null : this.#text(`${this.#unified}/cpu.stat`);
    if (text === null) return null;
    const stat = keysOf(text);
    return {
      totalNano: (stat["usage_usec"] ?? 0) * NANO_PER_USEC,
      userNano: (stat["user_usec"] ?? 0) * NANO_PER_USEC,
      systemNano: (stat["system_usec"] ?? 0) * NANO_PER_USEC,
      perCpuNano: null,
      periods: stat["nr_periods"] ?? 0,
      throttledPeriods: stat["nr_throttled"] ?? 0,
      throttledNano: (stat["throttled_usec"] ?? 0) * NANO_PER_USEC,
    };
  }

  #readMemory(): MemoryUsage | null {
    const v1 = this.#v1.get("memory");
    if (v1 !== undefined) {
      const usage = this.#number(`${v1}/memory.usage_in_bytes`);
      if (usage === null) return null;
      return {
        version: 1,
        usageBytes: usage,
        maxUsageBytes: this.#number(`${v1}/memory.max_usage_in_bytes`) ?? 0,
        limitBytes: this.#number(`${v1}/memory.limit_in_bytes`) ?? Number.POSITIVE_INFINITY,
        failures: this.#number(`${v1}/memory.failcnt`) ?? 0,
        stat: this.#stat(`${v1}/memory.stat`, V1_LINES),
      };
    }
    const at = this.#unifiedOf("memory");
    const usage = at === null ? null : this.#number(`${at}/memory.current`);
    if (usage === null) return null;
    return {
      version: 2,
      usageBytes: usage,
      maxUsageBytes: null,
      limitBytes: this.#number(`${at}/memory.max`) ?? Number.POSITIVE_INFINITY,
      failures: keysOf(this.#text(`${at}/memory.events`))["oom"] ?? 0,
      stat: this.#stat(`${at}/memory.stat`, V2_LINES),
    };
  }

  #readPids(): CgroupUsageSample["pids"] {
    const at = this.#v1.get("pids") ?? this.#unifiedOf("pids");
    const current = at === null ? null : this.#number(`${at}/pids.current`);
    if (current === null) return null;
    const limit = this.#number(`${at}/pids.max`);
    return { current, limit: limit === Number.POSITIVE_INFINITY ? null : limit };
  }

  #readIo(): CgroupUsageSample["io"] {
    const v1 = this.#v1.get("blkio");
    if (v1 !== undefined) {
      return {
        bytes: this.#v1Entries(`${v1}/blkio.throttle.io_service_bytes`),
        operations: this.#v1Entries(`${v1}/blkio.throttle.io_serviced`),
      };
    }
    const at = this.#unifiedOf("io");
    const text = at === null ? null : this.#text(`${at}/io.stat`);
    return { bytes: text === null ? [] : parseIoStat(text), operations: null };
  }

  /** With what cgroups below used, where the kernel tells (since 4.17). */
  #v1Entries(path: string): IoEntry[] {
    return parseV1Io(this.#text(`${path}_recursive`) ?? this.#text(path) ?? "");
  }

  #unifiedOf(controller: string): string | null {
    return this.#unifiedHas.has(controller) ? this.#unified : null;
  }

  #number(path: string): number | null {
    const text = this.#text(path);
    if (text === null) return null;
    const trimmed = text.trimEnd();
    return trimmed === "max" ? Number.POSITIVE_INFINITY : Number(trimmed);
  }

  /** Lines of memory.stat. */
  #stat(path: string, lines: LineReader): Record<string, number> {
    const length = this.#read(path);
    return length === null ? {} : lines.read(buffer, length);
  }

  /** null when the file is not there (any more). */
  #text(path: string): string | null {
    const length = this.#read(path);
    return length === null ? null : buffer.toString("latin1", 0, length);
  }

  /** Into the one buffer. @returns how many bytes, or null */
  #read(path: string): number | null {
    let file = this.#open.get(path);
    if (file === undefined) {
      file = openIfThere(path);
      this.#open.set(path, file);
    }
    if (file === null) return null;
    try {
      return readSync(file, buffer, 0, BUFFER_BYTES, 0);
    } catch (thrown) {
      if (isGone(thrown)) return null;
      throw thrown;
    }
  }
}

function openIfThere(path: string): number | null {
  try {
    return openSync(path, "r");
  } catch (thrown) {
    if (isGone(thrown)) return null;
    throw thrown;
  }
}

// ENODEV: the folder was removed while the file was open. EOPNOTSUPP: the kernel was started without it.
const isGone = (thrown: unknown): boolean =>
  ["ENOENT", "ENODEV", "EOPNOTSUPP"].includes((thrown as NodeJS.ErrnoException).code ?? "");

/** Pure: `name number` lines. */
function keysOf(text: string | null): Record<string, number> {
  const keys: Record<string, number> = {};
  for (const line of text?.split("\n") ?? []) {
    const space = line.indexOf(" ");
    if (space > 0) keys[line.slice(0, space)] = Number(line.slice(space + 1));
  }
  return keys;
}

const NEWLINE = 10;
const SPACE = 32;
const ZERO = 48;

/**
 * The wanted `name number` lines of a long file, by their place: the kernel prints the same names in the same order
 * each time, so after the first sample only digits are read.
 */
class LineReader {
  readonly #wanted: ReadonlySet<string>;
  /** Names by line number; null for those nobody wants. */
  #names: readonly (string | null)[] = [];

  constructor(wanted: ReadonlySet<string>) {
    this.#wanted = wanted;
  }

  read(bytes: Uint8Array, length: number): Record<string, number> {
    const known = this.#parse(bytes, length);
    if (known !== null) return known;
    // The first file, or one of other lines than those before it.
    this.#names = this.#learn(bytes, length);
    return this.#parse(bytes, length) ?? {};
  }

  /** null when there are not as many lines as there are names. */
  #parse(bytes: Uint8Array, length: number): Record<string, number> | null {
    const names = this.#names;
    const keys: Record<string, number> = {};
    let at = 0;
    let line = 0;
    for (; at < length; line += 1) {
      while (at < length && bytes[at] !== SPACE && bytes[at] !== NEWLINE) at += 1;
      let value = 0;
      for (at += 1; at < length; at += 1) {
        const byte = bytes[at] ?? NEWLINE;
        if (byte === NEWLINE) break;
        value = value * 10 + byte - ZERO;
      }
      at += 1;
      const name = names[line];
      if (name !== null && name !== undefined) keys[name] = value;
    }
    return line === names.length ? keys : null;
  }

  #learn(bytes: Uint8Array, length: number): (string | null)[] {
    return Buffer.from(bytes.buffer, bytes.byteOffset, length)
      .toString("latin1")
      .trimEnd()
      .split("\n")
      .map((line) => {
        const name = line.split(" ", 1)[0] ?? "";
        return this.#wanted.has(name) ? name : null;
      });
  }
}

const V1_LINES = new LineReader(V1_MEMORY_KEYS);
const V2_LINES = new LineReader(V2_MEMORY_KEYS);

/** Pure: `8:0 Read 4096` lines; the sum of all devices at the end is left out. */
function parseV1Io(text: string): IoEntry[] {
  return text.split("\n").flatMap((line): IoEntry[] => {
    const [, major, minor, operation = "", value] = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line) ?? [];
    if (major === undefined) return [];
    return [{ major: Number(major), minor: Number(minor), operation, value: Number(value) }];
  });
}

/** Pure: `8:0 rbytes=4096 wbytes=0 rios=1 …` lines, two entries each. */
function parseIoStat(text: string): IoEntry[] {
  return text.split("\n").flatMap((line): IoEntry[] => {
    const [, major, minor, rest = ""] = /^(\d+):(\d+) (.*)$/.exec(line) ?? [];
    if (major === undefined) return [];
    const field = (name: string) => Number(new RegExp(`\\b${name}=(\\d+)`).exec(rest)?.[1] ?? 0);
    const device = { major: Number(major), minor: Number(minor) };
    return [
      { ...device, operation: "read", value: field("rbytes") },
      { ...device, operation: "write", value: field("wbytes") },
    ];
  });
}
