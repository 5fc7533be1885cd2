/**
 * The native driver: compiles a spec into a plan of system calls and runs it in a cloned child. No other program
 * is involved. Everything of the host that a container gets is opened here, before the clone, and borrowed by
 * descriptor; while the child builds its file tree this side builds the network, and a byte through a pipe
 * lets the child go on. A second pipe tells how far it came: it closes without a word when execve succeeded.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";

import { EngineError, sentenceOf } from "#base";
import type { CgroupHost } from "#linux/cgroup";
import { allocate, attempt, SyscallError } from "#linux/ffi";
import { openNamespace } from "#linux/namespace";
import { FileDescriptor } from "#linux/path";
import { pidfdGetfd, pidfdOpen, pidfdSendSignal, SIGKILL } from "#linux/process";

import type { RuntimeSpec } from "#oci";

import {
  type BirthRequest,
  type Born,
  type ExecRequest,
  type RuntimeDriver,
  RuntimeError,
} from "../driver.ts";
import { birthKey, birthSlots, cloneFlagsOf, compileBirth } from "./birth-plan.ts";
import {
  type BirthLoan,
  borrowForBirth,
  borrowForExec,
  ownAdjustment,
  writeAdjustment,
} from "./borrow.ts";
import type { EncodedPlan } from "./encode.ts";
import { ExpectedPlaces, type Place } from "./expected.ts";
import { compileExec, execKey, execSlots } from "./exec-plan.ts";
import { readHostFacts } from "./facts.ts";
import { failureOf, frame, type Operation } from "./failure.ts";
import { Midwife } from "./midwife.ts";
import { type BirthPipes, openNursery, openPipes } from "./nursery.ts";
import { explainPlan, type Plan } from "./plan.ts";
import { PlanCache } from "./plan-cache.ts";
import { compileHook, hookSlots } from "./hook-plan.ts";
import {
  checkHooks,
  hasHooks,
  type HookRun,
  readBundle,
  runHooks,
  type StartHook,
} from "./hooks.ts";
import { type Host, RemappedHost } from "./host.ts";
import {
  compileRemappedBirth,
  isRemapped,
  joinsUser,
  refuseUnmappable,
  remappedFlagsOf,
} from "./remapped-plan.ts";
import { idMapsOf, type Shift, type UserNamespaces, writeIdMaps } from "./user-namespaces.ts";
import { reap, reapInTime } from "./reap.ts";
import {
  asksListener,
  checkListener,
  handToListener,
  type ListenerHandover,
} from "./seccomp-agent.ts";
import { type Message, readMessage } from "./report.ts";
import { MESSAGE_CHILD, MESSAGE_FAILED, openTrampoline } from "./trampoline.ts";

export interface NativeDriverOptions {
  /** A folder of the driver's own, on a file system that can hold a mount: below the exec root. */
  readonly scratchRoot: string;
  readonly cgroups: CgroupHost;
}

export interface NativeDriver extends RuntimeDriver {
  [Symbol.dispose](): void;
  /** The plan of a birth as people read it (`naru run --explain`); nothing is started. */
  explain(request: BirthRequest): string;
}

/** Opens the native driver. @throws EngineError, SyscallError when this host cannot carry it */
export function openNativeDriver({ scratchRoot, cgroups }: NativeDriverOptions): NativeDriver {
  const trampoline = openTrampoline(scratchRoot);
  const folder = join(scratchRoot, `nursery-${process.pid}`);
  const nursery = openNursery({ trampoline, folder, cgroups });
  const facts = readHostFacts(cgroups, nursery.emptyDevice);
  const midwife = new Midwife(trampoline, nursery.namespace);
  const plans = new PlanCache(midwife.address);
  const expected = new ExpectedPlaces(cgroups);
  const host: Host = { midwife, nursery, facts, cgroups, expected, plans, userNamespaces: null };
  const remapped = new RemappedHost({ trampoline, folder, cgroups, expected });
  return {
    name: "native",
    takesNetworkNamespace: true,
    expect: (request) => host.expected.expect(request),
    birth: (request) => birth(isRemapped(request.spec) ? remapped.open() : host, request),
    exec: (request) => exec(host, request),
    release: async ({ id, scratch }) => {
      host.expected.drop(id);
      const hooked = readBundle(scratch);
      if (hooked !== null) {
        await runLateHooks("poststop", host, { id, scratch, pid: 0, spec: hooked });
      }
      rmSync(scratch, { recursive: true, force: true });
    },
    explain: (request) => explain(isRemapped(request.spec) ? remapped.open() : host, request),
    [Symbol.dispose]: () => {
      host.expected[Symbol.dispose]();
      midwife[Symbol.dispose]();
      attempt("close", nursery.namespace);
      remapped[Symbol.dispose]();
    },
  };
}

function explain({ facts, userNamespaces }: Host, request: BirthRequest): string {
  using pipes = openPipes();
  using birth = borrowForBirth(request, { pipes, tasks: [] }, shiftOf(userNamespaces, request));
  const { spec, shape } = birth;
  const { compileWith, flagsOf } = birthKind(userNamespaces);
  const flags = `0x${flagsOf(spec, shape).toString(16)}`;
  const clone = `  0  the midwife clones a child into namespaces of its own; it runs:\n       clone3(${flags})\n`;
  return clone + explainPlan(compileWith({ spec, facts, shape }));
}

/** Null for ordinary births. @throws EngineError for a spec that cannot be remapped */
function shiftOf(userNamespaces: UserNamespaces | null, { spec }: BirthRequest): Shift | null {
  const maps = userNamespaces === null ? null : idMapsOf(spec);
  if (userNamespaces === null || maps === null) return null;
  refuseUnmappable(spec);
  return userNamespaces.shift(maps);
}

const birthKind = (userNamespaces: UserNamespaces | null) =>
  userNamespaces === null
    ? { compileWith: compileBirth, flagsOf: cloneFlagsOf }
    : { compileWith: compileRemappedBirth, flagsOf: remappedFlagsOf };

async function birth(host: Host, request: BirthRequest): Promise<Born> {
  const { cgroupsPath, resources, seccomp } = request.spec.linux;
  let place: Place | undefined;
  try {
    checkListener(seccomp);
    place = host.expected.take({ id: request.id, cgroupsPath, resources });
    return await birthInside(host, request, place);
  } catch (thrown) {
    place?.join[Symbol.dispose]();
    place?.cgroup.sendKill();
    // Zombies were reaped: the folders go at once, or start-up finds them by their parent.
    place?.cgroup.tryRemove();
    throw asRuntimeError("birth", thrown);
  }
}

async function birthInside(host: Host, request: BirthRequest, place: Place): Promise<Born> {
  const { facts, plans, userNamespaces } = host;
  if (hasHooks(request.spec)) checkHooks(request.spec);
  const shift = shiftOf(userNamespaces, request);
  const { compileWith, flagsOf } = birthKind(userNamespaces);
  using pipes = openPipes(request.signal ?? null);
  const { child, mountNamespace, refused } = await (() => {
    using loans = new DisposableStack();
    loans.use(place.join);
    const birth = loans.use(borrowForBirth(request, { pipes, tasks: place.join.tasks }, shift));
    const { spec, descriptors } = birth;
    const own = { kept: [...Object.values(descriptors), pipes.reportWriter] };
    const shape = request.signal === undefined ? birth.shape : { ...birth.shape, ...own };
    const compiled = { id: request.id, spec, facts, shape };
    const compile = () => compileWith(compiled);
    const slots = { ...birthSlots(compiled), ...descriptors };
    const encoded = plans.encode({ key: birthKey(compiled), compile, slots });
    const flags = flagsOf(spec, shape);
    const { unified } = place.join;
    const child = cloneChild(host, { compile, encoded, flags, pipes, unified });
    if (!joinsUser(shape)) return introduce(request, { child, birth, pipes, shift });
    const kept = loans.move();
    return secondChild(child, pipes)
      .then((second) => introduce(request, { child: second, birth, pipes, shift: null }))
      .finally(() => kept.dispose());
  })();
  if (refused !== null) {
    if (mountNamespace !== null) attempt("close", mountNamespace);
    end(child, pipes);
    // A child that failed by itself, and so had no namespace left to build in, has the better story.
    const message = await readMessage(pipes);
    throw message?.kind === MESSAGE_FAILED ? failed("birth", child.compile(), message) : refused;
  }
  try {
    if (hasHooks(request.spec)) await runBirthHooks(host, { request, child, pipes });
    const listener = asksListener(request.spec.linux.seccomp)
      ? { ...request, status: "creating" as const, containerPid: child.pid }
      : null;
    const terminal = terminalOf(request);
    const born = await follow({ child, pipes, operation: "birth", terminal, listener });
    await runLateHooks("poststart", host, { ...request, pid: born.pid });
    return { ...born, mountNamespace };
  } catch (thrown) {
    if (mountNamespace !== null) attempt("close", mountNamespace);
    throw thrown;
  }
}

interface Newborn {
  readonly child: Child;
  readonly birth: BirthLoan;
  readonly pipes: BirthPipes;
  /** Whose maps are not written yet. */
  readonly shift: Shift | null;
}

/** Gives the child what only its parent can give, while it builds its file tree. */
function introduce(request: BirthRequest, { child, birth, pipes, shift }: Newborn) {
  const mountNamespace = mountNamespaceOf(child.pid);
  try {
    if (shift !== null) {
      writeIdMaps(child.pid, shift.maps);
      attempt("write", pipes.goWriter, goByte, 1);
    }
    giveAdjustment(child.pid, birth.spec.process.oomScoreAdj);
    birth.withNetworkNamespace(child.pid, (networkNamespace) =>
      request.prepare({ pid: child.pid, networkNamespace }),
    );
    return { child, mountNamespace, refused: null };
  } catch (thrown) {
    return { child, mountNamespace, refused: thrown };
  }
}

/** The child that the first one makes in another container's user namespace. @throws RuntimeError */
async function secondChild(first: Child, pipes: BirthPipes): Promise<Child> {
  try {
    const message = await readMessage(pipes);
    if (message?.kind === MESSAGE_CHILD) {
      // Our own child that we have not reaped: the number cannot be anyone else's.
      return { ...first, pid: message.error, pidfd: pidfdOpen(message.error) };
    }
    throw message?.kind === MESSAGE_FAILED
      ? failed("birth", first.compile(), message)
      : new RuntimeError("failed", frame("birth", "the process was killed"));
  } finally {
    end(first, pipes);
  }
}

/** Null for a child that has failed already: it will tell why. */
function mountNamespaceOf(pid: number): number | null {
  try {
    return openNamespace(pid, "mnt");
  } catch {
    return null;
  }
}

interface HookedBirth {
  readonly request: BirthRequest;
  readonly child: Child;
  readonly pipes: BirthPipes;
}

/** The child stops twice for hooks: before its root becomes /, and after. @throws RuntimeError */
async function runBirthHooks(host: Host, { request, child, pipes }: HookedBirth): Promise<void> {
  const run = { ...request, pid: child.pid };
  const onHost = hookStarter(host, request.spec, null);
  const inContainer = hookStarter(host, request.spec, child);
  try {
    await awaitReport(child, pipes);
    await runHooks("prestart", run, onHost);
    await runHooks("createRuntime", run, onHost);
    await runHooks("createContainer", run, inContainer);
    attempt("write", pipes.goWriter, goByte, 1);
    await awaitReport(child, pipes);
    await runHooks("startContainer", run, async (hook, streams) => {
      const { args = [], env = [], path } = hook;
      const process = { ...request.spec.process, terminal: false, args: [path, ...args.slice(1)] };
      return await exec(host, {
        ...request,
        ...child,
        process: { ...process, env, cwd: "/" },
        stdio: { type: "pipes", ...streams },
      });
    });
    attempt("write", pipes.goWriter, goByte, 1);
  } catch (thrown) {
    end(child, pipes);
    if (thrown instanceof RuntimeError) throw thrown;
    throw new RuntimeError("failed", frame("birth", sentenceOf(thrown)), { cause: thrown });
  }
}

/** @throws RuntimeError for a child that failed before it came that far */
async function awaitReport(child: Child, pipes: BirthPipes): Promise<void> {
  const message = await readMessage(pipes);
  if (message === null) throw new RuntimeError("failed", frame("birth", "the process was killed"));
  if (message.kind === MESSAGE_FAILED) throw failed("birth", child.compile(), message);
}

/** Of the container that lives or is gone: nothing that its hooks do changes that. */
async function runLateHooks(
  name: "poststart" | "poststop",
  host: Host,
  run: HookRun,
): Promise<void> {
  if (!hasHooks(run.spec)) return;
  await runHooks(name, run, hookStarter(host, run.spec, null)).catch((thrown: unknown) => {
    console.error(sentenceOf(thrown));
  });
}

/** Runs hooks on the host, or in the namespaces of a child. */
function hookStarter(host: Host, spec: RuntimeSpec, child: Child | null): StartHook {
  return async (hook, streams) => {
    using pipes = openPipes();
    using mounts = new FileDescriptor(openNamespace(process.pid, "mnt"));
    const where = child === null ? "host" : "container";
    const compile = () => compileHook(hook, spec, where);
    const slots = {
      ...hookSlots(hook),
      ...streams,
      goWriter: pipes.goWriter,
      mounts: mounts.fd,
      ...(child === null ? {} : { pidfd: child.pidfd }),
    };
    const namespaces = spec.linux.namespaces.map(({ type }) => type);
    const key = JSON.stringify(["hook", where, hook.path, namespaces]);
    const encoded = host.plans.encode({ key, compile, slots });
    const cloned = cloneChild(host, { compile, encoded, flags: 0, pipes, unified: null });
    return await follow({
      child: cloned,
      pipes,
      operation: "hook",
      terminal: false,
      listener: null,
    });
  };
}

async function exec(host: Host, request: ExecRequest): Promise<Born> {
  const { facts, cgroups, plans } = host;
  const { id, spec } = request;
  try {
    using pipes = openPipes();
    const child = (() => {
      const cgroup = cgroups.at(spec.linux.cgroupsPath);
      using join = cgroup.openJoin();
      using exec = borrowForExec(request, { pipes, tasks: join.tasks }, idMapsOf(spec));
      const { shape, process, descriptors } = exec;
      const compiled = { spec, process, facts, shape };
      const compile = () => compileExec(compiled);
      const slots = { ...execSlots(id, process), ...descriptors };
      const encoded = plans.encode({ key: execKey(compiled), compile, slots });
      const order = { compile, encoded, flags: 0, pipes, unified: join.unified };
      const child = cloneBeside(host, order, () => cgroup.openBelow(request.pid));
      giveAdjustment(child.pid, process.oomScoreAdj);
      return child;
    })();
    const listener = asksListener(spec.linux.seccomp)
      ? { ...request, status: "running" as const, containerPid: request.pid }
      : null;
    return await follow({
      child,
      pipes,
      operation: "exec",
      terminal: terminalOf(request),
      listener,
    });
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
  /** The child's own plan, for what a failure says. */
  readonly compile: () => Plan;
  readonly registers: ReadonlyMap<string, number>;
}

interface ChildRequest {
  readonly compile: () => Plan;
  readonly encoded: EncodedPlan;
  readonly flags: number;
  readonly pipes: BirthPipes;
  readonly unified: number | null;
}

function cloneChild({ midwife }: Host, request: ChildRequest): Child {
  const { compile, encoded, flags, pipes, unified } = request;
  const newborn = midwife.clone({ flags, unified, plan: encoded, report: pipes.reportWriter });
  // Closed at once: another child cloned later must not hold this one's pipe open.
  pipes.closeChildEnds();
  return { ...newborn, compile, registers: encoded.registers };
}

/** Where a container's cgroup takes nobody, since it hands its controllers down: the child goes where its first process is. */
function cloneBeside(host: Host, request: ChildRequest, openBelow: () => number | null): Child {
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
function giveAdjustment(pid: number, adjustment: number | undefined): void {
  const wanted = adjustment ?? 0;
  if (wanted === ownAdjustment()) return;
  writeAdjustment(pid, wanted);
}

/**
 * Kills and reaps a child that shall not live, and closes its pidfd. One that was given up may be stuck in the kernel:
 * nobody waits for that.
 */
function end({ pid, pidfd }: Pick<Child, "pid" | "pidfd">, { signal }: BirthPipes): void {
  pidfdSendSignal(pidfd, SIGKILL);
  if (signal?.aborted === true) void reapInTime(pid);
  else reap(pid);
  attempt("close", pidfd);
}

/** Lets the child go on and follows it until its program runs. @throws RuntimeError */
async function follow(request: {
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

const goByte = allocate(1);

function register(child: Child, message: Message, name: string): number {
  return message.registers[child.registers.get(name) ?? 0] ?? -1;
}

function failed(operation: Operation, { steps }: Plan, { step, error }: Message): RuntimeError {
  const at = steps[step];
  if (at === undefined) return new RuntimeError("failed", frame(operation, `step ${step}`));
  return failureOf(operation, at, error);
}
