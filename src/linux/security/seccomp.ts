/**
 * Seccomp filters: a profile in the OCI specification's words, compiled by libseccomp.so.2 into the program
 * that the kernel runs at each system call. Compiling takes milliseconds, so programs are kept by profile.
 * Source: seccomp(2), libseccomp 2.5 seccomp.h.
 */
import { dlopen, FFIType } from "bun:ffi";
import { closeSync, readSync } from "node:fs";

import { invalid, unavailable } from "#base";
import { allocate, checked, cstring } from "#linux/ffi";

import { type ArchitecturePrefix, newerCall, prefixed } from "./newer-calls.ts";

/** A profile. Field names are the OCI runtime specification's, so its `linux.seccomp` fits as it is. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures?: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls: readonly SeccompProfileRule[];
}

export interface SeccompProfileRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly value: number;
    readonly valueTwo?: number;
    readonly op: string;
  }[];
}

export interface SeccompFilter {
  /** struct sock_filter[]: eight bytes an instruction. */
  readonly program: Uint8Array<ArrayBuffer>;
  /** SECCOMP_FILTER_FLAG_*, for seccomp(2). */
  readonly flags: number;
}

const EPERM = 1;
const CTL_OPTIMIZE = 8;
const BINARY_TREE = 2;
const EEXIST = -17;
const EFAULT = -14;
const EDOM = -33;
const PSEUDO_SYSCALL_UNKNOWN = -1;
/** The kernel's own limit of instructions in a filter (BPF_MAXINSNS). */
const PROGRAM_LIMIT_BYTES = 4096 * 8;
const KEPT_FILTERS = 32;

const actions: Readonly<Record<string, number>> = {
  SCMP_ACT_KILL: 0x0000_0000,
  SCMP_ACT_KILL_THREAD: 0x0000_0000,
  SCMP_ACT_KILL_PROCESS: 0x8000_0000,
  SCMP_ACT_TRAP: 0x0003_0000,
  SCMP_ACT_ERRNO: 0x0005_0000,
  SCMP_ACT_TRACE: 0x7ff0_0000,
  SCMP_ACT_NOTIFY: 0x7fc0_0000,
  SCMP_ACT_LOG: 0x7ffc_0000,
  SCMP_ACT_ALLOW: 0x7fff_0000,
};

const architectures: Readonly<Record<string, number>> = {
  SCMP_ARCH_NATIVE: 0,
  SCMP_ARCH_X86: 0x4000_0003,
  SCMP_ARCH_X86_64: 0xc000_003e,
  SCMP_ARCH_X32: 0x4000_003e,
  SCMP_ARCH_ARM: 0x4000_0028,
  SCMP_ARCH_AARCH64: 0xc000_00b7,
};

const TSYNC = 1;
const NEW_LISTENER = 8;
const TSYNC_ESRCH = 16;

const flagBits: Readonly<Record<string, number>> = {
  SECCOMP_FILTER_FLAG_TSYNC: 1,
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
};

const comparisons: Readonly<Record<string, number>> = {
  SCMP_CMP_NE: 1,
  SCMP_CMP_LT: 2,
  SCMP_CMP_LE: 3,
  SCMP_CMP_EQ: 4,
  SCMP_CMP_GE: 5,
  SCMP_CMP_GT: 6,
  SCMP_CMP_MASKED_EQ: 7,
};

/** The words that profiles may be written in. */
export const seccompWords = () => ({
  actions: Object.keys(actions).toSorted(),
  operators: Object.keys(comparisons).toSorted(),
  archs: Object.keys(architectures)
    .filter((name) => name !== "SCMP_ARCH_NATIVE")
    .toSorted(),
});

const symbols = {
  seccomp_init: { args: [FFIType.u32], returns: FFIType.ptr },
  seccomp_rule_add_array: {
    args: [FFIType.ptr, FFIType.u32, FFIType.i32, FFIType.u32, FFIType.ptr],
    returns: FFIType.i32,
  },
  seccomp_export_bpf: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  seccomp_syscall_resolve_name: { args: [FFIType.ptr], returns: FFIType.i32 },
  seccomp_syscall_resolve_name_arch: { args: [FFIType.u32, FFIType.ptr], returns: FFIType.i32 },
  seccomp_arch_native: { args: [], returns: FFIType.u32 },
  seccomp_arch_exist: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  seccomp_arch_add: { args: [FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  seccomp_attr_set: {
    args: [FFIType.ptr, FFIType.i32, FFIType.u32],
    returns: FFIType.i32,
  },
  seccomp_release: { args: [FFIType.ptr], returns: FFIType.void },
} as const;

const load = () => dlopen("libseccomp.so.2", symbols).symbols;
let library: ReturnType<typeof load> | undefined;

function open(): ReturnType<typeof load> {
  try {
    return (library ??= load());
  } catch (cause) {
    throw unavailable("seccomp needs libseccomp.so.2 (Debian package libseccomp2)", { cause });
  }
}

const keptByProfile = new WeakMap<SeccompProfile, SeccompFilter>();
const keptByText = new Map<string, SeccompFilter>();

/**
 * The program of a profile; the same object, or an equal one, is compiled once.
 * @throws EngineError "invalid" for words the profile language lacks, "unavailable" without the library
 */
export function compileSeccomp(profile: SeccompProfile): SeccompFilter {
  const known = keptByProfile.get(profile);
  if (known !== undefined) return known;
  const text = JSON.stringify(profile);
  const filter = keptByText.get(text) ?? compile(profile);
  keptByText.delete(text);
  keptByText.set(text, filter);
  for (const oldest of keptByText.keys()) {
    if (keptByText.size <= KEPT_FILTERS) break;
    keptByText.delete(oldest);
  }
  keptByProfile.set(profile, filter);
  return filter;
}

function actionOf(name: string, errno: number | undefined): number {
  const action = actions[name];
  if (action === undefined) throw invalid(`invalid seccomp action: ${name}`);
  const carriesErrno = name === "SCMP_ACT_ERRNO" || name === "SCMP_ACT_TRACE";
  return carriesErrno ? action + ((errno ?? EPERM) & 0xffff) : action;
}

function compile(profile: SeccompProfile): SeccompFilter {
  const lib = open();
  const fallback = actionOf(profile.defaultAction, profile.defaultErrnoRet);
  const context = lib.seccomp_init(fallback);
  if (context === null) throw invalid(`invalid seccomp action: ${profile.defaultAction}`);
  try {
    for (const name of profile.architectures ?? []) addArchitecture(lib, context, name);
    for (const rule of profile.syscalls) addRule(lib, context, rule, fallback);
    lib.seccomp_attr_set(context, CTL_OPTIMIZE, BINARY_TREE);
    const program = prefixed(exported(lib, context), prefixesOf(lib, profile));
    return { program, flags: flagsOf(profile) };
  } finally {
    lib.seccomp_release(context);
  }
}

/** By these what is younger than a profile is let through, or said to be not there, by the kernel itself. */
const OPEN = new Set(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"]);
const ENOSYS = 38;
const X32 = 0x4000_003e;

function prefixesOf(lib: Library, profile: SeccompProfile): ArchitecturePrefix[] {
  const { defaultAction, defaultErrnoRet, syscalls } = profile;
  const named = (profile.architectures ?? []).flatMap((name) => architectures[name] ?? []);
  const native = lib.seccomp_arch_native();
  const tokens = new Set([native, ...named.map((token) => token || native)]);
  // It has the token of the 64-bit architecture, and numbers of its own.
  tokens.delete(X32);
  const verdicts = new Map<number, number>();
  for (const { names, action, errnoRet, args = [] } of syscalls) {
    for (const name of names) {
      const number = newerCall(name);
      if (number === null || args.length > 0) continue;
      if (lib.seccomp_syscall_resolve_name(cstring(name)) !== PSEUDO_SYSCALL_UNKNOWN) continue;
      if (!verdicts.has(number)) verdicts.set(number, actionOf(action, errnoRet));
    }
  }
  const isOpen = OPEN.has(defaultAction) || defaultErrnoRet === ENOSYS;
  return [...tokens].map((token) => {
    if (isOpen) return { token, verdicts, last: null };
    const numbers = syscalls.flatMap(({ names }) =>
      names.map((name) => lib.seccomp_syscall_resolve_name_arch(token, cstring(name))),
    );
    const last = [...numbers, ...verdicts.keys()].reduce((a, b) => Math.max(a, b), -1);
    return { token, verdicts, last: last < 0 ? null : last };
  });
}

function flagsOf({ flags = [], syscalls }: SeccompProfile): number {
  const asked = flags.reduce((sum, name) => {
    const bit = flagBits[name];
    if (bit === undefined) throw invalid(`invalid seccomp flag: ${name}`);
    return sum | bit;
  }, 0);
  if (!syscalls.some(({ action }) => action === "SCMP_ACT_NOTIFY")) return asked;
  // The call answers a descriptor then, and cannot tell of a thread that did not follow but as an error.
  return asked | NEW_LISTENER | (asked & TSYNC ? TSYNC_ESRCH : 0);
}

type Library = ReturnType<typeof load>;
type Context = NonNullable<ReturnType<Library["seccomp_init"]>>;

function addArchitecture(lib: Library, context: Context, name: string): void {
  const token = architectures[name];
  // Architectures of other machines cannot run here: their rules would only make the filter longer.
  if (token === undefined) {
    if (/^SCMP_ARCH_[A-Z0-9_]+$/.test(name)) return;
    throw invalid(`invalid seccomp architecture: ${name}`);
  }
  if (lib.seccomp_arch_exist(context, token) === 0) return;
  const result = lib.seccomp_arch_add(context, token);
  if (result !== 0 && result !== EEXIST) throw invalid(`seccomp architecture ${name}: ${result}`);
}

function addRule(lib: Library, context: Context, rule: SeccompProfileRule, fallback: number): void {
  const action = actionOf(rule.action, rule.errnoRet);
  // libseccomp refuses a rule that says what the default says already.
  if (action === fallback) return;
  const conditions = rule.args ?? [];
  const indices = new Set(conditions.map(({ index }) => index));
  // Several conditions on one argument mean "one of them" (as runc and crun read it): libseccomp wants a rule each.
  const groups =
    indices.size === conditions.length ? [conditions] : conditions.map((condition) => [condition]);
  for (const name of rule.names) {
    const number = lib.seccomp_syscall_resolve_name(cstring(name));
    // A name that this libseccomp does not know stays refused by the default action.
    if (number === PSEUDO_SYSCALL_UNKNOWN) continue;
    for (const group of groups) {
      const list = comparisonArray(group);
      const result = lib.seccomp_rule_add_array(context, action, number, group.length, list);
      if (result !== 0 && result !== EEXIST && result !== EFAULT && result !== EDOM) {
        throw invalid(`seccomp rule for ${name}: error ${-result}`);
      }
    }
  }
}

/** struct scmp_arg_cmp { unsigned arg; enum op; uint64 a, b }: 24 bytes each. */
function comparisonArray(conditions: NonNullable<SeccompProfileRule["args"]>) {
  const list = allocate(24 * conditions.length);
  const view = new DataView(list.buffer);
  for (const [at, { index, op, value, valueTwo = 0 }] of conditions.entries()) {
    const comparison = comparisons[op];
    if (comparison === undefined) throw invalid(`invalid seccomp operator: ${op}`);
    if (!Number.isInteger(index) || index < 0 || index > 5) {
      throw invalid(`invalid seccomp argument index: ${index}`);
    }
    // A mask comes first in libseccomp's "masked equal": value is the mask, valueTwo the wanted bits.
    view.setUint32(at * 24, index, true);
    view.setUint32(at * 24 + 4, comparison, true);
    view.setBigUint64(at * 24 + 8, BigInt.asUintN(64, BigInt(value)), true);
    view.setBigUint64(at * 24 + 16, BigInt.asUintN(64, BigInt(valueTwo)), true);
  }
  return list;
}

/** libseccomp writes a program only to a descriptor: a memory file holds any length without blocking. */
function exported(lib: Library, context: Context): Uint8Array<ArrayBuffer> {
  const file = checked("memfd_create", "seccomp", cstring("naru-seccomp"), 1);
  try {
    const result = lib.seccomp_export_bpf(context, file);
    if (result !== 0) throw invalid(`seccomp filter: error ${-result}`);
    const program = allocate(PROGRAM_LIMIT_BYTES + 8);
    const length = readSync(file, program, 0, program.length, 0);
    if (length > PROGRAM_LIMIT_BYTES) throw invalid("the seccomp profile is too long");
    const exact = allocate(length);
    exact.set(program.subarray(0, length));
    return exact;
  } finally {
    closeSync(file);
  }
}
