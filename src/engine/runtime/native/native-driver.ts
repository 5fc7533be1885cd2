/**
 * The native driver: compiles a spec into a plan of system calls and runs it in a cloned child. No other program
 * is involved. Everything of the host that a container gets is opened here, before the clone, and borrowed by
 * descriptor; while the child builds its file tree this side builds the network, and a byte through a pipe
 * lets the child go on. A second pipe tells how far it came: it closes without a word when execve succeeded.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";

import { EngineError, sentenceOf } from "#base";
import type { Cgroup, CgroupHost } from "#linux/cgroup";
import { addressOf, allocate, attempt, SyscallError } from "#linux/ffi";
import { pidfdGetfd, pidfdOpen, pidfdSendSignal, SIGKILL, waitPid } from "#linux/process";

import {
  type BirthRequest,
  type Born,
  type ExecRequest,
  type RuntimeDriver,
  RuntimeError,
} from "../driver.ts";
import { compileBirth, cloneFlagsOf } from "./birth-plan.ts";
import { borrowForBirth, borrowForExec, ownAdjustment, writeAdjustment } from "./borrow.ts";
import { encodePlan } from "./encode.ts";
import { compileExec } from "./exec-plan.ts";
import { type HostFacts, readHostFacts } from "./facts.ts";
import { failureOf, frame, type Operation } from "./failure.ts";
import { type BirthPipes, type Nursery, openNursery, openPipes } from "./nursery.ts";
import { explainPlan, type Plan } from "./plan.ts";
import { type Message, readMessage } from "./report.ts";
import { MESSAGE_CHILD, MESSAGE_FAILED, openTrampoline, type Trampoline } from "./trampoline.ts";

const CLONE_PIDFD = 0x1000;
const CLONE_INTO_CGROUP = 0x2_0000_0000;
const SIGCHLD = 17;
const CLONE_ARGS_BYTES = 88;

export interface NativeDriverOptions {
  /** A folder of the driver's own, on a file system that can hold a mount: below the exec root. */
  readonly scratchRoot: string;
  readonly cgroups: CgroupHost;
}

export interface NativeDriver extends RuntimeDriver, Disposable {
  /** The plan of a birth as people read it (`naru run --explain`); nothing is started. */
  explain(request: BirthRequest): string;
}

/** Opens the native driver. @throws EngineError, SyscallError when this host cannot carry it */
export function openNativeDriver({ scratchRoot, cgroups }: NativeDriverOptions): NativeDriver {
  const trampoline = openTrampoline(scratchRoot);
  const folder = join(scratchRoot, `nursery-${process.pid}`);
  const nursery = openNursery({ trampoline, folder, cgroups });
  const facts = readHostFacts(cgroups, nursery.emptyDevice);
  const host: Host = { trampoline, nursery, facts, cgroups };
  return {
    name: "native",
    birth: (request) => birth(host, request),
    exec: (request) => exec(host, request),
    release: ({ scratch }) => {
      rmSync(scratch, { recursive: true, force: true });
      return Promise.resolve();
    },
    explain: (request) => explain(host, request),
    [Symbol.dispose]: () => void attempt("close", nursery.namespace),
  };
}

interface Host {
  readonly trampoline: Trampoline;
  readonly nursery: Nursery;
  readonly facts: HostFacts;
  readonly cgroups: CgroupHost;
}

function explain({ nursery, facts }: Host, request: BirthRequest): string {
  using pipes = openPipes();
  using birth = borrowForBirth(request, { nursery, pipes, tasks: [] });
  const { id } = request;
  const plan = compileBirth({ id, spec: birth.spec, facts, borrowed: birth.borrowed });
  const flags = cloneFlagsOf(birth.spec).toString(16);
  return `  0  a child in namespaces and a cgroup of its own, which runs the rest\n       clone3(0x${flags})\n${explainPlan(plan)}`;
}

async function birth(host: Host, request: BirthRequest): Promise<Born> {
  const { linux } = request.spec;
  let cgroup: Cgroup | undefined;
  try {
    cgroup = host.cgroups.create({ path: linux.cgroupsPath, resources: linux.resources });
    return await birthInside(host, request, cgroup);
  } catch (thrown) {
    cgroup?.sendKill();
    // Zombies were reaped: the folders go at once, or start-up finds them by their parent.
    cgroup?.tryRemove();
    throw asRuntimeError("birth", thrown);
  }
}

async function birthInside(host: Host, request: BirthRequest, cgroup: Cgroup): Promise<Born> {
  const { trampoline, nursery, facts } = host;
  using pipes = openPipes();
  const { child, refused } = (() => {
    using join = cgroup.openJoin();
    using birth = borrowForBirth(request, { nursery, pipes, tasks: join.tasks });
    const { borrowed, spec } = birth;
    const plan = compileBirth({ id: request.id, spec, facts, borrowed });
    const flags = cloneFlagsOf(spec);
    const child = cloneChild({ trampoline, plan, flags, pipes, unified: join.unified });
    try {
      giveAdjustment(child.pid, spec.process.oomScoreAdj);
      birth.withNetworkNamespace(child.pid, (networkNamespace) =>
        request.prepare({ pid: child.pid, networkNamespace }),
      );
      return { child, refused: null };
    } catch (thrown) {
      return { child, refused: thrown };
    }
  })();
  if (refused !== null) {
    end(child);
    // A child that failed by itself, and so had no namespace left to build in, has the better story.
    const message = await readMessage(pipes.reportReader);
    throw message?.kind === MESSAGE_FAILED ? failed("birth", child.plan, message) : refused;
  }
  return await follow({ child, pipes, operation: "birth", terminal: terminalOf(request) });
}

async function exec(host: Host, request: ExecRequest): Promise<Born> {
  const { trampoline, facts, cgroups } = host;
  const { id, spec } = request;
  try {
    using pipes = openPipes();
    const child = (() => {
      using join = cgroups.at(spec.linux.cgroupsPath).openJoin();
      using exec = borrowForExec(request, { pipes, tasks: join.tasks });
      const { borrowed, process } = exec;
      const plan = compileExec({ id, spec, process, facts, borrowed });
      const child = cloneChild({ trampoline, plan, flags: 0, pipes, unified: join.unified });
      giveAdjustment(child.pid, process.oomScoreAdj);
      return child;
    })();
    return await follow({ child, pipes, operation: "exec", terminal: terminalOf(request) });
  } catch (thrown) {
    throw asRuntimeError("exec", thrown);
  }
}

const terminalOf = ({ stdio }: BirthRequest | ExecRequest): boolean => stdio.type === "terminal";

function asRuntimeError(operation: Operation, thrown: unknown): unknown {
  if (thrown instanceof RuntimeError) return thrown;
  if (thrown instanceof SyscallError || thrown instanceof EngineError) {
    return new RuntimeError("failed", frame(operation, sentenceOf(thrown)), { cause: thrown });
  }
  return thrown;
}

interface Child {
  readonly pid: number;
  readonly pidfd: number;
  /** The plan, and its memory, which the child reads until it executes. */
  readonly plan: Plan;
  readonly encoded: ReturnType<typeof encodePlan>;
}

function cloneChild(request: {
  readonly trampoline: Trampoline;
  readonly plan: Plan;
  readonly flags: number;
  readonly pipes: BirthPipes;
  readonly unified: number | null;
}): Child {
  const { trampoline, plan, flags, pipes, unified } = request;
  const encoded = encodePlan(plan);
  const pidfdPlace = allocate(8);
  const args = allocate(CLONE_ARGS_BYTES);
  const words = new BigUint64Array(args.buffer);
  words[0] = BigInt(flags + CLONE_PIDFD + (unified === null ? 0 : CLONE_INTO_CGROUP));
  words[1] = addressOf(pidfdPlace);
  words[4] = BigInt(SIGCHLD);
  words[10] = BigInt(unified ?? 0);
  const pid = trampoline.clone({ arguments: args, plan: encoded, report: pipes.reportWriter });
  // Closed at once: another child cloned later must not hold this one's pipe open.
  pipes.closeChildEnds();
  return { pid, pidfd: new DataView(pidfdPlace.buffer).getInt32(0, true), plan, encoded };
}

/** A child is born with the supervisor's own adjustment; the container has one of its own, 0 if nothing is said. */
function giveAdjustment(pid: number, adjustment: number | undefined): void {
  const wanted = adjustment ?? 0;
  if (wanted === ownAdjustment()) return;
  writeAdjustment(pid, wanted);
}

/** Kills and reaps a child that shall not live, and closes its pidfd. */
function end({ pid, pidfd }: Pick<Child, "pid" | "pidfd">): void {
  pidfdSendSignal(pidfd, SIGKILL);
  waitPid(pid);
  attempt("close", pidfd);
}

/** Lets the child go on and follows it until its program runs. @throws RuntimeError */
async function follow(request: {
  readonly child: Child;
  readonly pipes: BirthPipes;
  readonly operation: Operation;
  readonly terminal: boolean;
}): Promise<Born> {
  const { child, pipes, operation, terminal } = request;
  let ptyMaster: number | null = null;
  let inner: Pick<Child, "pid" | "pidfd"> | null = null;
  const go = () => attempt("write", pipes.goWriter, goByte, 1);
  try {
    if (!terminal) go();
    for (;;) {
      const message = await readMessage(pipes.reportReader);
      if (message === null) break;
      if (message.kind === MESSAGE_FAILED) throw failed(operation, child.plan, message);
      if (message.kind === MESSAGE_CHILD) {
        // Our own child that we have not reaped: the number cannot be anyone else's.
        inner = { pid: message.error, pidfd: pidfdOpen(message.error) };
      } else {
        ptyMaster = pidfdGetfd(child.pidfd, register(child, message, "ptmx"));
        go();
      }
    }
  } catch (thrown) {
    if (ptyMaster !== null) attempt("close", ptyMaster);
    if (inner !== null) end(inner);
    end(child);
    throw thrown;
  }
  if (inner === null) return { pid: child.pid, pidfd: child.pidfd, ptyMaster };
  end(child);
  return { ...inner, ptyMaster };
}

const goByte = allocate(1);

function register(child: Child, message: Message, name: string): number {
  return message.registers[child.encoded.registers.get(name) ?? 0] ?? -1;
}

function failed(operation: Operation, { steps }: Plan, { step, error }: Message): RuntimeError {
  const at = steps[step];
  if (at === undefined) return new RuntimeError("failed", frame(operation, `step ${step}`));
  return failureOf(operation, at, error);
}
