/**
 * Device rules on v2: a BPF program that the kernel asks at every open and mknod of a device.
 * The last rule that fits decides, so rules are tried from the last to the first; where none fits, no.
 * Source: linux/bpf.h (BPF_PROG_TYPE_CGROUP_DEVICE), kernel documentation of cgroup v2, "Device controller".
 */
import { addressOf, allocate, attempt, checked, cstring, SyscallError } from "#linux/ffi";

import type { CgroupDeviceRule } from "./resources.ts";

const AT_FDCWD = -100;
const O_DIRECTORY = process.arch === "arm64" ? 0o40000 : 0o200000;
const O_CLOEXEC = 0o2000000;

const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
const BPF_F_ALLOW_MULTI = 2;
const DEVICE_TYPES = { b: 1, c: 2 } as const;
const ACCESS_BITS: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
const ACCESS_ALL = 7;

const LOAD_WORD = 0x61;
const MOVE = 0xbf;
const MOVE_NUMBER = 0xb7;
const AND = 0x57;
const SHIFT_RIGHT = 0x77;
const JUMP_EQUAL = 0x15;
const JUMP_NOT_EQUAL = 0x55;
const JUMP_NOT_EQUAL_REGISTER = 0x5d;
const EXIT = 0x95;

const [RESULT, CONTEXT, TYPE, ACCESS, MAJOR, MINOR] = [0, 1, 2, 3, 4, 5] as const;

/** One instruction; `skip` of "next" jumps to the following rule. */
interface Instruction {
  readonly code: number;
  readonly to?: number;
  readonly from?: number;
  readonly offset?: number | "next";
  readonly number?: number;
}

const prologue: readonly Instruction[] = [
  { code: LOAD_WORD, to: TYPE, from: CONTEXT, offset: 0 },
  { code: MOVE, to: ACCESS, from: TYPE },
  { code: AND, to: TYPE, number: 0xffff },
  { code: SHIFT_RIGHT, to: ACCESS, number: 16 },
  { code: LOAD_WORD, to: MAJOR, from: CONTEXT, offset: 4 },
  { code: LOAD_WORD, to: MINOR, from: CONTEXT, offset: 8 },
];

function ruleInstructions({ allow, type = "a", major, minor, access }: CgroupDeviceRule) {
  const block: Instruction[] = [];
  if (type !== "a") {
    block.push({ code: JUMP_NOT_EQUAL, to: TYPE, number: DEVICE_TYPES[type], offset: "next" });
    const letters = (access ?? "rwm").split("");
    const bits = letters.reduce((sum, letter) => sum | (ACCESS_BITS[letter] ?? 0), 0);
    if (bits !== ACCESS_ALL) {
      block.push(
        { code: MOVE, to: CONTEXT, from: ACCESS },
        { code: AND, to: CONTEXT, number: bits },
      );
      // Allowing needs every wish to be covered; refusing needs one.
      block.push(
        allow
          ? { code: JUMP_NOT_EQUAL_REGISTER, to: CONTEXT, from: ACCESS, offset: "next" }
          : { code: JUMP_EQUAL, to: CONTEXT, number: 0, offset: "next" },
      );
    }
    if (major !== undefined && major >= 0) {
      block.push({ code: JUMP_NOT_EQUAL, to: MAJOR, number: major, offset: "next" });
    }
    if (minor !== undefined && minor >= 0) {
      block.push({ code: JUMP_NOT_EQUAL, to: MINOR, number: minor, offset: "next" });
    }
  }
  block.push({ code: MOVE_NUMBER, to: RESULT, number: allow ? 1 : 0 }, { code: EXIT });
  return block.map((instruction, index) =>
    instruction.offset === "next"
      ? { ...instruction, offset: block.length - index - 1 }
      : { ...instruction, offset: instruction.offset ?? 0 },
  );
}

/** Pure: the program's bytes, eight for an instruction. */
export function compileDeviceProgram(rules: readonly CgroupDeviceRule[]): Uint8Array<ArrayBuffer> {
  // What stands before a rule that always fits is never reached, and the verifier refuses such code.
  const always = rules.findLastIndex(({ type = "a" }) => type === "a");
  const last: CgroupDeviceRule[] = always < 0 ? [{ allow: false }] : [];
  const instructions = [
    ...prologue.map((each) => ({ ...each, offset: Number(each.offset ?? 0) })),
    ...[...last, ...rules.slice(Math.max(always, 0))].toReversed().flatMap(ruleInstructions),
  ];
  const bytes = allocate(instructions.length * 8);
  const view = new DataView(bytes.buffer);
  for (const [index, each] of instructions.entries()) {
    const { code, to, from, offset, number } = { from: 0, number: 0, to: 0, ...each };
    view.setUint8(index * 8, code);
    view.setUint8(index * 8 + 1, to | (from << 4));
    view.setInt16(index * 8 + 2, offset, true);
    view.setInt32(index * 8 + 4, number, true);
  }
  return bytes;
}

/** Makes a v2 folder obey device rules; what its parents refuse stays refused. @throws SyscallError */
export function attachDeviceProgram(folder: string, rules: readonly CgroupDeviceRule[]): void {
  const program = loadProgram(compileDeviceProgram(rules));
  const flags = O_DIRECTORY | O_CLOEXEC;
  const target = attempt("openat", AT_FDCWD, cstring(folder), flags, 0);
  try {
    if (target < 0) throw new SyscallError("openat", folder, -target);
    const attributes = allocate(32);
    const view = new DataView(attributes.buffer);
    view.setUint32(0, target, true);
    view.setUint32(4, program, true);
    view.setUint32(8, BPF_CGROUP_DEVICE, true);
    view.setUint32(12, BPF_F_ALLOW_MULTI, true);
    checked("bpf", `attach device rules to ${folder}`, BPF_PROG_ATTACH, attributes, 32);
  } finally {
    // The folder holds the program from here on.
    attempt("close", program);
    if (target >= 0) attempt("close", target);
  }
}

function loadProgram(instructions: Uint8Array<ArrayBuffer>): number {
  const licence = cstring("Apache-2.0");
  const attributes = allocate(128);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, BPF_PROG_TYPE_CGROUP_DEVICE, true);
  view.setUint32(4, instructions.length / 8, true);
  view.setBigUint64(8, addressOf(instructions), true);
  view.setBigUint64(16, addressOf(licence), true);
  return checked("bpf", "load device rules", BPF_PROG_LOAD, attributes, 72);
}
