/**
 * The midwife: a process that clones children for the supervisor.
 *
 * A clone copies the page tables of whoever clones, and every page the parent writes afterwards costs a fault: 2 ms
 * and more for the supervisor's heap. The midwife has next to no memory: she is cloned once, unmaps everything but
 * the trampoline, and waits. She shares the supervisor's table of descriptors (CLONE_FILES), so a child is born with
 * exactly the descriptors of that moment, and makes siblings, not children of her own (CLONE_PARENT): the supervisor
 * is every container's parent. A child has no copy of the supervisor's memory either, nothing a container that
 * traces it could read. She lives in the nursery (nursery.ts): a child's own mount namespace is a copy of it.
 *
 * An order and its plan lie in memory that both see; a byte through one pipe says "go", a byte through the other "done".
 * She dies with the supervisor (PR_SET_PDEATHSIG), but not when it executes a newer binary in its place: she would keep
 * the old descriptors open. So her name carries her employer's mark, and who finds one with another mark dismisses her.
 */
import { toArrayBuffer } from "bun:ffi";
import { readFileSync } from "node:fs";

import { unavailable } from "#base";
import { allocate, attempt, checked, SyscallError } from "#linux/ffi";
import { listChildren, pidfdOpen, pidfdSendSignal, SIGKILL } from "#linux/process";

import type { EncodedPlan } from "./encode.ts";
import { reap } from "./reap.ts";
import type { Region, Trampoline } from "./trampoline.ts";

/** The longest plan: execve itself takes no more than a quarter of the stack's limit, 2 MiB, of texts. */
const PLAN_LIMIT_BYTES = 4 * 1024 * 1024;
const ORDER_BYTES = 4096;
const NAME_AT = 2048;
const NAME_PREFIX = "midwife-";
/** Of this program since its execve. */
const mark = crypto.getRandomValues(new Uint8Array(3)).toHex();
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_PRIVATE = 2;
const MAP_ANONYMOUS = 0x20;
const O_CLOEXEC = 0o2000000;
const POLLIN = 1;
const CLONE_PARENT = 0x8000;
const CLONE_PIDFD = 0x1000;
const CLONE_INTO_CGROUP = 0x2_0000_0000;

const KILLED = "the process that starts containers was killed; the next start has another";

export interface OrderRequest {
  /** CLONE_NEW*. */
  readonly flags: number;
  /** The v2 cgroup the child is born in. */
  readonly unified: number | null;
  /** Laid out for `Midwife.address`. */
  readonly plan: EncodedPlan;
  readonly report: number;
}

export interface Newborn {
  readonly pid: number;
  readonly pidfd: number;
}

interface Attendance {
  readonly pid: number;
  readonly pidfd: number;
}

export class Midwife implements Disposable {
  readonly #trampoline: Trampoline;
  readonly #nursery: number;
  readonly #shared: Region;
  readonly #place: Region;
  readonly #memory: Uint8Array;
  readonly #order: BigInt64Array;
  readonly #orders: readonly [reader: number, writer: number];
  readonly #answers: readonly [reader: number, writer: number];
  #here: Attendance | null;

  /** @param nursery the mount namespace she lives in; hers to copy, the caller's to close @throws SyscallError */
  constructor(trampoline: Trampoline, nursery: number) {
    this.#trampoline = trampoline;
    this.#nursery = nursery;
    const length = ORDER_BYTES + PLAN_LIMIT_BYTES;
    this.#shared = { address: map(length, MAP_SHARED), length };
    this.#place = { address: map(PLAN_LIMIT_BYTES, MAP_PRIVATE), length: PLAN_LIMIT_BYTES };
    const buffer = toArrayBuffer(this.#shared.address, 0, length);
    this.#memory = new Uint8Array(buffer);
    this.#order = new BigInt64Array(buffer, 0, ORDER_BYTES / 8);
    this.#memory.set(Buffer.from(`${NAME_PREFIX}${mark}\0`), NAME_AT);
    dismissStrangers();
    this.#orders = pipe();
    this.#answers = pipe();
    this.#here = this.#call();
  }

  /** Where plans lie when they run. */
  get address(): number {
    return this.#place.address;
  }

  /** Clones a child that runs the plan; it is ours to wait for. @throws SyscallError, EngineError */
  clone({ flags, unified, plan, report }: OrderRequest): Newborn {
    if (plan.memory.length > PLAN_LIMIT_BYTES) {
      throw new SyscallError("execve", "the program", 7);
    }
    const here = (this.#here ??= this.#call());
    const order = this.#order;
    order.fill(0n, 0, 15);
    order[1] = BigInt(plan.stepCount);
    order[2] = BigInt((plan.memory.length + 7) & ~7);
    order[3] = BigInt(report);
    const into = unified === null ? 0 : CLONE_INTO_CGROUP;
    order[4] = BigInt(flags + CLONE_PARENT + CLONE_PIDFD + into);
    // struct clone_args begins at word 4: its pidfd pointer is word 5, its cgroup word 14. The answer goes to word 16.
    order[5] = BigInt(this.#shared.address + 16 * 8);
    order[14] = BigInt(unified ?? 0);
    order[16] = -1n;
    this.#memory.set(plan.memory, ORDER_BYTES);
    this.#ask(here);
    const pid = Number(order[0]);
    if (pid < 0) throw new SyscallError("clone3", "a new process", -pid);
    return { pid, pidfd: Number(BigInt.asIntN(32, order[16] ?? -1n)) };
  }

  [Symbol.dispose](): void {
    const here = this.#here;
    if (here === null) return;
    pidfdSendSignal(here.pidfd, SIGKILL);
    this.#leave(here);
    for (const fd of [...this.#orders, ...this.#answers]) attempt("close", fd);
  }

  #call(): Attendance {
    this.#order[1] = BigInt(this.#nursery);
    const pid = this.#trampoline.startMidwife({
      shared: this.#shared,
      place: this.#place,
      orders: this.#orders[0],
      answers: this.#answers[1],
    });
    const here = { pid, pidfd: pidfdOpen(pid) };
    if (this.#answered(here)) return here;
    this.#leave(here);
    throw unavailable(KILLED);
  }

  /** Sends the order and waits for its answer, or for her death. */
  #ask(here: Attendance): void {
    const byte = allocate(1);
    checked("write", "an order", this.#orders[1], byte, 1);
    if (this.#answered(here)) return;
    this.#leave(here);
    // Her successor must not find the order that she died over.
    if (isReadable(this.#orders[0])) checked("read", "an order", this.#orders[0], byte, 1);
    throw unavailable(KILLED);
  }

  /** Waits for a byte of hers. @returns false when she is dead instead */
  #answered({ pidfd }: Attendance): boolean {
    const entries = allocate(16);
    const view = new DataView(entries.buffer);
    view.setInt32(0, this.#answers[0], true);
    view.setInt16(4, POLLIN, true);
    view.setInt32(8, pidfd, true);
    view.setInt16(12, POLLIN, true);
    checked("ppoll", "an answer", entries, 2, null, null, 0);
    if (view.getInt16(6, true) === 0) return false;
    checked("read", "an answer", this.#answers[0], allocate(1), 1);
    return true;
  }

  #leave({ pid, pidfd }: Attendance): void {
    this.#here = null;
    reap(pid);
    attempt("close", pidfd);
  }
}

/** Ends the midwives that an earlier program of this process left. */
function dismissStrangers(): void {
  for (const pid of listChildren(process.pid)) {
    const name = commandOf(pid);
    if (!name.startsWith(NAME_PREFIX) || name === `${NAME_PREFIX}${mark}`) continue;
    const pidfd = pidfdOpen(pid);
    pidfdSendSignal(pidfd, SIGKILL);
    reap(pid);
    attempt("close", pidfd);
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    // It ended meanwhile.
    return "";
  }
}

function isReadable(fd: number): boolean {
  const entry = allocate(8);
  const view = new DataView(entry.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  return attempt("ppoll", entry, 1, allocate(16), null, 0) > 0;
}

function map(length: number, flags: number): number {
  const protection = PROT_READ_WRITE;
  const what = [0, length, protection, flags | MAP_ANONYMOUS, -1, 0] as const;
  return checked("mmap", "memory for plans", ...what);
}

function pipe(): readonly [number, number] {
  const pair = allocate(8);
  checked("pipe2", "pipe", pair, O_CLOEXEC);
  const view = new DataView(pair.buffer);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}
