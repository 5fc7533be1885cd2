/**
 * Zombies of processes we adopted: with `--pid host`, and below OCI runtimes, grandchildren become ours.
 *
 * Never a wait for "any child": Bun reaps what it spawned itself, drivers reap their failed births. A child that
 * nobody knows is taken only when it is still a zombie at a second look, long after those would have taken it.
 */
import { SyscallError } from "#linux/ffi";
import { listChildren, waitPid } from "#linux/process";

const LOOK_DELAY_MS = 1000;

export interface OrphanReaperOptions {
  /** Pids whose exits are awaited elsewhere. */
  readonly known: () => ReadonlySet<number>;
  /** A birth is under way: its child is not known yet. */
  readonly isBirthUnderWay: () => boolean;
}

/** Looks after every SIGCHLD, at most once a second. @returns a function that stops it */
export function startOrphanReaper(options: OrphanReaperOptions): () => void {
  let timer: Timer | null = null;
  let seen = new Set<number>();
  const look = () => {
    timer = null;
    const known = options.known();
    const isQuiet = !options.isBirthUnderWay();
    const zombies = listChildren(process.pid).filter((pid) => !known.has(pid) && isZombie(pid));
    for (const pid of zombies) if (isQuiet && seen.has(pid)) reap(pid);
    seen = new Set(zombies.filter((pid) => isZombie(pid)));
    if (seen.size > 0) schedule();
  };
  const schedule = () => {
    timer ??= setTimeout(look, LOOK_DELAY_MS);
  };
  process.on("SIGCHLD", schedule);
  return () => {
    process.off("SIGCHLD", schedule);
    if (timer !== null) clearTimeout(timer);
  };
}

function isZombie(pid: number): boolean {
  try {
    return waitPid(pid, { noHang: true, noReap: true }) !== null;
  } catch (thrown) {
    if (thrown instanceof SyscallError) return false; // someone reaped it meanwhile
    throw thrown;
  }
}

function reap(pid: number): void {
  try {
    waitPid(pid, { noHang: true });
  } catch (thrown) {
    if (!(thrown instanceof SyscallError)) throw thrown;
  }
}
