/** What the host's own files tell beside the cgroup's: processor time of the whole machine, traffic of a namespace. */
import { readFileSync } from "node:fs";

/** /proc/stat counts in USER_HZ, which Linux fixes at 100 for user space. */
const NANO_PER_TICK = 10_000_000;
/** user, nice, system, idle, iowait, irq, softirq: what Docker adds up. */
const COUNTED_FIELDS = 7;

export interface SystemCpu {
  readonly totalNano: number;
  readonly onlineCpus: number;
}

/** Traffic of one interface since it was made. */
export interface InterfaceUsage {
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

export const readSystemCpu = (): SystemCpu => parseSystemCpu(readFileSync("/proc/stat", "latin1"));

/** Pure: the first lines of a /proc/stat text. */
export function parseSystemCpu(text: string): SystemCpu {
  let totalNano = 0;
  let onlineCpus = 0;
  for (const line of text.split("\n")) {
    if (!line.startsWith("cpu")) break;
    if (!line.startsWith("cpu ")) {
      onlineCpus += 1;
      continue;
    }
    const fields = line
      .trim()
      .split(/\s+/)
      .slice(1, 1 + COUNTED_FIELDS);
    totalNano = fields.reduce((sum, field) => sum + Number(field), 0) * NANO_PER_TICK;
  }
  return { totalNano, onlineCpus };
}

/** Pure: a /proc/PID/net/dev text, by interface, without the loopback. */
export function parseInterfaces(text: string): Record<string, InterfaceUsage> {
  const interfaces: Record<string, InterfaceUsage> = {};
  for (const line of text.split("\n")) {
    // Names hold no spaces, but may hold a colon.
    const colon = line.lastIndexOf(":");
    if (colon < 0) continue;
    const name = line.slice(0, colon).trim();
    if (name === "lo") continue;
    const numbers = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const [rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0] = numbers;
    const [txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0] = numbers.slice(8);
    interfaces[name] = {
      rxBytes,
      rxPackets,
      rxErrors,
      rxDropped,
      txBytes,
      txPackets,
      txErrors,
      txDropped,
    };
  }
  return interfaces;
}
