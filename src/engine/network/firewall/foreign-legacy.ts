/**
 * The same two rules as foreign.ts where the other engine uses iptables of old (xtables): its tables are not
 * nft's, and only its program can change them. Looked at when the engine starts, not on any start of a container.
 */
import { readFileSync } from "node:fs";

import { internal } from "#base";

/** The tables of old that are in use, in the network namespace of the calling thread. */
const TABLES_IN_USE = "/proc/thread-self/net/ip_tables_names";
/** How long the program waits for its own lock, and we for the program. */
const LOCK_WAIT_SECONDS = 5;
const TIMEOUT_MS = 10_000;

/** Adds what is missing where a policy drops, takes away what is not needed. */
export function ensureAcceptedByLegacy(bridge: string): void {
  if (!isInUse()) return;
  const program = Bun.which("iptables-legacy");
  if (program === null) return;
  const lines = run(program, ["-S"]).split("\n");
  const wanted = lines.includes("-P FORWARD DROP");
  const target = lines.includes("-N DOCKER-USER") ? "DOCKER-USER" : "FORWARD";
  const present = lines.filter((line) => line.includes(`"${markOf(bridge)}"`));
  const isRight = present.every((line) => line.startsWith(`-A ${target} `));
  if (wanted ? present.length === 2 && isRight : present.length === 0) return;
  remove(program, bridge, present);
  if (!wanted) return;
  for (const side of ["-i", "-o"]) run(program, ["-I", target, ...ruleOf(side, bridge)]);
}

/** Takes our marked rules away. */
export function removeAcceptedByLegacy(bridge: string): void {
  const program = isInUse() ? Bun.which("iptables-legacy") : null;
  if (program === null) return;
  const lines = run(program, ["-S"]).split("\n");
  remove(program, bridge, lines);
}

const markOf = (bridge: string): string => `naru ${bridge}`;

const ruleOf = (side: string, bridge: string): string[] => {
  const comment = ["-m", "comment", "--comment", markOf(bridge)];
  return [side, bridge, ...comment, "-j", "ACCEPT"];
};

function remove(program: string, bridge: string, lines: readonly string[]): void {
  for (const line of lines) {
    const [, chain, side] = /^-A (\S+) (-[io]) .*--comment "([^"]*)"/.exec(line) ?? [];
    if (chain === undefined || side === undefined) continue;
    if (!line.includes(`"${markOf(bridge)}"`)) continue;
    run(program, ["-D", chain, ...ruleOf(side, bridge)]);
  }
}

function isInUse(): boolean {
  try {
    return readFileSync(TABLES_IN_USE, "utf8").split("\n").includes("filter");
  } catch {
    return false; // A kernel without them.
  }
}

function run(program: string, options: readonly string[]): string {
  const child = Bun.spawnSync([program, "-w", `${LOCK_WAIT_SECONDS}`, ...options], {
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
  });
  if (child.exitCode !== 0) {
    throw internal(`${program} ${options.join(" ")}: ${child.stderr.toString().trim()}`);
  }
  return child.stdout.toString();
}
