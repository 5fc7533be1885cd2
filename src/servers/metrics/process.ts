/** What every Prometheus client library tells of its process, from /proc. */
import { readdirSync, readFileSync } from "node:fs";

import { familyText } from "./instruments.ts";

const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

export function processText(): string[] {
  const stat = readFileSync("/proc/self/stat", "utf8");
  // From the third field on: the second is a name in parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3] ?? 0);
  const uptime = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  const bootedAt = Date.now() / 1000 - uptime;
  const limits = readFileSync("/proc/self/limits", "utf8");
  const tell = (name: string, type: "counter" | "gauge", help: string, value: number) =>
    familyText(`process_${name}`, { type, help, samples: [{ value }] });
  return [
    tell(
      "cpu_seconds_total",
      "counter",
      "Total user and system CPU time spent in seconds.",
      (field(14) + field(15)) / TICKS_PER_SECOND,
    ),
    tell(
      "max_fds",
      "gauge",
      "Maximum number of open file descriptors.",
      Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0),
    ),
    tell(
      "open_fds",
      "gauge",
      "Number of open file descriptors.",
      readdirSync("/proc/self/fd").length,
    ),
    tell(
      "resident_memory_bytes",
      "gauge",
      "Resident memory size in bytes.",
      field(24) * PAGE_BYTES,
    ),
    tell(
      "start_time_seconds",
      "gauge",
      "Start time of the process since unix epoch in seconds.",
      bootedAt + field(22) / TICKS_PER_SECOND,
    ),
    tell("virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23)),
  ];
}
