/** The supervisor process: the room of that name, wired to drivers, cgroups and networks. */
import { mkdirSync, writeSync } from "node:fs";
import { join } from "node:path";

import { sentenceOf } from "#base";
import { Deliveries } from "#engine/log-delivery";
import {
  buildNetwork,
  DnsServers,
  PortReservations,
  removeLinks,
  isSpareFor,
  SpareNamespaces,
} from "#engine/network";
import { openNativeDriver, openOciDriver, type RuntimeDriver } from "#engine/runtime";
import {
  AlreadyRunningError,
  EXIT_ALREADY_RUNNING,
  runSupervisor,
  type SupervisorParts,
} from "#engine/supervisor";
import { type CgroupHost, openCgroupHost } from "#linux/cgroup";

import { giveBackWhenIdle } from "./idle-memory.ts";
import { ownCommand } from "./own-command.ts";

type Level = Parameters<SupervisorParts["log"]>[0];
const levels: readonly Level[] = ["debug", "info", "warn", "error"];

/** Serves until it is told to shut down. `--exec-root DIR [--data-root DIR] [--log-level LEVEL]` */
export async function run(args: readonly string[]): Promise<void> {
  const execRoot = valueOf(args, "--exec-root") ?? "/run/naru";
  const dataRoot = valueOf(args, "--data-root") ?? "/var/lib/naru";
  const log = logger(valueOf(args, "--log-level") ?? "info");
  // The parent of every container survives its own mistakes; each is a defect to be read of.
  for (const name of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(name, (thrown: unknown) => log("error", `${name}: ${Bun.inspect(thrown)}`));
  }
  const all = parts({ execRoot, dataRoot }, log);
  try {
    const { stopped } = await runSupervisor({ execRoot, parts: all });
    log("info", `supervisor ${process.pid} serves ${execRoot}`);
    warmUp(all);
    giveBackWhenIdle();
    await stopped;
    process.exit(0);
  } catch (thrown) {
    if (!(thrown instanceof AlreadyRunningError)) throw thrown;
    process.exit(EXIT_ALREADY_RUNNING);
  }
}

/** The daemon writes this command line; a parser of node:util's would cost half a megabyte for as long as it runs. */
function valueOf(args: readonly string[], flag: string): string | undefined {
  const at = args.indexOf(flag);
  return at < 0 ? undefined : args[at + 1];
}

function parts(
  { execRoot, dataRoot }: { execRoot: string; dataRoot: string },
  log: SupervisorParts["log"],
): SupervisorParts {
  const drivers = new Map<string, RuntimeDriver>();
  const cgroups = openCgroupHost();
  const spares = new SpareNamespaces((thrown) => log("debug", `a spare: ${sentenceOf(thrown)}`));
  return {
    openDriver: (runtime) => {
      const driver = drivers.get(runtime) ?? openDriver(runtime, { execRoot, cgroups });
      drivers.set(runtime, driver);
      return driver;
    },
    closeDrivers: () => {
      for (const driver of drivers.values()) driver[Symbol.dispose]?.();
      drivers.clear();
    },
    takeSpareNamespace: (wanted) => spares.take(wanted),
    isFor: isSpareFor,
    buildNetwork,
    removeLinks,
    dns: new DnsServers((message) => log("warn", message)),
    ports: new PortReservations(),
    cgroup: (path) => cgroups.at(path),
    deliveries: new Deliveries({
      // The binary this process runs from has no name any more: its mount is detached.
      command: () => ownCommand("log-delivery"),
      root: join(dataRoot, "log-spool"),
      warn: (message) => log("warn", message),
    }),
    log,
  };
}

function openDriver(
  runtime: string,
  { execRoot, cgroups }: { execRoot: string; cgroups: CgroupHost },
): RuntimeDriver {
  if (runtime !== "native") return openOciDriver({ command: runtime });
  const scratchRoot = join(execRoot, "native");
  mkdirSync(scratchRoot, { recursive: true, mode: 0o700 });
  return openNativeDriver({ scratchRoot, cgroups });
}

/** The default driver compiles its trampoline when it opens: not on the first container's time. */
function warmUp(parts: SupervisorParts): void {
  try {
    parts.openDriver("native");
  } catch (thrown) {
    parts.log("error", `the native runtime: ${sentenceOf(thrown)}`);
  }
}

/** One line an event on stderr, which is `<exec-root>/supervisor.log`. */
function logger(levelName: string): SupervisorParts["log"] {
  const least = Math.max(levels.indexOf(levelName as Level), 0);
  return (level, message) => {
    if (levels.indexOf(level) < least) return;
    const line = `time=${new Date().toISOString()} level=${level} msg=${JSON.stringify(message)}\n`;
    try {
      writeSync(2, line);
    } catch {
      // A full disk must not end the parent of every container.
    }
  };
}
