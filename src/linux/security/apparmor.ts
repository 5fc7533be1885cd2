/**
 * The AppArmor profile of containers. The kernel takes profiles compiled, and only apparmor_parser compiles: it is
 * asked once after each boot, on hosts that have AppArmor, and never else.
 * Rules: Docker's documentation, "AppArmor security profiles for Docker"; what they deny is what its profile denies.
 */
import { readFileSync } from "node:fs";

import { internal } from "#base";

const LOADED = "/sys/kernel/security/apparmor/profiles";

/** Whether a listing of `name (mode)` lines has the profile. Pure. */
export const hasProfile = (listing: string, name: string): boolean =>
  listing.split("\n").some((line) => line.startsWith(`${name} (`));

/** The profile's source. Pure. @param daemonProfile what the engine itself runs under: "unconfined" mostly */
export function profileSource(name: string, daemonProfile: string): string {
  const peers = ["unconfined", "runc", "crun", daemonProfile].map(
    (peer) => `  signal (receive) peer="${peer}",`,
  );
  const denied = [
    "@{PROC}/* w",
    "@{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w",
    "@{PROC}/sys/[^k]** w",
    "@{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w",
    "@{PROC}/sysrq-trigger rwklx",
    "@{PROC}/kcore rwklx",
    "/sys/[^f]*/** wklx",
    "/sys/f[^s]*/** wklx",
    "/sys/fs/[^c]*/** wklx",
    "/sys/fs/c[^g]*/** wklx",
    "/sys/fs/cg[^r]*/** wklx",
    "/sys/firmware/** rwklx",
    "/sys/devices/virtual/powercap/** rwklx",
    "/sys/kernel/security/** rwklx",
    "mount",
  ];
  return [
    "#include <tunables/global>",
    `profile "${name}" flags=(attach_disconnected,mediate_deleted) {`,
    "  #include <abstractions/base>",
    "  network,",
    "  capability,",
    "  file,",
    "  umount,",
    ...new Set(peers),
    `  signal (send,receive) peer="${name}",`,
    ...denied.map((rule) => `  deny ${rule},`),
    `  ptrace (trace,tracedby,read,readby) peer="${name}",`,
    "}",
    "",
  ].join("\n");
}

/** Loads the profile unless the kernel has it. @throws EngineError "internal" when it cannot be loaded */
export function ensureProfile(name: string): void {
  if (hasProfile(readFileSync(LOADED, "utf8"), name)) return;
  const source = profileSource(name, ownProfile());
  const parser = Bun.which("apparmor_parser") ?? "/sbin/apparmor_parser";
  const { exitCode, stderr } = Bun.spawnSync([parser, "-Kr"], { stdin: Buffer.from(source) });
  if (exitCode === 0) return;
  throw internal(
    `AppArmor enabled on system but the ${name} profile could not be loaded: ${stderr.toString().trim()}`,
  );
}

/** `name (enforce)`, or `unconfined`. */
function ownProfile(): string {
  try {
    return readFileSync("/proc/self/attr/current", "utf8")
      .trim()
      .replace(/ \(\w+\)$/, "");
  } catch {
    return "unconfined";
  }
}
