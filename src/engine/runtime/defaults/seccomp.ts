/**
 * Seccomp profiles: the engine's default one, and a person's in Docker's form (`--security-opt seccomp=FILE`), both
 * resolved for what a container may do and for this machine.
 *
 * The default is Docker's, tighter in two places. `socketcall`, by which a 32-bit program could ask for AF_ALG and
 * AF_VSOCK past the argument rules of `socket`, is refused; C libraries call `socket` itself since Linux 4.3. And of a
 * family only the half counts that the kernel looks at, as said in seccomp-calls.ts.
 * io_uring is on no list and so refused by default (CVE-2026-31431, and a long row before it).
 */
import { release } from "node:os";

import { invalid } from "#base";
import type { SeccompRule, SeccompSpec } from "#oci";

import { type CallGroup, callGroups } from "./seccomp-calls.ts";

export interface SeccompTarget {
  readonly capabilities: readonly string[];
  /** "6.18.44-amd64"; this kernel's when missing. */
  readonly kernel?: string;
  /** Go's name: "amd64", "arm64"; this machine's when missing. */
  readonly arch?: string;
}

const goArch = (): string => (process.arch === "arm64" ? "arm64" : "amd64");

const architectures: Readonly<Record<string, readonly string[]>> = {
  amd64: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
  arm64: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
};

const EPERM = 1;
const ENOSYS = 38;

/**
 * libseccomp turns each rule about `socket` into one about `socketcall` as well, without the condition on its family:
 * this one comes first, and wins. Its errno must not be the default one, or libseccomp drops the rule.
 */
const noSocketcall: SeccompRule = {
  names: ["socketcall"],
  action: "SCMP_ACT_ERRNO",
  errnoRet: ENOSYS,
};

const kept = new Map<string, SeccompSpec>();

/** The default profile. The same wishes give the same object, so its compiled filter is found at once. */
export function defaultSeccomp(target: SeccompTarget): SeccompSpec {
  const { capabilities, kernel = release(), arch = goArch() } = target;
  const key = `${arch} ${kernel} ${capabilities.toSorted().join()}`;
  const known = kept.get(key);
  if (known !== undefined) return known;
  const has = new Set(capabilities);
  const profile: SeccompSpec = {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: EPERM,
    architectures: [...(architectures[arch] ?? [])],
    syscalls: [
      noSocketcall,
      ...callGroups.flatMap((group) =>
        applies(conditionsOf(group), { has, kernel, arch }) ? [ruleOf(group)] : [],
      ),
    ],
  };
  kept.set(key, profile);
  return profile;
}

function ruleOf({ calls, refuse, when }: CallGroup): SeccompRule {
  const args = when && [
    { index: when.argument, op: when.op, value: when.value, valueTwo: when.wanted ?? 0 },
  ];
  return {
    names: calls.split(" "),
    action: refuse === undefined ? "SCMP_ACT_ALLOW" : "SCMP_ACT_ERRNO",
    ...(refuse === undefined ? {} : { errnoRet: refuse }),
    ...(args === undefined ? {} : { args }),
  };
}

interface Conditions {
  readonly withCaps: readonly string[];
  readonly withoutCaps: readonly string[];
  readonly on: readonly string[];
  readonly notOn: readonly string[];
  readonly since: string;
}

const conditionsOf = (group: CallGroup): Conditions => ({
  withCaps: group.with ?? [],
  withoutCaps: group.without ?? [],
  on: group.on ?? [],
  notOn: group.notOn ?? [],
  since: group.since ?? "",
});

function applies(
  { withCaps, withoutCaps, on, notOn, since }: Conditions,
  { has, kernel, arch }: { has: ReadonlySet<string>; kernel: string; arch: string },
): boolean {
  if (withoutCaps.some((name) => has.has(name)) || notOn.includes(arch)) return false;
  if (on.length > 0 && !on.includes(arch)) return false;
  return withCaps.every((name) => has.has(name)) && isAtLeast(kernel, since);
}

/** Pure: whether a kernel's release is at least `major.minor`. */
export function isAtLeast(kernel: string, since: string): boolean {
  if (since === "") return true;
  const parts = (text: string) => text.split(/[.-]/, 2).map(Number);
  const [major = 0, minor = 0] = parts(kernel);
  const [wantedMajor = 0, wantedMinor = 0] = parts(since);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

interface DockerRule extends SeccompRule {
  readonly name?: string;
  readonly includes?: { caps?: string[]; arches?: string[]; minKernel?: string } | null;
  readonly excludes?: { caps?: string[]; arches?: string[]; minKernel?: string } | null;
}

interface DockerProfile {
  readonly defaultAction?: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: string[] | null;
  readonly archMap?: readonly { architecture: string; subArchitectures?: string[] | null }[] | null;
  readonly flags?: string[] | null;
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls?: readonly DockerRule[] | null;
}

/** A person's profile, for a container with these capabilities. @throws EngineError "invalid", in Docker's words */
export function parseSeccomp(text: string, target: SeccompTarget): SeccompSpec {
  const profile = decode(text);
  const { capabilities, kernel = release(), arch = goArch() } = target;
  if (profile.architectures?.length && profile.archMap?.length) {
    throw invalid(
      "'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
    );
  }
  const native = architectures[arch]?.[0];
  const mapped = profile.archMap?.find(({ architecture }) => architecture === native);
  const list =
    profile.architectures ?? (mapped && [native ?? "", ...(mapped.subArchitectures ?? [])]);
  const has = new Set(capabilities);
  return {
    defaultAction: profile.defaultAction ?? "",
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    ...(list ? { architectures: [...list] } : {}),
    ...(profile.flags ? { flags: profile.flags } : {}),
    ...(profile.listenerPath ? { listenerPath: profile.listenerPath } : {}),
    ...(profile.listenerMetadata ? { listenerMetadata: profile.listenerMetadata } : {}),
    syscalls: (profile.syscalls ?? []).flatMap((rule) => {
      const { includes, excludes } = rule;
      if (excludes?.minKernel && isAtLeast(kernel, excludes.minKernel)) return [];
      const conditions = {
        withCaps: includes?.caps ?? [],
        withoutCaps: excludes?.caps ?? [],
        on: includes?.arches ?? [],
        notOn: excludes?.arches ?? [],
        since: includes?.minKernel ?? "",
      };
      return applies(conditions, { has, kernel, arch }) ? [plainRule(rule)] : [];
    }),
  };
}

function plainRule({ name, names, action, errnoRet, args }: DockerRule): SeccompRule {
  const all = name ? [name] : (names as string[] | undefined);
  if (name && (names as string[] | undefined)?.length) {
    throw invalid(
      "both 'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
    );
  }
  return {
    names: all ?? [],
    action,
    ...(errnoRet === undefined ? {} : { errnoRet }),
    ...(args ? { args } : {}),
  };
}

function decode(text: string): DockerProfile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(`Decoding seccomp profile failed: ${(cause as Error).message}`, { cause });
  }
  const profile = value as DockerProfile;
  const rules = profile?.syscalls ?? [];
  const wellFormed =
    typeof value === "object" &&
    value !== null &&
    ["string", "undefined"].includes(typeof profile.listenerPath) &&
    ["string", "undefined"].includes(typeof profile.listenerMetadata) &&
    typeof profile.defaultAction === "string" &&
    Array.isArray(rules) &&
    rules.every(
      (rule) => typeof rule === "object" && rule !== null && typeof rule.action === "string",
    );
  if (!wellFormed) throw invalid("Decoding seccomp profile failed: not a seccomp profile");
  return profile;
}
