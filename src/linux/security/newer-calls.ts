/**
 * System calls that are younger than libseccomp, put in front of the program that it makes. By name it knows none of
 * them, so the default action would meet them all: EPERM, by which a C library does not fall back to what there was
 * before, as it does by ENOSYS. So those that a profile names are found by their numbers, and what is younger than
 * all that a profile knows is "not there", as runc has it (opencontainers/runc #2750).
 */
import { allocate } from "#linux/ffi";

/** From 424 on a call has one number on every architecture. */
const NUMBERS: Readonly<Record<string, number>> = {
  set_mempolicy_home_node: 450,
  cachestat: 451,
  fchmodat2: 452,
  map_shadow_stack: 453,
  futex_wake: 454,
  futex_wait: 455,
  futex_requeue: 456,
  statmount: 457,
  listmount: 458,
  lsm_get_self_attr: 459,
  lsm_set_self_attr: 460,
  lsm_list_modules: 461,
  mseal: 462,
  setxattrat: 463,
  getxattrat: 464,
  listxattrat: 465,
  removexattrat: 466,
  open_tree_attr: 467,
  file_getattr: 468,
  file_setattr: 469,
};

export const newerCall = (name: string): number | null =>
  Object.hasOwn(NUMBERS, name) ? (NUMBERS[name] ?? null) : null;

/** What comes before the program on one architecture. */
export interface ArchitecturePrefix {
  /** AUDIT_ARCH_*, as the kernel tells it. */
  readonly token: number;
  /** Calls with what is answered at once. */
  readonly verdicts: ReadonlyMap<number, number>;
  /** The highest number that the profile knows; what is above is not there. null: that is the program's to say. */
  readonly last: number | null;
}

const LOAD = 0x20;
const JUMP = 0x05;
const JUMP_EQUAL = 0x15;
const JUMP_GREATER = 0x25;
const JUMP_GREATER_EQUAL = 0x35;
const RETURN = 0x06;
/** Offsets in struct seccomp_data. */
const NUMBER = 0;
const ARCHITECTURE = 4;
const NOT_THERE = 0x0005_0026;
const X86_64 = 0xc000_003e;
/** Calls of the x32 ABI carry it, under the same token. */
const X32_BIT = 0x4000_0000;

type Instruction = readonly [code: number, ifTrue: number, ifFalse: number, k: number];

/** The program with what comes first. */
export function prefixed(
  program: Uint8Array<ArrayBuffer>,
  prefixes: readonly ArchitecturePrefix[],
): Uint8Array<ArrayBuffer> {
  const blocks = prefixes.filter(({ verdicts, last }) => verdicts.size > 0 || last !== null);
  if (blocks.length === 0) return program;
  const instructions: Instruction[] = [];
  for (const block of blocks.map(blockOf).toReversed()) {
    // Behind each block everything else is passed by.
    instructions.unshift(...block, [JUMP, 0, 0, instructions.length]);
  }
  instructions.unshift([LOAD, 0, 0, ARCHITECTURE]);
  const whole = allocate(instructions.length * 8 + program.length);
  const view = new DataView(whole.buffer);
  for (const [at, [code, ifTrue, ifFalse, k]] of instructions.entries()) {
    view.setUint16(at * 8, code, true);
    view.setUint8(at * 8 + 2, ifTrue);
    view.setUint8(at * 8 + 3, ifFalse);
    view.setUint32(at * 8 + 4, k, true);
  }
  whole.set(program, instructions.length * 8);
  return whole;
}

/** One architecture's instructions, entered with its token loaded; the jump behind them is the caller's. */
function blockOf({ token, verdicts, last }: ArchitecturePrefix): Instruction[] {
  const found = [...verdicts].flatMap(([number, verdict]): Instruction[] => [
    [JUMP_EQUAL, 0, 1, number],
    [RETURN, 0, 0, verdict],
  ]);
  const above: Instruction[] =
    last === null
      ? []
      : [
          [JUMP_GREATER, 0, 1, last],
          [RETURN, 0, 0, NOT_THERE],
        ];
  const own = [...found, ...above];
  const inside: Instruction[] = [
    [LOAD, 0, 0, NUMBER],
    ...(token === X86_64
      ? [[JUMP_GREATER_EQUAL, own.length, 0, X32_BIT] satisfies Instruction]
      : []),
    ...own,
  ];
  return [[JUMP_EQUAL, 0, inside.length + 1, token], ...inside];
}
