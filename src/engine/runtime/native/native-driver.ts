/**
 * The native driver: compiles a spec into a plan of system calls and runs it in a cloned child. No other program
 * is involved. Everything of the host that a container gets is opened here, before the clone, and borrowed by
 * descriptor; while the child builds its file tree this side builds the network, and a byte through a pipe
 * lets the child go on. A second pipe tells how far it came: it closes without a word when execve succeeded.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";

import { sentenceOf } from "#base";
import type { CgroupHost } from "#linux/cgroup";
import { attempt } from "#linux/ffi";
import { openNamespace } from "#linux/namespace";
import { FileDescriptor } from "#linux/path";
import { pidfdOpen } from "#linux/process";

import type { RuntimeSpec } from "#oci";

import {
  type BegunBirth,
  type BirthRequest,
  type Born,
  type ExecRequest,
  type RuntimeDriver,
  RuntimeError,
} from "../driver.ts";
import { birthKey, birthSlots, cloneFlagsOf, compileBirth } from "./birth-plan.ts";
import { type BirthLoan, borrowForBirth, borrowForExec } from "./borrow.ts";
import { ExpectedPlaces, type Place } from "./expected.ts";
import {
  asRuntimeError,
  type Child,
  cloneBeside,
  cloneChild,
  end,
  failed,
  follow,
  giveAdjustment,
  goByte,
  lastWords,
  terminalOf,
} from "./child.ts";
import { compileExec, execKey, execSlots } from "./exec-plan.ts";
import { readHostFacts } from "./facts.ts";
import { frame } from "./failure.ts";
import { Midwife } from "./midwife.ts";
import { type BirthPipes, openNursery, openPipes } from "./nursery.ts";
import { explainPlan } from "./plan.ts";
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
import { asksListener, checkListener } from "./seccomp-agent.ts";
import { isReadable, readMessage } from "./report.ts";
import { gapSlots } from "./tail.ts";
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
    begin: (request) => begin(host, request),
    birth: (request) => birth(isRemapped(request.spec) ? remapped.open() : host, request),
    // Loaded with the first use: the supervisor's heap is what every birth copies.
    checkpoint: async (request) => await (await import("../criu/dump.ts")).dump(request),
    restore: async (request) => {
      const { restore } = await import("../criu/restore.ts");
      return await restore({ trampoline, cgroups, expected }, request);
    },
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

/** A birth up to its barrier. Its descriptors are few: it may wait for seconds, and must not keep what others close. */
function begin(host: Host, request: Omit<BirthRequest, "prepare">): BegunBirth | null {
  const { spec } = request;
  const { cgroupsPath, resources, seccomp } = spec.linux;
  if (isRemapped(spec) || hasHooks(spec) || asksListener(seccomp)) return null;
  using undo = new DisposableStack();
  try {
    checkListener(seccomp);
    const place = host.expected.take({ id: request.id, cgroupsPath, resources });
    undo.defer(() => {
      place.cgroup.sendKill();
      place.cgroup.tryRemove();
    });
    using join = place.join;
    const pipes = undo.use(openPipes());
    const birth = undo.use(borrowForBirth(request, { pipes, tasks: join.tasks }, null));
    const order = orderOf(host, request, birth, pipes);
    const child = cloneChild(host, { ...order, pipes, unified: join.unified });
    const newborn = { child, birth, pipes, shift: null };
    return begunBirth(host, request, newborn, undo.move());
  } catch (thrown) {
    throw asRuntimeError("birth", thrown);
  }
}

function begunBirth(
  host: Host,
  request: Omit<BirthRequest, "prepare">,
  newborn: Newborn,
  undo: DisposableStack,
): BegunBirth {
  const { child, birth, pipes } = newborn;
  return {
    pid: child.pid,
    // Readable once it has ended.
    isWaiting: () => !isReadable(child.pidfd, 0),
    lastWords: () => lastWords(child, pipes),
    complete: async (prepare) => {
      const whole = { ...request, prepare };
      try {
        const born = await settle(host, whole, { ...introduce(whole, newborn), pipes });
        birth[Symbol.dispose]();
        pipes[Symbol.dispose]();
        return born;
      } catch (thrown) {
        // The child has ended.
        undo.dispose();
        throw asRuntimeError("birth", thrown);
      }
    },
    abandon: () => {
      end(child, pipes);
      undo.dispose();
    },
  };
}

async function birthInside(host: Host, request: BirthRequest, place: Place): Promise<Born> {
  const { userNamespaces } = host;
  if (hasHooks(request.spec)) checkHooks(request.spec);
  const shift = shiftOf(userNamespaces, request);
  using pipes = openPipes(request.signal ?? null);
  const introduced = await (() => {
    using loans = new DisposableStack();
    loans.use(place.join);
    const birth = loans.use(borrowForBirth(request, { pipes, tasks: place.join.tasks }, shift));
    const mayStall = request.signal !== undefined;
    const order = orderOf(host, request, birth, mayStall ? pipes : null);
    const child = cloneChild(host, { ...order, pipes, unified: place.join.unified });
    if (!joinsUser(birth.shape)) return introduce(request, { child, birth, pipes, shift });
    const kept = loans.move();
    return secondChild(child, pipes)
      .then((second) => introduce(request, { child: second, birth, pipes, shift: null }))
      .finally(() => kept.dispose());
  })();
  return await settle(host, request, { ...introduced, pipes });
}

/**
 * What the midwife is told: to be cloned from at once.
 * @param alone of a child that keeps nothing but what is its own; null: it has all that its parent has
 */
function orderOf(
  { facts, plans, userNamespaces }: Host,
  { id }: Pick<BirthRequest, "id">,
  { shape, spec, descriptors }: BirthLoan,
  alone: BirthPipes | null,
) {
  const { compileWith, flagsOf } = birthKind(userNamespaces);
  const kept =
    alone === null ? null : [...new Set([...Object.values(descriptors), alone.reportWriter])];
  const whole = kept === null ? shape : { ...shape, kept: kept.length };
  const compiled = { id, spec, facts, shape: whole };
  const compile = () => compileWith(compiled);
  const gaps = kept === null ? {} : gapSlots(kept);
  const slots = { ...birthSlots(compiled), ...descriptors, ...gaps };
  const encoded = plans.encode({ key: birthKey(compiled), compile, slots });
  return { compile, encoded, flags: flagsOf(spec, shape) };
}

interface Introduced {
  readonly child: Child;
  readonly mountNamespace: number | null;
  /** Why it cannot live. */
  readonly refused: unknown;
}

/** Follows a child that has all it needs until its program runs. @throws RuntimeError; it has ended then */
async function settle(
  host: Host,
  request: BirthRequest,
  { child, mountNamespace, refused, pipes }: Introduced & { readonly pipes: BirthPipes },
): Promise<Born> {
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
function introduce(request: BirthRequest, { child, birth, pipes, shift }: Newborn): Introduced {
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
