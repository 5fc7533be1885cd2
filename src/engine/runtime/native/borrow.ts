/** Opening what a child borrows: its root, the sources of its mounts, namespaces to join, streams. */
import { fstatSync, readFileSync, writeFileSync } from "node:fs";

import { invalid, sentenceOf } from "#base";
import { checked } from "#linux/ffi";
import {
  createDetachedOverlay,
  MS_PRIVATE,
  mountSetattr,
  OPEN_TREE_CLONE,
  openTree,
} from "#linux/mount";
import { namespaceId, openNamespace, processNamespaceId } from "#linux/namespace";
import {
  AT_RECURSIVE,
  closeFd,
  isType,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  openPath,
  S_IFDIR,
  S_IFIFO,
  statFd,
} from "#linux/path";
import type { NamespaceType, ProcessSpec, RuntimeSpec } from "#oci";

import {
  type BirthRequest,
  type ExecRequest,
  type Identity,
  type ProcessStdio,
  RuntimeError,
} from "../driver.ts";
import { resolveIdentity } from "../identity.ts";
import type { ExecPlanRequest } from "./exec-plan.ts";
import type { BorrowedBirth, BorrowedStdio, BorrowedTree, JoinedNamespace } from "./facts.ts";
import { namespaceFlags } from "./facts.ts";
import { parseMountOptions } from "./mount-options.ts";
import type { BirthPipes, Nursery } from "./nursery.ts";

const NS_GET_NSTYPE = 0xb703;
const F_DUPFD_CLOEXEC = 1030;
const LOWEST_BORROWED = 3;

/** Everything opened for one birth; disposing closes this side's copies. */
export interface BirthLoan extends Disposable {
  readonly borrowed: BorrowedBirth;
  /** With the user filled in. */
  readonly spec: RuntimeSpec;
  /** Calls `use` with the network namespace that the process will be in. */
  withNetworkNamespace(pid: number, use: (descriptor: number) => void): void;
}

class Descriptors implements Disposable {
  readonly #open: number[] = [];

  keep(fd: number): number {
    this.#open.push(fd);
    return fd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open.splice(0)) closeFd(fd);
  }
}

/** Opens all that a birth needs. @throws RuntimeError, SyscallError, EngineError; nothing stays open then */
export function borrowForBirth(
  request: BirthRequest,
  own: { readonly nursery: Nursery; readonly pipes: BirthPipes; readonly tasks: readonly number[] },
): BirthLoan {
  const descriptors = new Descriptors();
  try {
    const root = descriptors.keep(openRoot(request.root));
    const process = withIdentity(request.spec.process, request.identity, root);
    const spec = { ...request.spec, process };
    const namespaces = openNamespaces(spec, descriptors);
    const binds = new Map<number, BorrowedTree>();
    for (const [index, mount] of spec.mounts.entries()) {
      const { bind, recursiveBind } = parseMountOptions(mount.type ?? "bind", mount.options ?? []);
      if (!bind) continue;
      const { source = "", destination } = mount;
      binds.set(index, openSource(descriptors, { source, destination, recursive: recursiveBind }));
    }
    const init = request.init === null ? null : openInit(descriptors, request.init);
    const stdio = borrowStdio(descriptors, request.stdio);
    const { nursery, pipes, tasks } = own;
    const { goReader: go, goWriter } = pipes;
    return {
      spec,
      borrowed: {
        root,
        nursery: nursery.namespace,
        go,
        goWriter,
        tasks,
        stdio,
        namespaces,
        binds,
        init,
      },
      withNetworkNamespace: (pid, use) => {
        const joined = namespaces.find(({ type }) => type === "network");
        use(joined?.descriptor ?? descriptors.keep(openNamespace(pid, "net")));
      },
      [Symbol.dispose]: () => descriptors[Symbol.dispose](),
    };
  } catch (thrown) {
    descriptors[Symbol.dispose]();
    throw thrown;
  }
}

export interface ExecLoan extends Disposable {
  readonly borrowed: ExecPlanRequest["borrowed"];
  readonly process: ProcessSpec;
}

/** Opens all that an exec needs. @throws RuntimeError, SyscallError */
export function borrowForExec(
  request: ExecRequest,
  own: { readonly pipes: BirthPipes; readonly tasks: readonly number[] },
): ExecLoan {
  const descriptors = new Descriptors();
  try {
    // The pid is our own child's, not reaped yet: its /proc folder is that process or a zombie's.
    const root = descriptors.keep(openPath(`/proc/${request.pid}/root`, O_PATH | O_DIRECTORY));
    const process = withIdentity(request.process, request.identity, root);
    const stdio = borrowStdio(descriptors, request.stdio);
    const { goReader: go, goWriter } = own.pipes;
    return {
      process,
      borrowed: { pidfd: request.pidfd, go, goWriter, tasks: own.tasks, stdio },
      [Symbol.dispose]: () => descriptors[Symbol.dispose](),
    };
  } catch (thrown) {
    descriptors[Symbol.dispose]();
    throw thrown;
  }
}

/** The process with its user by the files of its own root, and a HOME. */
function withIdentity(process: ProcessSpec, identity: Identity, rootFd: number): ProcessSpec {
  const { uid, gid, groups, home } = resolveIdentity(rootFd, identity);
  const hasHome = process.env.some((entry) => entry.startsWith("HOME="));
  const env = hasHome ? process.env : [...process.env, `HOME=${home}`];
  return { ...process, env, user: { ...process.user, uid, gid, additionalGids: [...groups] } };
}

/** The container's root as a detached mount. */
function openRoot(root: BirthRequest["root"]): number {
  if (root.type === "overlay") {
    const { lowers, upper, work } = root;
    return createDetachedOverlay({ lowers, upper, work });
  }
  const fd = openTree({ path: root.path, flags: OPEN_TREE_CLONE | AT_RECURSIVE });
  mountSetattr({ fd, propagation: MS_PRIVATE, recursive: true });
  return fd;
}

/** The files by which other processes' namespaces are named, each checked to be a namespace of its type. */
function openNamespaces(spec: RuntimeSpec, descriptors: Descriptors): JoinedNamespace[] {
  return spec.linux.namespaces.flatMap(({ type, path }) => {
    if (path === undefined) return [];
    if (type === "mount" || type === "user")
      throw invalid(`cannot join a ${type} namespace by path`);
    const descriptor = descriptors.keep(openPath(path, O_RDONLY));
    const kind = checked("ioctl", path, descriptor, NS_GET_NSTYPE, 0);
    if (kind !== namespaceFlags[type]) throw invalid(`${path} is not a ${type} namespace`);
    // Joining the pid namespace one is in already needs no second clone.
    return type === "pid" && isOwn(type, descriptor) ? [] : [{ type, descriptor }];
  });
}

const isOwn = (type: NamespaceType, descriptor: number): boolean =>
  type === "pid" && namespaceId(descriptor) === processNamespaceId("self", "pid");

interface Source {
  readonly source: string;
  readonly destination: string;
  readonly recursive: boolean;
}

function openSource(
  descriptors: Descriptors,
  { source, destination, recursive }: Source,
): BorrowedTree {
  try {
    const flags = OPEN_TREE_CLONE | (recursive ? AT_RECURSIVE : 0);
    const descriptor = descriptors.keep(openTree({ path: source, flags }));
    return { descriptor, directory: isType(statFd(descriptor).mode, S_IFDIR) };
  } catch (cause) {
    const reason = sentenceOf(cause).slice(sentenceOf(cause).lastIndexOf(": ") + 2);
    throw invalid(
      `error mounting "${source}" to rootfs at "${destination}": mount src=${source}, dst=${destination}: ${reason}`,
      { cause },
    );
  }
}

function openInit(descriptors: Descriptors, path: string): BorrowedTree {
  try {
    const descriptor = descriptors.keep(openTree({ path, flags: OPEN_TREE_CLONE }));
    return { descriptor, directory: false };
  } catch (cause) {
    throw new RuntimeError("failed", `the init program ${path} of --init cannot be opened`, {
      cause,
    });
  }
}

/** Streams as the plan wants them: above 2, since those are what they become, and known to be given away or not. */
function borrowStdio(descriptors: Descriptors, stdio: ProcessStdio): BorrowedStdio {
  if (stdio.type === "terminal") return stdio;
  const above = (fd: number) =>
    fd >= LOWEST_BORROWED
      ? fd
      : descriptors.keep(checked("fcntl", `fd ${fd}`, fd, F_DUPFD_CLOEXEC, LOWEST_BORROWED));
  const { stdin, stdout, stderr } = stdio;
  // Only FIFOs are the container's own: a host device or file that happens to be a stream keeps its owner.
  const chown = [stdin, stdout, stderr].flatMap((fd, index) =>
    isType(fstatSync(fd).mode, S_IFIFO) ? [index] : [],
  );
  return {
    type: "pipes",
    stdin: above(stdin),
    stdout: above(stdout),
    stderr: above(stderr),
    chown,
  };
}

/** This process' own oom_score_adj: what its children are born with. */
export const ownAdjustment = (): number =>
  Number(readFileSync("/proc/self/oom_score_adj", "utf8").trim());

/** Sets a child's; going below the engine's own needs CAP_SYS_RESOURCE, without which the engine's own stays. */
export function writeAdjustment(pid: number, adjustment: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, `${adjustment}`);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "EACCES") throw thrown;
  }
}
