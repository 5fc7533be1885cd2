/**
 * `naru doctor`, which is `naru daemon --doctor`: looks at this host as the daemon with these flags and this
 * configuration file would find it. It changes nothing, and needs no engine. What needs root is told to do so.
 */
import { existsSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";

import { sentenceOf } from "#base";
import { openCgroupHost } from "#linux/cgroup";
import { attempt } from "#linux/ffi";
import { openNftables } from "#linux/nftables";
import { compileSeccomp } from "#linux/security";

import { BUILT } from "./daemon-identity.ts";
import type { DaemonOptions } from "./daemon-options.ts";
import {
  type Attempted,
  cgroupFinding,
  clockFinding,
  diskFinding,
  type Finding,
  findingsText,
  firewallFinding,
  fileSystemsFinding,
  initFinding,
  kernelFinding,
  namespacesFinding,
  seccompFinding,
  socketFinding,
  type SocketFacts,
} from "./host-findings.ts";

/** An engine answers a ping in a millisecond; one that is busy starting 200 containers within a second. */
const PING_LIMIT_MS = 5000;
/** adjtimex(2): the clock is not synchronised. */
const TIME_ERROR = 5;
const TIMEX_BYTES = 208;

/** Prints what was found; ends with 1 where containers could not run. */
export async function doctor(options: DaemonOptions, form: "text" | "json"): Promise<never> {
  const findings = await examine(options);
  console.log(form === "json" ? JSON.stringify(findings) : findingsText(findings));
  process.exit(findings.some(({ verdict }) => verdict === "failed") ? 1 : 0);
}

async function examine(options: DaemonOptions): Promise<Finding[]> {
  const looked: readonly (readonly [string, () => Finding])[] = [
    ["kernel", () => kernelFinding(release())],
    ["namespaces", () => namespacesFinding(readdirSync("/proc/self/ns"))],
    ["cgroups", cgroups],
    ["file systems", () => fileSystemsFinding(fileSystemFacts())],
    ["seccomp", () => seccompFinding(tried(compileNothing))],
    ["firewall", firewall],
    ["disk", () => diskFinding(diskFacts(options.dataRoot))],
    ["clock", () => clockFinding({ now: new Date(), built: builtAt(), synchronised: isInStep() })],
    ["init", () => initFinding(options.engine.initPath)],
  ];
  const findings = looked.map(([check, look]) => seen(check, look));
  for (const host of options.hosts) {
    if (host.kind === "unix") findings.push(socketFinding(await socketFacts(host.path)));
  }
  return findings;
}

/** What cannot be looked at is a finding, too. */
function seen(check: string, look: () => Finding): Finding {
  try {
    return look();
  } catch (cause) {
    if (!isRoot()) return { ...ONLY_ROOT, check, found: sentenceOf(cause) };
    return { check, verdict: "failed", found: sentenceOf(cause), fix: null };
  }
}

const isRoot = (): boolean => process.getuid?.() === 0;

const ONLY_ROOT = { verdict: "warning", fix: "run it as root to know" } as const;

/** The library tells others than root in words of its own, on standard error. */
function firewall(): Finding {
  if (isRoot()) return firewallFinding(tried(listTables));
  return { ...ONLY_ROOT, check: "firewall", found: "only root may look" };
}

function cgroups(): Finding {
  const { mode, abilities } = openCgroupHost();
  return cgroupFinding(mode, abilities);
}

function tried(action: () => void): Attempted {
  try {
    action();
    return { reason: null };
  } catch (cause) {
    return { reason: sentenceOf(cause) };
  }
}

const compileNothing = (): void => {
  compileSeccomp({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [] });
};

function listTables(): void {
  using filter = openNftables();
  filter.outline("list tables");
}

function fileSystemFacts() {
  const registered = readFileSync("/proc/filesystems", "utf8").split(/\s+/);
  const folder = `/lib/modules/${release()}`;
  const listed = ["modules.dep", "modules.builtin"].map((name) => readIfThere(join(folder, name)));
  const named = listed.join("\n").matchAll(/\/(overlay|erofs)\.ko\b/g);
  return { registered, modules: [...named].map(([, name = ""]) => name) };
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

/** Of the folder, or of what it will be made in. */
function diskFacts(dataRoot: string) {
  let path = dataRoot;
  while (!existsSync(path)) path = dirname(path);
  const { type, bsize, bavail, blocks, ffree, files } = statfsSync(path);
  return {
    path,
    magic: type,
    freeBytes: bavail * bsize,
    totalBytes: blocks * bsize,
    freeInodes: ffree,
    totalInodes: files,
  };
}

function builtAt(): Date | null {
  const built = new Date(BUILT);
  return Number.isNaN(built.getTime()) ? null : built;
}

/** Whether another clock keeps this one in step; null where the kernel does not say. */
function isInStep(): boolean | null {
  const state = attempt("adjtimex", new Uint8Array(new ArrayBuffer(TIMEX_BYTES)));
  return state < 0 ? null : state !== TIME_ERROR;
}

async function socketFacts(path: string): Promise<SocketFacts> {
  if (!existsSync(path)) return { path, state: "missing" };
  try {
    const signal = AbortSignal.timeout(PING_LIMIT_MS);
    const answer = await fetch("http://engine/_ping", { unix: path, signal });
    return { path, state: answer.ok ? "answers" : "silent" };
  } catch (cause) {
    const { code, name } = cause as NodeJS.ErrnoException;
    if (name === "TimeoutError") return { path, state: "silent" };
    return { path, state: code === "EACCES" || code === "EPERM" ? "denied" : "refused" };
  }
}
