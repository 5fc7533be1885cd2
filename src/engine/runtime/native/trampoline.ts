/**
 * The only code that runs in a child before its own program: a loop over a plan's steps.
 *
 * It is C, compiled in memory when the driver opens (bun:ffi `cc`; the source must be a real file, also for the
 * compiled binary). On x86-64 it makes system calls by itself, elsewhere through libc's `syscall`, since the
 * compiler inside Bun has no assembler for arm64. Neither allocates, locks or touches Bun's memory.
 */
import { cc, dlopen, FFIType, ptr } from "bun:ffi";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { errnoName, FREESTANDING, SyscallError, syscallNumbers } from "#linux/ffi";

import type { EncodedPlan } from "./encode.ts";
import { REGISTER_COUNT } from "./plan.ts";

/** Sizes of struct message: kind, step, error, registers. */
export const MESSAGE_BYTES = (3 + REGISTER_COUNT) * 8;
export const MESSAGE_FAILED = 1;
export const MESSAGE_CHILD = 2;
export const MESSAGE_REPORT = 3;

const source = `/* Runs a plan of system calls in a new process: see encode.ts for the layout. */
typedef long i64; typedef unsigned long u64;
#define REGISTERS ${REGISTER_COUNT}
struct step { i64 nr, arg[6], use, out; u64 allow[2]; };
struct message { i64 kind, step, error, reg[REGISTERS]; };
#if defined(__x86_64__) && !defined(THROUGH_LIBC)
static i64 sc(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  i64 r;
  register i64 r10 __asm__("r10") = d; register i64 r8 __asm__("r8") = e; register i64 r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return r;
}
#define CAN_FORGET 1
#else
static i64 (*libc_syscall)(i64, i64, i64, i64, i64, i64, i64); static int *(*libc_errno)(void);
static i64 sc(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f) {
  i64 r = libc_syscall(n, a, b, c, d, e, f);
  return r == -1 ? -(i64)*libc_errno() : r;
}
#endif
i64 use_libc(i64 call, i64 location) {
#ifndef CAN_FORGET
  libc_syscall = (void *)call; libc_errno = (void *)location;
#endif
  return 0;
}
static void tell(i64 fd, i64 kind, i64 step, i64 error, i64 *reg) {
  struct message m; i64 i;
  m.kind = kind; m.step = step; m.error = error;
  for (i = 0; i < REGISTERS; i++) m.reg[i] = reg[i];
  sc(NR_WRITE, fd, (i64)&m, sizeof(m), 0, 0, 0);
}
static void default_signals(void) {
  i64 action[4], n;
  action[0] = action[1] = action[2] = action[3] = 0;
  for (n = 1; n <= 64; n++) if (n != 9 && n != 19) sc(NR_SIGACTION, n, (i64)action, 0, 8, 0, 0);
}
#ifdef CAN_FORGET
/* Keeps this code, the plan, more (if any), the top of this stack and the thread's control block: rseq is there, since
   glibc 2.41 below the static TLS. */
static void forget(i64 code, i64 plan, i64 length, i64 stack, i64 more, i64 more_length) {
  i64 from[5], to[5], i, j, t, at = 65536, thread = 0;
  sc(158, 0x1003, (i64)&thread, 0, 0, 0, 0);
  from[0] = code - 65536; to[0] = code + 131072;
  from[1] = plan; to[1] = plan + length;
  from[2] = stack - 16384; to[2] = stack + 16384;
  from[3] = thread - 65536; to[3] = thread + 8192;
  from[4] = more ? more : plan; to[4] = more ? more + more_length : plan;
  for (i = 0; i < 5; i++) { from[i] &= ~4095L; to[i] = (to[i] + 4095) & ~4095L; }
  for (i = 0; i < 5; i++) for (j = i + 1; j < 5; j++) if (from[j] < from[i]) {
    t = from[i]; from[i] = from[j]; from[j] = t; t = to[i]; to[i] = to[j]; to[j] = t;
  }
  for (i = 0; i < 5; i++) {
    if (from[i] > at) sc(NR_MUNMAP, at, from[i] - at, 0, 0, 0, 0);
    if (to[i] > at) at = to[i];
  }
  sc(NR_MUNMAP, at, 0x7ffffffff000L - at, 0, 0, 0, 0);
}
#endif
i64 run_plan(struct step *s, i64 n, i64 fd);
i64 birth(i64 clone_args, i64 size, struct step *steps, i64 count, i64 report) {
  u64 all = ~0UL, old = 0; i64 pid;
  /* No signal may reach a handler of the supervisor inside the child. */
  sc(NR_SIGMASK, 2, (i64)&all, (i64)&old, 8, 0, 0);
  pid = sc(NR_CLONE3, clone_args, size, 0, 0, 0, 0);
  if (pid == 0) run_plan(steps, count, report);
  sc(NR_SIGMASK, 2, (i64)&old, 0, 8, 0, 0);
  return pid;
}
/* One order at the head of the memory shared with the supervisor; the plan's block follows at byte 4096. */
struct order { i64 pid, count, length, report, args[11]; };
i64 midwife(i64 shared, i64 shared_length, i64 place, i64 place_length, i64 orders, i64 answers) {
  u64 all = ~0UL, old = 0; i64 pid, i, r; i64 args[11]; char byte;
  struct order *order = (struct order *)shared;
  i64 nursery = order->count;
  for (i = 0; i < 11; i++) args[i] = 0;
  args[0] = 0x400; args[4] = 17; /* CLONE_FILES, SIGCHLD */
  sc(NR_SIGMASK, 2, (i64)&all, (i64)&old, 8, 0, 0);
  pid = sc(NR_CLONE3, (i64)args, 88, 0, 0, 0, 0);
  if (pid != 0) { sc(NR_SIGMASK, 2, (i64)&old, 0, 8, 0, 0); return pid; }
  sc(NR_PRCTL, 1, 9, 0, 0, 0, 0);
  sc(NR_PRCTL, 4, 0, 0, 0, 0, 0);
  sc(NR_PRCTL, 15, shared + 2048, 0, 0, 0, 0); /* PR_SET_NAME */
  default_signals();
  r = sc(NR_SETNS, nursery, 0x20000, 0, 0, 0, 0);
  if (r < 0) sc(NR_EXIT, 1, 0, 0, 0, 0, 0);
#ifdef CAN_FORGET
  forget((i64)run_plan, place, place_length, (i64)args, shared, shared_length);
#endif
  byte = 0;
  sc(NR_WRITE, answers, (i64)&byte, 1, 0, 0, 0); /* here she is */
  for (;;) {
    r = sc(NR_READ, orders, (i64)&byte, 1, 0, 0, 0);
    if (r == -4) continue;
    if (r != 1) sc(NR_EXIT, 0, 0, 0, 0, 0, 0);
    for (i = 0; i < order->length / 8; i++) ((i64 *)place)[i] = ((i64 *)(shared + 4096))[i];
    /* Before the clone: when a child runs at last, the order may be the next one already. */
    i64 count = order->count, report = order->report;
    pid = sc(NR_CLONE3, (i64)order->args, 88, 0, 0, 0, 0);
    if (pid == 0) {
      sc(NR_MUNMAP, shared, shared_length, 0, 0, 0, 0);
      run_plan((struct step *)place, count, report);
    }
    order->pid = pid;
    sc(NR_WRITE, answers, (i64)&byte, 1, 0, 0, 0);
  }
  return 0;
}
i64 run_plan(struct step *s, i64 n, i64 fd) {
  i64 reg[REGISTERS], a[6], i, j, r;
  for (i = 0; i < REGISTERS; i++) reg[i] = 0;
  for (i = 0; i < n; i++) {
    for (j = 0; j < 6; j++) a[j] = (s[i].use >> j) & 1 ? reg[s[i].arg[j]] : s[i].arg[j];
    r = 0;
    if (s[i].nr >= 0) {
      r = sc(s[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
      /* A rename or a mount elsewhere disturbs a resolution below a root now and then: EAGAIN asks to try again. */
      for (j = 0; s[i].nr == NR_OPENAT2 && r == -11 && j < 128; j++) r = sc(s[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    else if (s[i].nr == -1) { if (a[0] >= 0) i += a[1]; continue; }
    else if (s[i].nr == -2) { if (a[0] < 0) i += a[1]; continue; }
    else if (s[i].nr == -10) { if (a[0] > 0) i += a[1]; continue; }
    else if (s[i].nr == -3) r = (*(i64 *)a[0] & a[1]) == a[2] ? 0 : -a[3];
    else if (s[i].nr == -4) r = a[0] == a[1] ? 0 : -a[2];
    else if (s[i].nr == -5) { if (a[0] > 0) { tell(fd, 2, i, a[0], reg); sc(NR_EXIT, 0, 0, 0, 0, 0, 0); } continue; }
    else if (s[i].nr == -6) { tell(fd, 3, i, 0, reg); continue; }
    else if (s[i].nr == -7) {
#ifdef CAN_FORGET
      forget((i64)run_plan, a[0], a[1], (i64)a, 0, 0);
#endif
      continue;
    }
    else if (s[i].nr == -8) r = -a[0];
    else if (s[i].nr == -9) { default_signals(); continue; }
    if (s[i].out >= 0) reg[s[i].out] = r;
    if (r < 0 && r > -4096 && !(-r < 128 && (s[i].allow[-r >> 6] >> (-r & 63)) & 1)) {
      tell(fd, 1, i, -r, reg);
      sc(NR_EXIT, 126, 0, 0, 0, 0, 0);
    }
  }
  sc(NR_EXIT, 125, 0, 0, 0, 0, 0);
  return 0;
}
`;

const word = FFIType.i64_fast;

export interface CloneRequest {
  /** struct clone_args of clone3. */
  readonly arguments: Uint8Array<ArrayBuffer>;
  readonly plan: EncodedPlan;
  /** Where the child reports to; close-on-exec. */
  readonly report: number;
}

export interface Region {
  readonly address: number;
  readonly length: number;
}

export interface MidwifeRequest {
  /**
   * Memory that both processes see: an order, and at byte 4096 a plan. Word 1 names the mount namespace that she
   * enters, and that every child copies, as a descriptor.
   */
  readonly shared: Region;
  /** Where plans are copied to and run. */
  readonly place: Region;
  readonly orders: number;
  readonly answers: number;
}

export interface Trampoline {
  /** Clones a child that runs the plan. @returns its pid @throws SyscallError */
  clone(request: CloneRequest): number;
  /** Clones the process that clones for us: see midwife.ts. @returns its pid @throws SyscallError */
  startMidwife(request: MidwifeRequest): number;
}

/**
 * Compiles the trampoline; the source is written below `folder`, and gone again when this returns.
 * @param throughLibc makes system calls by libc's `syscall`, as on arm64; `forget` does nothing then
 */
export function openTrampoline(folder: string, throughLibc = process.arch !== "x64"): Trampoline {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `trampoline-${process.pid}.c`);
  writeFileSync(file, source, { mode: 0o600 });
  try {
    const compiled = cc({
      source: file,
      flags: FREESTANDING,
      symbols: {
        birth: { args: [word, word, FFIType.ptr, word, word], returns: word },
        midwife: { args: [word, word, word, word, word, word], returns: word },
        use_libc: { args: [word, word], returns: word },
      },
      define: {
        NR_WRITE: `${syscallNumbers.write}`,
        NR_READ: `${syscallNumbers.read}`,
        NR_PRCTL: `${syscallNumbers.prctl}`,
        NR_MUNMAP: `${process.arch === "arm64" ? 215 : 11}`,
        NR_SIGACTION: `${syscallNumbers.rt_sigaction}`,
        NR_SIGMASK: `${syscallNumbers.rt_sigprocmask}`,
        NR_SETNS: `${syscallNumbers.setns}`,
        NR_CLONE3: `${syscallNumbers.clone3}`,
        NR_OPENAT2: `${syscallNumbers.openat2}`,
        NR_EXIT: `${syscallNumbers.exit_group}`,
        ...(throughLibc ? { THROUGH_LIBC: "1" } : {}),
      },
    });
    const { birth, midwife, use_libc: useLibc } = compiled.symbols;
    if (throughLibc) useLibc(...libcAddresses());
    return {
      clone: (request) => clone(birth, request),
      startMidwife: ({ shared, place, orders, answers }) => {
        const [from, to] = [shared.address, place.address];
        const pid = Number(midwife(from, shared.length, to, place.length, orders, answers));
        if (pid < 0) throw new SyscallError("clone3", "the midwife", -pid);
        return pid;
      },
    };
  } finally {
    rmSync(file, { force: true });
  }
}

function libcAddresses(): [bigint, bigint] {
  const library = dlopen("libc.so.6", {
    dlsym: { args: [FFIType.ptr, FFIType.ptr], returns: FFIType.u64 },
  });
  const address = (name: string) => library.symbols.dlsym(null, Buffer.from(`${name}\0`));
  return [address("syscall"), address("__errno_location")];
}

type Birth = (a: number, b: number, c: number, d: number, e: number) => number | bigint;

function clone(birth: unknown, { arguments: args, plan, report }: CloneRequest): number {
  const [at, steps] = [ptr(args) as number, ptr(plan.memory) as number];
  const pid = Number((birth as Birth)(at, args.length, steps, plan.stepCount, report));
  if (pid > 0) return pid;
  throw new SyscallError("clone3", `a new process (${errnoName(-pid)})`, -pid);
}
