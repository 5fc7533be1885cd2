/** Descriptors that another process has opened for a birth: taken over, since that process ends when it likes. */
import { unavailable } from "#base";
import type { OpenTree } from "#engine/runtime";
import { FileDescriptor } from "#linux/path";
import { pidfdGetfd, pidfdOpen, readStartTime } from "#linux/process";

import type { LentTrees } from "./protocol.ts";

interface TakenTrees extends Disposable {
  readonly trees: ReadonlyMap<number, OpenTree>;
}

/** @throws EngineError "unavailable" when the process is gone, SyscallError */
export function takeTrees(lent: LentTrees | undefined): TakenTrees | null {
  if (lent === undefined) return null;
  using taken = new DisposableStack();
  using lender = new FileDescriptor(pidfdOpen(lent.pid));
  // After the descriptor was taken: a number that was given to another process is known by its start.
  if (readStartTime(lent.pid) !== lent.startTime) {
    throw unavailable("the process that opened the mounts' sources is gone");
  }
  const trees = new Map<number, OpenTree>();
  for (const { mount, descriptor, directory } of lent.trees) {
    const own = taken.use(new FileDescriptor(pidfdGetfd(lender.fd, descriptor)));
    trees.set(mount, { descriptor: own.fd, directory });
  }
  const kept = taken.move();
  return { trees, [Symbol.dispose]: () => kept.dispose() };
}
