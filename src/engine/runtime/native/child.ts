/** A child of the midwife's: cloned, followed until its program runs, or ended. */
import { EngineError, sentenceOf } from "#base";
import { allocate, attempt, SyscallError } from "#linux/ffi";
import { FileDescriptor } from "#linux/path";
import {
  exitCodeOf,
  pidfdGetfd,
  pidfdOpen,
  pidfdSendSignal,
  SIGKILL,
  waitPidfd,
} from "#linux/process";

import { type BirthRequest, type Born, type ExecRequest, RuntimeError } from "../driver.ts";
import { ownAdjustment, writeAdjustment } from "./borrow.ts";
import type { EncodedPlan } from "./encode.ts";
import { failureOf, frame, type Operation } from "./failure.ts";
import type { Host } from "./host.ts";
import type { BirthPipes } from "./nursery.ts";
import type { Plan } from "./plan.ts";
import { reap, reapInTime } from "./reap.ts";
import { isReadable, type Message, readMessage } from "./report.ts";
import { handToListener, type ListenerHandover } from "./seccomp-agent.ts";
import { MESSAGE_CHILD, MESSAGE_FAILED } from "./trampoline.ts";

export const terminalOf = ({ stdio }: Pick<BirthRequest | ExecRequest, "stdio">): boolean =>
  stdio.type === "terminal";

export function asRuntimeError(operation: Operation, thrown: unknown): unknown {
  if (thrown instanceof RuntimeError) return thrown;
  if (thrown instanceof SyscallError || thrown instanceof EngineError) {
    return new RuntimeError("failed", frame(operation, sentenceOf(thrown)), { cause: thrown });
  }
  return thrown;
}

export interface Child {
  readonly pid: number;
  readonly pidfd: number;
  /** The child's own plan, for what a failure says. */
  readonly compile: () => Plan;
  readonly registers: ReadonlyMap<string, number>;
}

export interface ChildRequest {
  readonly compile: () => Plan;
  readonly encoded: EncodedPlan;
  readonly flags: number;
  readonly pipes: BirthPipes;
  readonly unified: number | null;
}

export function cloneChild({ midwife }: Host, request: ChildRequest): Child {
  const { compile, encoded, flags, pipes, unified } = request;
  const newborn = midwife.clone({ flags, unified, plan: encoded, report: pipes.reportWriter });
  // Closed at once: another child cloned later must not hold this one's pipe open.
  pipes.closeChildEnds();
  return { ...newborn, compile, registers: encoded.registers };
}

/** Where a container's cgroup takes nobody, since it hands its controllers down: the child goes where its first process is. */
export function cloneBeside(
  host: Host,
  request: ChildRequest,
  openBelow: () => number | null,
): Child {
  try {
    return cloneChild(host, request);
  } catch (thrown) {
    if (!(thrown instanceof SyscallError) || !NO_MEMBERS.has(thrown.code)) throw thrown;
    const below = openBelow();
    if (below === null) throw thrown;
    using folder = new FileDescriptor(below);
    return cloneChild(host, { ...request, unified: folder.fd });
  }
}

/** Of a cgroup with controllers in its subtree_control; of one that became threaded. */
const NO_MEMBERS: ReadonlySet<string> = new Set(["EBUSY", "EOPNOTSUPP"]);

/** A child is born with the supervisor's own adjustment; the container has one of its own, 0 if nothing is said. */
export function giveAdjustment(pid: number, adjustment: number | undefined): void {
  const wanted = adjustment ?? 0;
  if (wanted === ownAdjustment()) return;
  writeAdjustment(pid, wanted);
}

/**
 * Kills and reaps a child that shall not live, and closes its pidfd. One that was given up may be stuck in the kernel:
 * nobody waits for that.
 */
export function end({ pid, pidfd }: Pick<Child, "pid" | "pidfd">, { signal }: BirthPipes): void {
  pidfdSendSignal(pidfd, SIGKILL);
  if (signal?.aborted === true) void reapInTime(pid);
  else reap(pid);
  attempt("close", pidfd);
}

/** Lets the child go on and follows it until its program runs. @throws RuntimeError */
export async function follow(request: {
  readonly child: Child;
  readonly pipes: BirthPipes;
  readonly operation: Operation;
  readonly terminal: boolean;
  /** Whom the profile wants to ask about calls; null: nobody. */
  readonly listener: Omit<ListenerHandover, "pid" | "pidfd" | "descriptor"> | null;
}): Promise<Born> {
  const { child, pipes, operation, terminal, listener } = request;
  let ptyMaster: number | null = null;
  let inner: Pick<Child, "pid" | "pidfd"> | null = null;
  // The second child may tell of its filter before the first one tells of it.
  let asked: Message | null = null;
  const go = () => attempt("write", pipes.goWriter, goByte, 1);
  try {
    // Only births wait for their parent without a terminal: the byte would be taken for another answer.
    if (!terminal && operation === "birth") go();
    for (;;) {
      const message = await readMessage(pipes);
      if (message === null) break;
      if (message.kind === MESSAGE_FAILED) throw failed(operation, child.compile(), message);
      if (message.kind === MESSAGE_CHILD) {
        // Our own child that we have not reaped: the number cannot be anyone else's.
        inner = { pid: message.error, pidfd: pidfdOpen(message.error) };
      } else if (terminal && ptyMaster === null) {
        ptyMaster = pidfdGetfd(child.pidfd, register(child, message, "ptmx"));
        go();
      } else asked = message;
      if (asked === null || listener === null || (inner === null && hasSecond(child))) continue;
      const descriptor = register(child, asked, "listener");
      handToListener({ ...listener, ...(inner ?? child), descriptor });
      asked = null;
      go();
    }
  } catch (thrown) {
    if (ptyMaster !== null) attempt("close", ptyMaster);
    if (inner !== null) end(inner, pipes);
    end(child, pipes);
    throw thrown;
  }
  const mountNamespace = null;
  if (inner === null) return { pid: child.pid, pidfd: child.pidfd, ptyMaster, mountNamespace };
  end(child, pipes);
  return { ...inner, ptyMaster, mountNamespace };
}

const hasSecond = ({ compile }: Child): boolean =>
  compile().steps.some(({ call }) => call === "leaveIfParent");

/** Of a child that has ended and is not reaped yet. */
export async function lastWords(child: Child, pipes: BirthPipes): Promise<string> {
  const message = isReadable(pipes.reportReader, 0) ? await readMessage(pipes) : null;
  if (message?.kind === MESSAGE_FAILED) {
    return sentenceOf(failed("birth", child.compile(), message));
  }
  const end = waitPidfd(child.pidfd, { noHang: true, noReap: true });
  return end === null ? "it has not ended" : `its exit code is ${exitCodeOf(end)}`;
}

export const goByte = allocate(1);

function register(child: Child, message: Message, name: string): number {
  return message.registers[child.registers.get(name) ?? 0] ?? -1;
}

export function failed(
  operation: Operation,
  { steps }: Plan,
  { step, error }: Message,
): RuntimeError {
  const at = steps[step];
  if (at === undefined) return new RuntimeError("failed", frame(operation, `step ${step}`));
  return failureOf(operation, at, error);
}
