/**
 * What an engine needs of its host, as findings: what is there, how good that is, and how to get the rest. Pure:
 * facts in, sentences out. Numbers and names are those of DESIGN.md and of the kernel's documentation.
 */
import { humanSize } from "#base";
import type { CgroupAbilities, CgroupMode } from "#linux/cgroup";

/** "warning": containers run, something is missing. "failed": they do not. */
export type Verdict = "ok" | "warning" | "failed";

export interface Finding {
  /** "kernel", "cgroups", "disk", … */
  readonly check: string;
  readonly verdict: Verdict;
  readonly found: string;
  /** What to do about it; null where there is nothing to do. */
  readonly fix: string | null;
}

const MINIMUM_KERNEL = [5, 14] as const;
/** From here on a layer's file is mounted as it is; before, through a loop device. */
const FILE_BACKED_KERNEL = [6, 12] as const;
const LOW_DISK_BYTES = 1_000_000_000;
const LOW_SHARE = 0.05;
/** Records could not be written any more. */
const NO_DISK_BYTES = 50_000_000;
const NAMESPACES = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] as const;
const NETWORK_FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0x6969: "nfs",
  0xff534d42: "cifs",
  0xfe534d42: "smb2",
  0x01021997: "9p",
  0x794c7630: "overlay",
  0x4d44: "vfat",
  0x2011bab0: "exfat",
};

const finding =
  (check: string) =>
  (verdict: Verdict, found: string, fix: string | null = null): Finding => ({
    check,
    verdict,
    found,
    fix,
  });

export function kernelFinding(release: string): Finding {
  const say = finding("kernel");
  const [, major = "0", minor = "0"] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  const version = [Number(major), Number(minor)] as const;
  if (isBefore(version, MINIMUM_KERNEL)) {
    return say("failed", `Linux ${release}`, "boot Linux 5.14 or newer");
  }
  const how = isBefore(version, FILE_BACKED_KERNEL)
    ? "layers are mounted through loop devices or unpacked"
    : "layers are mounted as files";
  return say("ok", `Linux ${release}: ${how}`);
}

const isBefore = (one: readonly [number, number], other: readonly [number, number]): boolean =>
  one[0] < other[0] || (one[0] === other[0] && one[1] < other[1]);

/** @param present names of /proc/self/ns */
export function namespacesFinding(present: readonly string[]): Finding {
  const say = finding("namespaces");
  const missing = NAMESPACES.filter((name) => !present.includes(name));
  if (missing.length === 0) return say("ok", NAMESPACES.join(" "));
  const needed = missing.some((name) => name !== "user" && name !== "cgroup");
  return say(
    needed ? "failed" : "warning",
    `missing: ${missing.join(" ")}`,
    "use a kernel that was built with these namespaces (CONFIG_NAMESPACES and those below it)",
  );
}

export function cgroupFinding(mode: CgroupMode, abilities: CgroupAbilities): Finding {
  const say = finding("cgroups");
  const wanted = {
    memory: "memory",
    swap: "swap",
    cpuQuota: "cpu",
    pids: "pids",
    cpuset: "cpuset",
  };
  const missing = Object.entries(wanted).flatMap(([ability, name]) =>
    abilities[ability as keyof typeof wanted] ? [] : [name],
  );
  if (!abilities.devices) {
    return say("failed", `${mode}: device rules cannot be held`, "mount the devices controller");
  }
  if (missing.length === 0) return say("ok", mode);
  return say(
    "warning",
    `${mode}: no limits of ${missing.join(", ")}`,
    missing.includes("swap") && missing.length === 1
      ? "boot with swapaccount=1"
      : "boot with systemd.unified_cgroup_hierarchy=1, or let the controllers in (cgroup_enable=memory)",
  );
}

export interface FileSystemFacts {
  /** Of /proc/filesystems. */
  readonly registered: readonly string[];
  /** Of /lib/modules: loaded when they are first mounted. */
  readonly modules: readonly string[];
}

export function fileSystemsFinding({ registered, modules }: FileSystemFacts): Finding {
  const say = finding("file systems");
  const has = (name: string) => registered.includes(name) || modules.includes(name);
  if (!has("overlay")) {
    return say("failed", "no overlay", "modprobe overlay, or use a kernel with CONFIG_OVERLAY_FS");
  }
  if (!has("erofs")) {
    return say(
      "warning",
      "overlay; no erofs: layers are unpacked, which takes longer",
      "modprobe erofs, or install the kernel's extra modules",
    );
  }
  return say("ok", "overlay, erofs");
}

export interface DiskFacts {
  readonly path: string;
  readonly magic: number;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly freeInodes: number;
  /** 0: the file system has no such limit. */
  readonly totalInodes: number;
}

export function diskFinding(facts: DiskFacts): Finding {
  const say = finding("disk");
  const { path, freeBytes, totalBytes, freeInodes, totalInodes } = facts;
  const kind = NETWORK_FILE_SYSTEMS[facts.magic >>> 0];
  if (kind !== undefined) {
    const fix = "put --data-root on ext4, xfs or btrfs";
    return say("failed", `${path} lies on ${kind}, where no overlay can write`, fix);
  }
  const free = `${humanSize(freeBytes)} of ${humanSize(totalBytes)} free at ${path}`;
  const fix = "naru system df shows what takes it, naru system prune gives it back";
  if (freeBytes < NO_DISK_BYTES) return say("failed", free, fix);
  if (totalInodes > 0 && freeInodes / totalInodes < LOW_SHARE) {
    return say("warning", `${freeInodes} of ${totalInodes} inodes free at ${path}`, fix);
  }
  const low = freeBytes < LOW_DISK_BYTES || freeBytes / totalBytes < LOW_SHARE;
  return say(low ? "warning" : "ok", free, low ? fix : null);
}

/** @param facts.synchronised null: the kernel does not tell */
export function clockFinding(facts: {
  readonly now: Date;
  readonly built: Date | null;
  readonly synchronised: boolean | null;
}): Finding {
  const say = finding("clock");
  const { now, built, synchronised } = facts;
  const fix = "timedatectl set-ntp true, or install systemd-timesyncd or chrony";
  if (built !== null && now < built) {
    const found = `${now.toISOString()} is before this program was made`;
    return say("failed", `${found}: registries' certificates are not valid yet`, fix);
  }
  if (synchronised === false) {
    return say("warning", `${now.toISOString()}, synchronised with no other clock`, fix);
  }
  return say("ok", now.toISOString());
}

/** How a thing that was tried went: null is well, else the reason. */
export type Attempted = { readonly reason: string | null };

export function firewallFinding({ reason }: Attempted): Finding {
  const say = finding("firewall");
  if (reason === null) return say("ok", "nftables answers");
  return say(
    "failed",
    reason,
    "install libnftables1 (or nftables), and use a kernel with nf_tables: modprobe nf_tables",
  );
}

export function seccompFinding({ reason }: Attempted): Finding {
  const say = finding("seccomp");
  if (reason === null) return say("ok", "system calls are filtered");
  return say("failed", reason, "install libseccomp2, and use a kernel with CONFIG_SECCOMP_FILTER");
}

/** @param path null: none was found */
export function initFinding(path: string | null): Finding {
  const say = finding("init");
  if (path !== null) return say("ok", path);
  return say("warning", "no program for --init", "install tini");
}

export interface SocketFacts {
  readonly path: string;
  /** "missing": no such file. "refused": the file is there and nobody listens. "denied": not for this user. */
  readonly state: "answers" | "missing" | "refused" | "denied" | "silent";
}

export function socketFinding({ path, state }: SocketFacts): Finding {
  const say = finding("socket");
  switch (state) {
    case "answers":
      return say("ok", `an engine answers at ${path}`);
    case "missing":
    case "refused":
      return say(
        "warning",
        `no engine answers at ${path}`,
        "systemctl start naru, or naru daemon as root",
      );
    case "denied":
      return say(
        "warning",
        `${path} is not for this user`,
        "sudo usermod -aG naru $USER, and log in again",
      );
    case "silent":
      return say(
        "failed",
        `who listens at ${path} gives no answer`,
        "see journalctl -u naru, then systemctl restart naru: containers run on",
      );
  }
}

const MARKS: Readonly<Record<Verdict, string>> = { ok: "ok", warning: "warn", failed: "FAIL" };

/** For people: a line each, and the fix below what needs one. */
export function findingsText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  return findings
    .flatMap(({ check, verdict, found, fix }) => [
      `${MARKS[verdict].padEnd(4)}  ${check.padEnd(width)}  ${found}`,
      ...(fix === null ? [] : [`${" ".repeat(6 + width)}  fix: ${fix}`]),
    ])
    .join("\n");
}
